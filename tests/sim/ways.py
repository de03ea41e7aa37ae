"""Which upstreams a domain's mail may go to, and when: by the routes that were in force.

Mail is routed when its recipients are named, and anew at a reload and a start. What is in hand then
ends on the way that it took; what waits, or waits again, is on its new way a little later.
"""

from dataclasses import dataclass
from math import inf

MOVED_WITHIN = 90.0
"""Seconds in which waiting mail is on its new way, with the disk well."""


@dataclass
class Period:
    """Some routes, from when the file had them. `end`: recipients are named by others; `moved`:
    mail that waited is on its way by others, too."""

    ways: dict[str, str]
    begin: float
    end: float = inf
    moved: float = inf


class Ways:
    """`announce` what the file says from now on; `settle` that it is in force; `move` that waiting
    mail goes by it."""

    def __init__(self) -> None:
        self._periods: list[Period] = []

    @property
    def last(self) -> Period:
        return self._periods[-1]

    def announce(self, ways: dict[str, str], now: float) -> None:
        self._periods.append(Period(ways, now))

    def settle(self, now: float) -> None:
        """Nobody who is named from now on takes an older way."""
        for period in self._periods[:-1]:
            period.end = min(period.end, now)

    def move(self, to: Period, now: float) -> None:
        """No attempt begins on a way older than `to`."""
        for period in self._periods[: self._periods.index(to)]:
            period.moved = min(period.moved, now)

    def may_take(self, domain: str, upstream: str, since: float, attempt: float = -inf) -> bool:
        """A message that was begun at `since`, by an attempt that began at `attempt`."""
        return any(
            _way(p.ways, domain) == upstream and p.end >= since and p.moved >= attempt
            for p in self._periods
        )


def _way(ways: dict[str, str], domain: str) -> str:
    """Of the domain itself, or of all beside it."""
    return ways.get(domain) or ways[f"*.{domain.partition('.')[2]}"]
