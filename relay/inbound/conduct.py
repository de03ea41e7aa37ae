"""How many errors each client's address makes over all its sessions: beyond a rate it gets none.

Pure: time is passed in, in seconds. A limit of one session is none to somebody who leaves it for a
new one. Counted are strangers alone; the addresses of `relay_networks` are the operator's own.
"""

from collections import OrderedDict
from collections.abc import Callable

MAX_KEYS = 20_000
"""Addresses at a listener that are remembered, in each process: some 6 MB. Who erred longest ago
goes first."""

SPAN = 60.0
"""Seconds over which errors are counted: a client that comes rarely may make many at once."""

Report = Callable[[str, int, int], None]
"""Hears of errors here: whose, how many, and of how many in SPAN."""


def _no_report(key: str, times: int, most: int) -> None:
    pass


class Conduct:
    """`key`: an address at a listener; `most`: errors that it may make there in SPAN; 0: any
    number. What other processes counted comes by `learn`; what is counted here, `report` hears."""

    def __init__(self) -> None:
        self.report: Report = _no_report
        self._erred: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how many, when

    def erred(self, key: str, now: float, times: int, most: int) -> None:
        """So many times more."""
        if most:
            self.learn(key, now, times, most)
            self.report(key, times, most)

    def learn(self, key: str, now: float, times: int, most: int) -> None:
        """So many times more, elsewhere."""
        self._erred[key] = min(self._left(key, now, most) + times, most + 1.0), now
        self._erred.move_to_end(key)
        if len(self._erred) > MAX_KEYS:
            self._erred.popitem(last=False)

    def is_over(self, key: str, now: float, most: int) -> bool:
        """Whether it has erred too often, and not been quiet for long enough since."""
        return bool(most) and self._left(key, now, most) > most

    def _left(self, key: str, now: float, most: int) -> float:
        """Errors that time has not made good yet."""
        count, when = self._erred.get(key, (0.0, now))
        return max(0.0, count - max(0.0, now - when) * (most / SPAN))

    def __len__(self) -> int:
        return len(self._erred)

    def __repr__(self) -> str:
        return f"<Conduct of {len(self)} addresses>"
