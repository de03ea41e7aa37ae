"""How many errors each client's address makes over all its sessions: beyond a rate it gets none.

Pure: time is passed in, in seconds. A limit of one session is none to somebody who leaves it for a
new one. Counted are strangers alone; the addresses of `relay_networks` are the operator's own.
"""

from collections import OrderedDict

MAX_ADDRESSES = 20_000
"""Remembered, for each listener in each process: some 3 MB. Who erred longest ago goes first."""

SPAN = 60.0
"""Seconds over which errors are counted: a client that comes rarely may make many at once."""


class Conduct:
    """`most`: errors that an address may make in SPAN; 0: any number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rate = most / SPAN  # at which they are forgiven
        self._erred: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how many, when

    def erred(self, key: str, now: float, times: int) -> None:
        """So many times more."""
        if not self._most:
            return
        self._erred[key] = min(self._left(key, now) + times, self._most + 1.0), now
        self._erred.move_to_end(key)
        if len(self._erred) > MAX_ADDRESSES:
            self._erred.popitem(last=False)

    def is_over(self, key: str, now: float) -> bool:
        """Whether it has erred too often, and not been quiet for long enough since."""
        return bool(self._most) and self._left(key, now) > self._most

    def _left(self, key: str, now: float) -> float:
        """Errors that time has not made good yet."""
        count, when = self._erred.get(key, (0.0, now))
        return max(0.0, count - max(0.0, now - when) * self._rate)

    def __len__(self) -> int:
        return len(self._erred)

    def __repr__(self) -> str:
        return f"<Conduct of {len(self)} addresses>"
