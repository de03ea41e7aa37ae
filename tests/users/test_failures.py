"""How failures slow an address down and shut it out: a table of times."""

from twisted.trial.unittest import SynchronousTestCase

from relay.users import failures as failures_module
from relay.users.failures import Entry, Failures, Limits


class FailuresTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.failures = Failures(Limits(1.0, 10.0, 6, 900.0))

    def test_each_failure_delays_more_and_the_last_shuts_out(self) -> None:
        verdicts = [self.failures.failed("a", now, b"%d" % now) for now in range(8)]
        self.assertEqual([v.delay for v in verdicts], [1, 2, 4, 8, 10, 10, 10, 10])
        self.assertEqual([v.is_shut_out for v in verdicts], [False] * 5 + [True, False, False])
        self.assertTrue(self.failures.is_shut_out("a", 7.0))
        self.assertFalse(self.failures.is_shut_out("b", 7.0))

    def test_it_is_forgotten_after_the_last_failure(self) -> None:
        for now in range(6):
            self.failures.failed("a", now)
        self.assertTrue(self.failures.is_shut_out("a", 904.9))
        self.assertFalse(self.failures.is_shut_out("a", 905.0))
        verdict = self.failures.failed("a", 905.0)
        self.assertEqual((verdict.delay, verdict.count), (1.0, 1))

    def test_the_same_wrong_password_again_is_no_guess(self) -> None:
        verdicts = [self.failures.failed("a", now, b"same") for now in range(100)]
        self.assertEqual({v.count for v in verdicts}, {1})
        self.assertEqual({v.delay for v in verdicts}, {1.0})
        self.assertFalse(self.failures.is_shut_out("a", 100.0))

    def test_same_as_the_last_one_that_is(self) -> None:
        tried = (b"a", b"b", b"b", b"a")
        counts = [self.failures.failed("a", 1.0, each).count for each in tried]
        self.assertEqual([1, 2, 2, 3], counts)

    def test_what_cannot_be_told_apart_is_counted(self) -> None:
        self.assertEqual([self.failures.failed("a", 1.0).count for _ in range(3)], [1, 2, 3])

    def test_the_table_is_bounded_and_the_oldest_goes(self) -> None:
        self.patch(failures_module, "MAX_ADDRESSES", 3)
        for key in ("a", "b", "c", "a", "d"):
            self.failures.failed(key, 1.0)
        self.assertEqual(len(self.failures), 3)
        self.assertEqual(self.failures.failed("a", 1.0).count, 3)
        self.assertEqual(self.failures.failed("b", 1.0).count, 1)

    def test_no_delay_at_all(self) -> None:
        failures = Failures(Limits(0.0, 10.0, 100000, 900.0))
        self.assertEqual({failures.failed("a", 1.0).delay for _ in range(2000)}, {0.0})

    def test_a_wrong_password_is_known_for_a_while(self) -> None:
        known = self.failures.is_known_wrong
        self.assertFalse(known("a", 0.0, b"x"))
        self.failures.failed("a", 0.0, b"x")
        self.assertTrue(known("a", 9.9, b"x"))
        self.assertFalse(known("b", 9.9, b"x"), "somebody else's")
        self.assertFalse(known("a", 9.9, b"y"))
        self.failures.failed("a", 9.9, b"x")
        self.assertFalse(known("a", 10.0, b"x"), "not for longer by being tried again")
        self.failures.failed("a", 10.0, b"x")
        self.failures.failed("a", 11.0, b"y")
        self.assertFalse(known("a", 11.0, b"x"))
        self.assertTrue(known("a", 20.9, b"y"))

    def test_one_that_is_forgotten_is_not_known(self) -> None:
        failures = Failures(Limits(1.0, 10.0, 6, 5.0))
        failures.failed("a", 0.0, b"x")
        self.assertTrue(failures.is_known_wrong("a", 4.9, b"x"))
        self.assertFalse(failures.is_known_wrong("a", 5.0, b"x"))

    def test_what_another_process_says_is_not_known_here(self) -> None:
        self.failures.failed("a", 0.0, b"x")
        told = Entry("a", 1, 900.0, b"x")
        self.failures.learn(told, 1.0, 0)
        self.assertTrue(self.failures.is_known_wrong("a", 1.0, b"x"), "the same one")
        self.failures.learn(told._replace(last_try=b"y"), 1.0, 0)
        for tried in (b"x", b"y"):
            self.assertFalse(self.failures.is_known_wrong("a", 1.0, tried))
