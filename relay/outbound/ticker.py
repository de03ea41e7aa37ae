"""Looks at the deadlines of all upstream sessions, whatever their host, with one timer.

Sessions put their deadlines off with each command; a timer for each, or for each host, would cost
more than the mail once thousands of hosts have sessions open.
"""

from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall

TICK = 0.5
"""Seconds between looks: by so much a session may end late."""


class Watched(Protocol):
    """What keeps a deadline: a session."""

    def check(self, now: float) -> None:
        """Act on it, if it has passed."""


class Ticker:
    """Ticks while there is any session to look at."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._sessions: set[Watched] = set()
        self._call: IDelayedCall | None = None

    def watch(self, session: Watched) -> None:
        self._sessions.add(session)
        if self._call is None:
            self._call = self._reactor.callLater(TICK, self._tick)

    def forget(self, session: Watched) -> None:
        self._sessions.discard(session)
        if not self._sessions and self._call is not None:
            self._call.cancel()
            self._call = None

    def _tick(self) -> None:
        self._call = self._reactor.callLater(TICK, self._tick)
        now = self._reactor.seconds()
        for session in list(self._sessions):
            session.check(now)

    def __repr__(self) -> str:
        return f"<Ticker {len(self._sessions)} sessions>"
