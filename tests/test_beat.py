"""A look once a period, while there is something to look at."""

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.beat import Beat


class BeatTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.things = ["a", "b"]
        self.seen: list[tuple[str, float]] = []

    def beat(self, look: Callable[[str, float], object]) -> Beat:
        return Beat(self.clock, 60.0, lambda: self.things, look)

    def test_looks_at_all_once_a_period_while_it_is_on(self) -> None:
        beat = self.beat(lambda thing, now: self.seen.append((thing, now)))
        beat.begin()
        self.clock.advance(30)
        beat.begin()
        self.clock.pump([30.0] * 3)
        self.assertEqual([("a", 60), ("b", 60), ("a", 120), ("b", 120)], self.seen)
        beat.end()
        beat.end()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_one_with_a_defect_spares_no_other_and_no_later_look(self) -> None:
        def look(thing: str, now: float) -> None:
            self.seen.append((thing, now))
            if thing == "a":
                raise ZeroDivisionError

        self.beat(look).begin()
        self.clock.advance(60)
        self.clock.advance(60)
        self.assertEqual([("a", 60), ("b", 60), ("a", 120), ("b", 120)], self.seen)
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_a_look_may_take_things_away_and_end_it(self) -> None:
        def look(thing: str, now: float) -> None:
            self.things.remove(thing)
            beat.end()

        beat = self.beat(look)
        beat.begin()
        self.clock.advance(60)
        self.assertEqual(([], []), (self.things, self.clock.getDelayedCalls()))
