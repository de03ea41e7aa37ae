"""A limit on the sessions of an mx: upstream over all its hosts: places of this process's own.

Stands before the places that several processes share, if there are any. Who waits for one has an
idle session of some other host ended; those that are busy end when they have been used for a while.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

from relay.places import SharedPlaces, Taken

_Wish = tuple[str, int, Taken, Callable[[], None] | None]


class TotalPlaces:
    """At most `total` at a time, whatever their keys. Wishes are granted in their order."""

    def __init__(self, total: int, beyond: SharedPlaces | None) -> None:
        self._total = total
        self._beyond = beyond
        self._taken = 0
        self._waiting: deque[_Wish] = deque()
        self._holders: OrderedDict[str, tuple[int, Callable[[], None] | None]] = OrderedDict()

    def take(
        self, key: str, total: int, taken: Taken, recalled: Callable[[], None] | None = None
    ) -> None:
        """See `relay.places.SharedPlaces`."""
        if self._taken < self._total:
            self._grant((key, total, taken, recalled))
            return
        self._waiting.append((key, total, taken, recalled))
        self._recall_one(key)

    def _grant(self, wish: _Wish) -> None:
        key, total, taken, recalled = wish
        self._taken += 1
        count, _ = self._holders.get(key, (0, None))
        self._holders[key] = (count + 1, recalled)
        if self._beyond is None:
            taken(True)
        else:
            self._beyond.take(key, total, taken, recalled)

    def _recall_one(self, wanted_by: str) -> None:
        """Each in its turn: whether it has an idle session is not known here."""
        for key in self._holders:
            if key != wanted_by:
                self._holders.move_to_end(key)
                recalled = self._holders[key][1]
                if recalled is not None:
                    recalled()
                return

    def give(self, key: str) -> None:
        self._taken -= 1
        count, recalled = self._holders[key]
        if count > 1:
            self._holders[key] = (count - 1, recalled)
        else:
            del self._holders[key]
        if self._beyond is not None:
            self._beyond.give(key)
        if self._waiting and self._taken < self._total:
            self._grant(self._waiting.popleft())

    def is_recalled(self, key: str) -> bool:
        if self._waiting:
            return True
        return self._beyond is not None and self._beyond.is_recalled(key)

    def __repr__(self) -> str:
        return f"<TotalPlaces {self._taken}/{self._total}, {len(self._waiting)} wait>"
