"""The sessions of all hosts together: never more than allowed, and nobody waits for an idle one."""

from twisted.trial.unittest import SynchronousTestCase

from relay.outbound.total import TotalPlaces


class TotalPlacesTests(SynchronousTestCase):
    def setUp(self):
        self.places = TotalPlaces(2, None)
        self.granted = []
        self.recalled = []

    def take(self, key):
        self.places.take(
            key, 20, lambda _: self.granted.append(key), lambda: self.recalled.append(key)
        )

    def test_in_order(self):
        for key in "abcd":
            self.take(key)
        self.assertEqual(self.granted, ["a", "b"])
        self.assertTrue(self.places.is_recalled("a"))
        self.places.give("b")
        self.places.give("a")
        self.assertEqual(self.granted, ["a", "b", "c", "d"])
        self.assertFalse(self.places.is_recalled("c"))

    def test_holders_are_recalled_in_turn(self):
        for key in "abcb":
            self.take(key)
        self.assertEqual(self.recalled, ["a", "a"])
        self.take("d")
        self.assertEqual(self.recalled, ["a", "a", "b"])

    def test_nothing_is_left(self):
        for key in "aabc":
            self.take(key)
        for key in self.granted[:]:
            self.places.give(key)
        for key in "bc":
            self.places.give(key)
        self.assertEqual(repr(self.places), "<TotalPlaces 0/2, 0 wait>")
        self.assertFalse(self.places._holders)
