"""The alarms that stand: told once in the program's own log, and shown by relayctl status.

Each stands until it is over; where nothing will tell of that, for a day after it was raised last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from twisted.logger import Logger

from relay.notices import Alarm, AlarmOver, Notice
from relay.observe.facts import rfc3339

MAX_ALARMS = 100
"""That stand at a time; whichever was raised longest ago goes first."""

STANDS_FOR = 86_400.0
"""Seconds, of one that is passing."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class _Standing:
    why: str
    since: float
    until: float


class Alarms:
    """An observer. `now` tells unix seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._standing: dict[str, _Standing] = {}  # the one raised last is last

    def __call__(self, notice: Notice) -> None:
        if type(notice) is Alarm:
            self._raise(notice)
        elif type(notice) is AlarmOver and self._standing.pop(notice.what, None) is not None:
            _log.info("alarm over: {what}: {why}", what=notice.what, why=notice.why or "it is well")

    def _raise(self, alarm: Alarm) -> None:
        now = self._now()
        known = self._standing.pop(alarm.what, None)
        if known is None or known.why != alarm.why:
            _log.warn("alarm: {what}: {why}", what=alarm.what, why=alarm.why)
        since = now if known is None else known.since
        until = now + STANDS_FOR if alarm.is_passing else inf
        self._standing[alarm.what] = _Standing(alarm.why, since, until)
        if len(self._standing) > MAX_ALARMS:
            del self._standing[next(iter(self._standing))]

    def status(self) -> dict[str, object]:
        """Those that stand, the one raised last first."""
        now = self._now()
        rows = [
            {"alarm": what, "since": rfc3339(standing.since), "why": standing.why}
            for what, standing in reversed(self._standing.items())
            if now < standing.until
        ]
        return {"alarms": rows}

    def __repr__(self) -> str:
        return f"<Alarms {', '.join(self._standing) or 'none'}>"
