"""A look at many things once a period, while there are any: one timer in the place of one each."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Beat:
    """Calls `look` every `period` seconds from `begin` to `end`."""

    def __init__(self, clock: IReactorTime, period: float, look: Callable[[], None]) -> None:
        self._clock = clock
        self._period = period
        self._look = look
        self._call: IDelayedCall | None = None

    def begin(self) -> None:
        """Harmless when it has begun."""
        if self._call is None:
            self._call = self._clock.callLater(self._period, self._due)

    def end(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _due(self) -> None:
        self._call = self._clock.callLater(self._period, self._due)
        self._look()
