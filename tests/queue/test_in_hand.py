"""What a store keeps in memory of works in hand: nothing of what is over."""

from twisted.trial.unittest import SynchronousTestCase

from relay.queue.in_hand import NOT_WHOLE, Changes, InHand


class InHandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.in_hand = InHand()

    def make(
        self, *, taken: int = 0, dropped: int = 0, waiting: int = 0, lane: str = "main"
    ) -> None:
        changes = Changes()
        if taken:
            changes.taken.append((lane, taken, NOT_WHOLE))
        if dropped:
            changes.dropped.append((lane, dropped))
        changes.waiting.append((lane, waiting))
        changes.make(self.in_hand)

    def test_a_lane_where_nothing_waits_any_more_is_forgotten(self) -> None:
        """There are as many as domains that mail was ever sent to."""
        for number in range(1, 100):
            self.make(taken=number, waiting=1, lane=f"internet:{number}.example")
            self.make(dropped=number, waiting=-1, lane=f"internet:{number}.example")
        self.assertEqual({}, self.in_hand.waiting)
        self.assertEqual({}, self.in_hand._lanes)

    def test_others_of_the_lane_stay(self) -> None:
        self.make(taken=1, waiting=1)
        self.make(taken=2, waiting=1)
        self.make(dropped=1, waiting=-1)
        self.assertEqual({"main": 1}, self.in_hand.waiting)
        self.assertTrue(self.in_hand.has("main", 2))
        self.assertEqual(1, self.in_hand.count("main"))

    def test_dropped_twice(self) -> None:
        self.make(taken=1)
        self.make(dropped=1)
        self.make(dropped=1)
        self.assertFalse(self.in_hand.has("main", 1))
