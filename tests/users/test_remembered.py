"""What is remembered of passwords that were right, and what it takes to forget them."""

from twisted.trial.unittest import SynchronousTestCase

from relay.users import remembered as remembered_module
from relay.users.record import User
from relay.users.remembered import Remembered

TIM = User("tim", "hash")


class RememberedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.remembered = Remembered(300.0, lambda: self.now)

    def test_that_name_with_that_password(self) -> None:
        self.remembered.add("secret", TIM)
        self.assertIs(self.remembered.get("tim", "secret"), TIM)
        for name, password in (("tim", "Secret"), ("tim", ""), ("ti", "msecret"), ("x", "secret")):
            self.assertIsNone(self.remembered.get(name, password))

    def test_not_for_long_however_often_it_is_asked(self) -> None:
        self.remembered.add("secret", TIM)
        self.now = 299.0
        self.assertIs(self.remembered.get("tim", "secret"), TIM)
        self.now = 300.0
        self.assertIsNone(self.remembered.get("tim", "secret"))
        self.assertEqual(len(self.remembered), 0)

    def test_cleared(self) -> None:
        self.remembered.add("secret", TIM)
        self.remembered.clear()
        self.assertIsNone(self.remembered.get("tim", "secret"))

    def test_bounded(self) -> None:
        self.patch(remembered_module, "MAX_REMEMBERED", 2)
        for name in ("a", "b", "c"):
            self.remembered.add("secret", User(name))
        self.assertEqual(
            [self.remembered.get(name, "secret") is None for name in ("a", "b", "c")],
            [True, False, False],
        )

    def test_switched_off(self) -> None:
        off = Remembered(0.0, lambda: self.now)
        off.add("secret", TIM)
        self.assertEqual(len(off), 0)

    def test_the_password_is_nowhere_in_it(self) -> None:
        self.remembered.add("secret", TIM)
        self.assertNotIn("secret", repr(vars(self.remembered)))
