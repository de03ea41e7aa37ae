"""Which upstreams a domain's mail may go to, and when: by the routes that were in force.

Mail is routed when its recipients are named, and anew at a reload. What is in hand then ends on
the way that it took, and a start leaves known lanes alone: so any route counts that was in force
since the message began.
"""

from dataclasses import dataclass
from math import inf


@dataclass
class Period:
    """Some routes, from when the file had them until others were in force."""

    ways: dict[str, str]
    begin: float
    end: float = inf


class Ways:
    """`announce` what the file says from now on; `settle` that it is in force."""

    def __init__(self) -> None:
        self._periods: list[Period] = []

    def announce(self, ways: dict[str, str], now: float) -> None:
        self._periods.append(Period(ways, now))

    def settle(self, now: float) -> None:
        """Nothing takes an older way any more, but what has begun."""
        for period in self._periods[:-1]:
            period.end = min(period.end, now)

    def may_take(self, domain: str, upstream: str, since: float) -> bool:
        return any(p.ways[domain] == upstream and p.end >= since for p in self._periods)
