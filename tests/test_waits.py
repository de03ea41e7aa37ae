"""Timers that are shared: who rings, when, and that nothing is left running."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.waits import Wait, Waits


class WaitsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.waits = Waits(self.clock, 10.0)
        self.rung: list[str] = []

    def begin(self, name: str) -> Wait:
        return self.waits.begin(lambda: self.rung.append(name))

    def test_each_rings_at_its_own_time(self) -> None:
        self.begin("first")
        self.clock.advance(4)
        self.begin("second")
        self.clock.advance(6)
        self.assertEqual(self.rung, ["first"])
        self.clock.advance(3.9)
        self.assertEqual(self.rung, ["first"])
        self.clock.advance(0.1)
        self.assertEqual(self.rung, ["first", "second"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled_ones_never_ring_and_do_not_hold_up_the_others(self) -> None:
        first, _, third = self.begin("first"), self.begin("second"), self.begin("third")
        self.waits.cancel(third)
        self.waits.cancel(first)
        self.clock.advance(10)
        self.assertEqual(self.rung, ["second"])

    def test_a_defect_in_one_is_not_the_end_of_the_others(self) -> None:
        def breaks() -> None:
            raise ZeroDivisionError

        self.waits.begin(breaks)
        self.begin("second")
        self.clock.advance(1)
        self.begin("third")
        self.assertRaises(ZeroDivisionError, self.clock.advance, 9)
        self.clock.advance(0)
        self.assertEqual(self.rung, ["second"])
        self.clock.advance(1)
        self.assertEqual(self.rung, ["second", "third"])

    def test_one_call_serves_all_and_none_is_left_over(self) -> None:
        running = [self.begin(str(number)) for number in range(5)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for wait in running:
            self.waits.cancel(wait)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_may_begin_another_as_it_rings(self) -> None:
        self.waits.begin(lambda: self.begin("next") and None)
        self.clock.advance(10)
        self.assertEqual(self.rung, [])
        self.clock.advance(10)
        self.assertEqual(self.rung, ["next"])

    def test_one_that_begins_another_does_not_put_off_those_between(self) -> None:
        self.waits.begin(lambda: self.begin("next") and None)
        self.clock.advance(5)
        self.begin("second")
        self.clock.advance(5)
        self.clock.advance(5)
        self.assertEqual(self.rung, ["second"])
        self.clock.advance(5)
        self.assertEqual(self.rung, ["second", "next"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_call_is_for_a_time_before_now(self) -> None:
        """A real reactor takes none."""

        def breaks() -> None:
            raise ZeroDivisionError

        asked = []
        call_later = self.clock.callLater
        self.clock.callLater = lambda seconds, *rest: (
            asked.append(seconds) or call_later(seconds, *rest)
        )
        self.waits.begin(breaks)
        self.clock.advance(1)
        self.begin("second")
        self.assertRaises(ZeroDivisionError, self.clock.advance, 20)
        self.clock.advance(0)
        self.assertEqual(self.rung, ["second"])
        self.assertGreaterEqual(min(asked), 0)

    def test_cancelling_what_has_rung_is_harmless(self) -> None:
        wait = self.begin("first")
        self.clock.advance(10)
        self.waits.cancel(wait)
        self.assertEqual(self.rung, ["first"])
