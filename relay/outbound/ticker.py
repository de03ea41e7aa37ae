"""Looks at the deadlines of all upstream sessions, whatever their host, with one timer.

Sessions put their deadlines off with each command; a timer for each, or for each host, would cost
more than the mail once thousands of hosts have sessions open.
"""

from typing import Any, Protocol

from relay.beat import Beat

TICK = 0.5
"""Seconds between looks: by so much a session may end late."""


class Watched(Protocol):
    """What keeps a deadline: a session."""

    def check(self, now: float) -> None:
        """Act on it, if it has passed."""


class Ticker:
    """Ticks while there is any session to look at."""

    def __init__(self, reactor: Any) -> None:
        self._sessions: set[Watched] = set()
        self._beat = Beat(
            reactor, TICK, lambda: self._sessions, lambda session, now: session.check(now)
        )

    def watch(self, session: Watched) -> None:
        self._sessions.add(session)
        self._beat.begin()

    def forget(self, session: Watched) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._beat.end()

    def __repr__(self) -> str:
        return f"<Ticker {len(self._sessions)} sessions>"
