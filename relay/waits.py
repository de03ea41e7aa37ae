"""Waits of the same length, nearly all of which are cancelled: one call of the clock for all."""

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Wait:
    """One of `Waits`. `ring` is None once it is over."""

    __slots__ = ("at", "ring")

    def __init__(self, at: float, ring: Callable[[], None]) -> None:
        self.at = at
        self.ring: Callable[[], None] | None = ring


class Waits:
    """Waits of the same length, `seconds`: they end in the order in which they began, so that one
    call of the clock serves them all."""

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._running: deque[Wait] = deque()
        self._call: IDelayedCall | None = None

    def begin(self, ring: Callable[[], None]) -> Wait:
        wait = Wait(self._clock.seconds() + self._seconds, ring)
        self._running.append(wait)
        if self._call is None:
            self._call = self._clock.callLater(self._seconds, self._due)
        return wait

    def cancel(self, wait: Wait) -> None:
        """Harmless where it has rung."""
        wait.ring = None
        running = self._running
        while running and running[0].ring is None:
            running.popleft()
        if not running and self._call is not None:
            self._call.cancel()
            self._call = None

    def _due(self) -> None:
        self._call = None
        running = self._running
        now = self._clock.seconds()
        try:
            while running and running[0].at <= now:
                wait = running.popleft()
                ring, wait.ring = wait.ring, None
                if ring is not None:
                    ring()
        finally:  # a defect in one is not the end of the others
            self._go_on(now)

    def _go_on(self, now: float) -> None:
        """For those that are left: the call of one that has just begun would come too late."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._running:
            self._call = self._clock.callLater(max(0.0, self._running[0].at - now), self._due)
