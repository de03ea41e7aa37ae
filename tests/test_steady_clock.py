"""The clock that follows: pure, and under a real reactor whose time of day is set."""

from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.trial.unittest import SynchronousTestCase

from relay.steady_clock import SteadyClock, keep_steady


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
            self.told(0)
            self.assertEqual(self.wall, self.clock.seconds())

    def test_set_forward(self) -> None:
        """Twice as fast, until it is right."""
        self.wall += 100
        self.assertEqual(0, self.told(0))
        self.assertEqual([20, 60, 198], [self.told(10), self.told(20), self.told(69)])
        for seconds in (1, 5):
            self.assertEqual(self.told(seconds) + self.begin, self.wall)

    def test_set_back(self) -> None:
        """Half as fast, and never backward."""
        self.wall -= 100
        self.assertEqual(0, self.told(0))
        self.assertEqual([5, 15, 99.5], [self.told(10), self.told(20), self.told(169)])
        for seconds in (1, 5):
            self.assertEqual(self.told(seconds) + self.begin, self.wall)

    def test_however_often_it_is_asked(self) -> None:
        self.wall += 100
        for _ in range(1000):
            last = self.told(0.01)
        self.assertAlmostEqual(20, last, 3)

    def test_set_again_before_it_was_right(self) -> None:
        self.wall += 100
        self.told(10)
        self.wall -= 300
        before = self.told(0)
        self.assertEqual(before + 5, self.told(10))

    def test_nobody_asked_for_long(self) -> None:
        """What passed in between is told at double speed, too."""
        self.told(1000)
        self.wall += 5000
        self.assertEqual(1000 + 2 * 300, self.told(300))


class ReactorTests(SynchronousTestCase):
    """Timers of Twisted's own."""

    def setUp(self) -> None:
        self.wall, self.passed = 1_700_000_000.0, 0.0
        self.reactor: Any = EPollReactor()
        self.addCleanup(self.reactor.fireSystemEvent, "shutdown")
        self.patch(SteadyClock.__init__, "__defaults__", (lambda: self.wall, lambda: self.passed))
        keep_steady(self.reactor)
        self.rung: list[str] = []

    def pass_(self, seconds: float) -> list[str]:
        self.wall += seconds
        self.passed += seconds
        self.reactor.runUntilCurrent()
        return self.rung

    def test_a_timer_is_neither_lost_nor_early(self) -> None:
        for step in (3600, -3600):
            with self.subTest(step):
                self.rung.clear()
                self.reactor.callLater(30, self.rung.append, "x")
                self.pass_(10)
                self.wall += step
                self.assertEqual([], self.pass_(9))
                self.assertEqual(["x"], self.pass_(31), "half speed at the worst")

    def test_one_that_is_set_behind_it(self) -> None:
        self.wall -= 3600
        self.reactor.callLater(1, self.rung.append, "x")
        self.assertEqual([], self.pass_(0.9))
        self.assertEqual(["x"], self.pass_(1.1))
