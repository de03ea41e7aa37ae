"""What a store keeps in memory only: the works in hand, and how many works each lane has.

A restart frees all. Used by one thread. Changes that belong to a transaction are noted, and made
once it is committed.
"""

from collections import Counter
from collections.abc import Container

Recipients = tuple[int, ...]

NOT_WHOLE: Recipients = ()
"""In hand, but not all that its message owes: its settlement needs a look at the rows."""


class InHand:
    """`waiting` counts a lane's works, those in hand included."""

    __slots__ = ("_lanes", "waiting")

    def __init__(self, waiting: dict[str, int] | None = None) -> None:
        self.waiting: Counter[str] = Counter(waiting or {})
        self._lanes: dict[str, dict[int, Recipients]] = {}

    def take(self, lane: str, number: int, whole: Recipients) -> None:
        """`whole`: the recipients, where the work is all the message has; else NOT_WHOLE."""
        self._lanes.setdefault(lane, {})[number] = whole

    def drop(self, lane: str, number: int) -> None:
        works = self._lanes.get(lane)
        if works is not None:
            works.pop(number, None)
            if not works:  # each domain ever written to would stay
                del self._lanes[lane]

    def whole(self, lane: str, number: int) -> Recipients:
        works = self._lanes.get(lane)
        return NOT_WHOLE if works is None else works.get(number, NOT_WHOLE)

    def of(self, lane: str) -> Container[int]:
        return self._lanes.get(lane, ())

    def count(self, lane: str) -> int:
        return len(self._lanes.get(lane, ()))

    def has(self, lane: str, number: int) -> bool:
        return number in self._lanes.get(lane, ())

    def __repr__(self) -> str:
        return f"<InHand {sum(map(len, self._lanes.values()))} of {self.waiting.total()}>"


class Changes:
    """What one transaction will have changed in memory and among the files, once committed."""

    __slots__ = ("dropped", "files_gone", "files_made", "has_new_files", "taken", "waiting")

    def __init__(self) -> None:
        self.taken: list[tuple[str, int, Recipients]] = []
        self.dropped: list[tuple[str, int]] = []
        self.waiting: list[tuple[str, int]] = []
        self.files_gone: list[str] = []
        self.files_made: list[str] = []
        self.has_new_files = False

    def make(self, in_hand: InHand) -> None:
        for lane, number, whole in self.taken:
            in_hand.take(lane, number, whole)
        for lane, number in self.dropped:
            in_hand.drop(lane, number)
        waiting = in_hand.waiting
        for lane, difference in self.waiting:
            waiting[lane] += difference
            if not waiting[lane]:
                del waiting[lane]
