"""Errors of clients that a worker counts, told to all others: an address's errors are one total.

Those of a second go together. Nobody waits for them: they count here at once, elsewhere soon.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from relay.inbound.conduct import Conduct

TOLD_EVERY = 1.0
"""Seconds that errors wait for more of them."""

MAX_UNTOLD = 1000
"""Addresses whose errors wait; those of further ones count in this worker alone."""

Row = tuple[str, int, int]
"""A key of Conduct, how many errors it made, and of how many it may make."""


class Clock(Protocol):
    """What is used of a reactor."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, function: Callable[..., object], /) -> object: ...


class Gossip:
    """In a worker. `tell("erred", rows)` reaches the supervisor, who tells the others."""

    def __init__(self, conduct: Conduct, tell: Callable[..., None], clock: Clock) -> None:
        self._conduct = conduct
        self._tell = tell
        self._clock = clock
        self._untold: dict[str, tuple[int, int]] = {}
        conduct.report = self._erred

    def _erred(self, key: str, times: int, most: int) -> None:
        untold = self._untold
        known, _ = untold.get(key, (0, 0))
        if not known and len(untold) >= MAX_UNTOLD:
            return
        if not untold:
            self._clock.callLater(TOLD_EVERY, self._send)
        untold[key] = known + times, most

    def _send(self) -> None:
        untold, self._untold = self._untold, {}
        self._tell("erred", [(key, *row) for key, row in untold.items()])

    def hear(self, rows: Iterable[Row]) -> None:
        """What another worker counted."""
        now = self._clock.seconds()
        for key, times, most in rows:
            self._conduct.learn(key, now, times, most)

    def __repr__(self) -> str:
        return f"<Gossip of {len(self._untold)} addresses>"


def pass_on(rows: Iterable[Row], by: int, workers: Mapping[int, Any]) -> None:
    """In the supervisor: to all but the one that counted. `workers`: each with its channel."""
    for number, worker in workers.items():
        if number != by:
            worker.channel.tell("erred", rows)
