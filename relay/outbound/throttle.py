"""How many sessions a host may have now, and what to do next with those there are.

Pure: a window that shrinks with trouble and grows with success, and one decision. A host that was
away is met with one session, then two, four ... (no herd at its door when it comes back); one that
turns sessions away beyond some number is kept at that number, with a try for one more now and then.
"""

from enum import Enum

GROW_AFTER = 50
"""Sessions turned away: so many transactions must go through before one more is tried."""


class Window:
    """The sessions a host may have at a time, from 1 to `most`."""

    __slots__ = ("_is_crowded", "_successes", "most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = most
        self._is_crowded = False
        self._successes = 0

    def host_failed(self) -> None:
        """Nothing works there: begin with one session."""
        self.size = 1
        self._is_crowded = False

    def turned_away(self, sessions: int) -> None:
        """A new session was refused while `sessions` others live: that many it shall be."""
        self.size = max(1, min(self.size, sessions))
        self._is_crowded = True
        self._successes = 0

    def session_opened(self) -> None:
        """The host said hello."""
        if self.size < self.most and not self._is_crowded:
            self.size = min(self.most, self.size * 2)

    def transaction_done(self) -> None:
        """The host answered a transaction to its end."""
        if self._is_crowded:
            self._successes += 1
            if self._successes >= GROW_AFTER:
                self._successes = 0
                self.size += 1
                self._is_crowded = self.size < self.most

    def __repr__(self) -> str:
        return f"<Window {self.size}/{self.most}{' crowded' if self._is_crowded else ''}>"


class Move(Enum):
    """What to do now."""

    REUSE = "give a transaction to an idle session"
    OPEN = "open a session"
    CLOSE = "close an idle session, to make room for a fresh one"
    RECALL = "take back a session that is lent and unused"
    WAIT = "nothing: all that may be done is under way"


def next_move(
    *,
    waiting: int,
    needing_fresh: int,
    idle: int,
    resting: int,
    opening: int,
    closing: int,
    sessions: int,
    window: int,
) -> Move:
    """`waiting` transactions take any session, `needing_fresh` only a new one.

    `sessions` counts all connections: idle, opening, busy, lent and closing; `resting` are lent
    ones that are unused. Those that are `closing` make room already, each for one.
    """
    if waiting and idle:
        return Move.REUSE
    if waiting + needing_fresh <= opening:
        return Move.WAIT
    if sessions < window:
        return Move.OPEN
    if waiting + needing_fresh <= opening + closing:
        return Move.WAIT
    if idle:
        return Move.CLOSE
    return Move.RECALL if resting else Move.WAIT
