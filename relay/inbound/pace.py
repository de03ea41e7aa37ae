"""The least rate of clients: who is in the midst of a line or of content must get on with it.

One timer looks at all sessions of a listener once a period; a session only counts its octets.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

PERIOD = 60.0
"""Seconds over which a rate is measured: a moment's stall on a bad line is nobody's fault."""


class Pace:
    """What one session sent since the last look."""

    __slots__ = ("_did_owe", "has_answer", "octets")

    def __init__(self) -> None:
        self.octets = 0
        self.has_answer = False
        """A command, or content, came to its end."""
        self._did_owe = False

    def is_too_slow(self, least: int, *, owes: bool) -> bool:
        """Whether one and the same thing was under way for a whole period, of fewer octets than
        `least`. `owes`: something is under way now, and the client's turn."""
        is_one_thing = self._did_owe and owes and not self.has_answer
        is_slow = is_one_thing and self.octets < least
        self.octets, self.has_answer, self._did_owe = 0, False, owes
        return is_slow


class Paced(Protocol):
    """A session."""

    def judge_pace(self, least: int) -> None: ...


class Beat:
    """Looks at the sessions while there are any. `min_rate`: octets a second; 0: never looks."""

    def __init__(
        self, clock: IReactorTime, min_rate: int, sessions: Callable[[], Iterable[Paced]]
    ) -> None:
        self._clock = clock
        self._least = int(min_rate * PERIOD)
        self._sessions = sessions
        self._call: IDelayedCall | None = None

    def begin(self) -> None:
        """Harmless when it has begun."""
        if self._call is None and self._least:
            self._call = self._clock.callLater(PERIOD, self._look)

    def end(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _look(self) -> None:
        self._call = self._clock.callLater(PERIOD, self._look)
        for session in list(self._sessions()):
            session.judge_pace(self._least)
