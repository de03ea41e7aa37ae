"""A worker's part of the limits that are totals over all workers: the places that it holds.

A place is taken at once where one is at hand, else it is asked of the supervisor. Some that are not
used are kept for the next who comes, until they are recalled or have not been used for a while.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from relay.places import Taken

CLEAN_EVERY = 10.0
"""Seconds after which places that nobody used meanwhile go back."""


class _Pocket:
    __slots__ = (
        "held",
        "is_asking",
        "is_recalled",
        "outdated",
        "recalled",
        "total",
        "used",
        "waiting",
        "was_used",
    )

    def __init__(self) -> None:
        self.held = 0
        self.used = 0
        self.total = 0
        self.outdated = 0  # of those used: had while there were more
        self.is_asking = False  # once at a time: the answer serves all who wait
        self.waiting: deque[Taken] = deque()
        self.is_recalled = False  # give back what becomes free
        self.recalled: Callable[[], None] | None = None  # asks its user to free one
        self.was_used = True  # since the last cleaning


class Purse:
    """`tell(name, *arguments)` reaches the supervisor: want, give."""

    def __init__(self, tell: Callable[..., None], reactor: Any) -> None:
        self._tell = tell
        self._reactor = reactor
        self._pockets: dict[str, _Pocket] = {}

    def start(self) -> None:
        """It is cleaned from now on, to the end of the process."""
        self._reactor.callLater(CLEAN_EVERY, self._clean)

    def take(
        self,
        key: str,
        total: int,
        taken: Taken,
        recalled: Callable[[], None] | None = None,
    ) -> None:
        """See `relay.places.Places`."""
        pocket = self._pockets.get(key)
        if pocket is None:
            pocket = self._pockets[key] = _Pocket()
        pocket.was_used = True
        if total < pocket.total:
            self._shrink(key, pocket)
        pocket.total = total
        pocket.recalled = recalled
        if pocket.used < pocket.held:
            pocket.used += 1
            taken(True)
        else:
            pocket.waiting.append(taken)
            self._ask(key, pocket)

    def _shrink(self, key: str, pocket: _Pocket) -> None:
        """There are fewer now: who is to have one is for the supervisor to say anew."""
        pocket.outdated = pocket.used
        unused = pocket.held - pocket.used
        if unused:
            self._give_back(key, pocket, unused)

    def give(self, key: str) -> None:
        """A place is not used any more."""
        pocket = self._pockets[key]
        pocket.used -= 1
        if pocket.outdated or pocket.is_recalled:
            pocket.outdated = max(0, pocket.outdated - 1)
            pocket.is_recalled = False
            self._give_back(key, pocket, 1)
        elif pocket.waiting:
            self._serve(pocket)

    def is_recalled(self, key: str) -> bool:
        """Somebody else waits for one: free one as soon as can be."""
        pocket = self._pockets.get(key)
        return pocket is not None and pocket.is_recalled

    # --- what the supervisor says -------------------------------------------------------------

    def granted(self, key: str, count: int) -> None:
        pocket = self._pockets[key]
        pocket.is_asking = False
        pocket.held += count
        self._serve(pocket)
        if pocket.waiting:
            self._ask(key, pocket)

    def none(self, key: str) -> None:
        """There is none to be had, for any of those who wait."""
        pocket = self._pockets[key]
        pocket.is_asking = False
        waiting, pocket.waiting = pocket.waiting, deque()
        for taken in waiting:
            taken(False)

    def _ask(self, key: str, pocket: _Pocket) -> None:
        if not pocket.is_asking:
            pocket.is_asking = True
            self._tell("want", key, pocket.total, pocket.recalled is not None)

    def _serve(self, pocket: _Pocket) -> None:
        while pocket.waiting and pocket.used < pocket.held:
            pocket.used += 1
            pocket.waiting.popleft()(True)

    def recall(self, key: str) -> None:
        """Give back what is not used; where all are, one as soon as it is free."""
        pocket = self._pockets.get(key)
        if pocket is None:
            self._tell("give", key, 0)
            return
        unused = pocket.held - pocket.used
        self._give_back(key, pocket, unused)
        if not unused and pocket.recalled is not None:
            pocket.is_recalled = True
            pocket.recalled()

    def _give_back(self, key: str, pocket: _Pocket, count: int) -> None:
        pocket.held -= count
        self._tell("give", key, count)

    def _clean(self) -> None:
        self._reactor.callLater(CLEAN_EVERY, self._clean)
        for key, pocket in list(self._pockets.items()):
            if pocket.held > pocket.used and not pocket.was_used:
                self._give_back(key, pocket, pocket.held - pocket.used)
            if not (pocket.held or pocket.is_asking):
                del self._pockets[key]
            pocket.was_used = False

    def __repr__(self) -> str:
        return f"<Purse {len(self._pockets)} keys>"
