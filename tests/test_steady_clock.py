"""The clock that follows: pure, and under a real reactor whose time of day is set."""

from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

from relay.steady_clock import LOOK_EVERY, SteadyClock, keep_steady


class SteadyClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wall, self.passed = 1_700_000_000.0, 50.0
        self.clock = SteadyClock(lambda: self.wall, lambda: self.passed)
        self.begin = self.wall

    def told(self, seconds: float) -> float:
        """After so many more."""
        self.wall += seconds
        self.passed += seconds
        return self.clock.seconds() - self.begin

    def test_it_tells_the_time_of_day(self) -> None:
        self.assertEqual([0, 5, 8], [self.told(0), self.told(5), self.told(3)])

    def test_small_corrections_are_taken_as_they_are(self) -> None:
        for correction in (0.9, -0.9, 0.5):
            self.wall += correction
            self.told(LOOK_EVERY)
            self.assertEqual(self.wall, self.clock.seconds())

    def test_between_two_looks(self) -> None:
        self.assertAlmostEqual(0.3, self.told(0.3), 5)
        self.wall += 0.5
        self.assertAlmostEqual(0.4, self.told(0.1), 5)

    def test_set_forward(self) -> None:
        """Twice as fast, until it is right."""
        self.told(1)
        self.wall += 100
        self.assertEqual([2, 22, 62, 200], [self.told(n) for n in (1, 10, 20, 69)])
        for seconds in (1, 5):
            self.assertEqual(self.told(seconds) + self.begin, self.wall)

    def test_set_back(self) -> None:
        """Half as fast, and never backward."""
        self.told(1)
        self.wall -= 100
        self.assertEqual([2, 7, 17, 101], [self.told(n) for n in (1, 10, 20, 168)])
        for seconds in (3, 5):
            self.assertEqual(self.told(seconds) + self.begin, self.wall)

    def test_however_often_it_is_asked(self) -> None:
        self.told(1)
        self.wall += 100
        self.told(1)
        for _ in range(1000):
            last = self.told(0.01)
        self.assertAlmostEqual(22, last, 3)

    def test_set_again_before_it_was_right(self) -> None:
        self.told(1)
        self.wall += 100
        self.assertEqual([2, 22], [self.told(1), self.told(10)])
        self.wall -= 300
        self.assertEqual([24, 29], [self.told(1), self.told(10)])

    def test_nobody_asked_for_long(self) -> None:
        """All of that has passed, and no more."""
        self.told(1)
        self.wall += 5000
        self.assertEqual([1001, 1003], [self.told(1000), self.told(1)])

    def test_seldom_asked_while_it_is_wrong(self) -> None:
        """It does not swing to and fro round the right time."""
        for step in (20, -20):
            self.told(1)
            self.wall += step
            told = [self.told(30) for _ in range(4)]
            self.assertEqual(told, sorted(told))
            self.assertEqual(self.wall, self.clock.seconds())

    def test_nothing_is_told_twice_in_another_order(self) -> None:
        self.told(1)
        self.wall += 20
        self.told(1)
        last = self.told(0.4)
        self.wall -= 25
        self.assertGreaterEqual(self.told(0.2), last)

    def test_a_machine_that_slept_for_days(self) -> None:
        self.told(1)
        self.wall += 3 * 86_400
        self.told(1)
        self.assertEqual(self.wall, self.clock.seconds())


class ReactorTests(SynchronousTestCase):
    """Timers of Twisted's own."""

    def setUp(self) -> None:
        self.wall, self.passed = 1_700_000_000.0, 0.0
        self.reactor: Any = EPollReactor()
        self.addCleanup(self.reactor.fireSystemEvent, "shutdown")
        keep_steady(self.reactor, SteadyClock(lambda: self.wall, lambda: self.passed))
        self.rung: list[str] = []

    def pass_(self, seconds: float) -> list[str]:
        self.wall += seconds
        self.passed += seconds
        self.reactor.runUntilCurrent()
        return self.rung

    def check(self, step: float) -> None:
        """A timer is neither early, but for the double speed, nor late, but for the half."""
        self.reactor.callLater(30, self.rung.append, "x")
        self.pass_(10)
        self.wall += step
        self.assertEqual([], self.pass_(9))
        self.assertEqual([], self.pass_(5))
        self.assertEqual(["x"], self.pass_(17))

    def test_set_forward(self) -> None:
        self.check(3600)

    def test_set_back(self) -> None:
        self.check(-3600)

    def test_one_that_is_set_behind_it(self) -> None:
        self.wall -= 3600
        self.reactor.callLater(1, self.rung.append, "x")
        self.assertEqual([], self.pass_(0.9))
        self.assertEqual(["x"], self.pass_(1.1))
