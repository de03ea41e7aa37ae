"""A timer that is put off far more often than it rings: setting it costs one look at the clock.

Both ends of the relay keep one for each session.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """Calls `ring` once `seconds` have passed since the last `set`, unless cancelled."""

    __slots__ = ("_at", "_call", "_clock", "_ring", "_rings_at")

    def __init__(self, clock: IReactorTime, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at = 0.0
        self._rings_at = 0.0
        self._call: IDelayedCall | None = None

    def set(self, seconds: float) -> None:
        """From now on. A call that is due before is left alone: it looks again then."""
        self._at = at = self._clock.seconds() + seconds
        if self._call is None:
            self._arm(seconds)
        elif at < self._rings_at:
            self._call.cancel()
            self._arm(seconds)

    def cancel(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _arm(self, seconds: float) -> None:
        self._rings_at = self._at
        self._call = self._clock.callLater(seconds, self._due)

    def _due(self) -> None:
        self._call = None
        left = self._at - self._clock.seconds()
        if left > 0:
            self._arm(left)
        else:
            self._ring()
