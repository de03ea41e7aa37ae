"""A look once a period, while there is something to look at."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.beat import Beat


class BeatTests(SynchronousTestCase):
    def test_looks_once_a_period_while_it_is_on(self) -> None:
        clock, seen = Clock(), []
        beat = Beat(clock, 60.0, lambda: seen.append(clock.seconds()))
        beat.begin()
        clock.advance(30)
        beat.begin()
        clock.pump([30.0] * 3)
        self.assertEqual([60, 120], seen)
        beat.end()
        beat.end()
        self.assertEqual([], clock.getDelayedCalls())

    def test_goes_on_behind_a_look_that_broke(self) -> None:
        clock = Clock()
        beat = Beat(clock, 1.0, lambda: 1 // 0)
        beat.begin()
        self.assertRaises(ZeroDivisionError, clock.advance, 1)
        self.assertEqual(1, len(clock.getDelayedCalls()))

    def test_a_look_may_end_it(self) -> None:
        clock = Clock()
        beat = Beat(clock, 1.0, lambda: beat.end())
        beat.begin()
        clock.advance(1)
        self.assertEqual([], clock.getDelayedCalls())
