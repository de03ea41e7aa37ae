"""A look at many things once a period, while there are any: one timer in the place of one each."""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_log = Logger()


class Beat:
    """From `begin` to `end` calls `look(thing, now)`, for all `things()`, every `period` seconds.
    A defect that shows in one of them spares no other."""

    def __init__(
        self,
        clock: IReactorTime,
        period: float,
        things: Callable[[], Iterable[Any]],
        look: Callable[[Any, float], object],
    ) -> None:
        self._clock = clock
        self._period = period
        self._things = things
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
        now = self._clock.seconds()
        for thing in list(self._things()):
            try:
                self._look(thing, now)
            except Exception:  # noqa: BLE001
                _log.failure("{thing!r} could not be looked at", thing=thing)
