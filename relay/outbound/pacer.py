"""Keeps an upstream's `max_rate`: transactions begin one by one, evenly, and never in a burst.

Nor does a restart or another config earn a turn: `turns` remembers when the next one is.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall

from relay.mail.reply import Reply
from relay.outbound.turns import KEPT_FROM, Turns

CATCH_UP = 0.1
"""Seconds whose turns may be made up for: timers ring late, and high rates would never be had."""


class Paced(Protocol):
    """A transaction that waits for its turn."""

    def site_failed(self, reply: Reply, label: str) -> None:
        """It does not come any more."""


class Pacer:
    """`rate`: transactions a second. The turns of one lane, over all hosts of its upstream."""

    def __init__(self, rate: float, reactor: Any, turns: Turns, lane: str) -> None:
        self._interval = 1 / rate
        self._reactor = reactor
        self._turns = turns if self._interval >= KEPT_FROM else None
        self._lane = lane
        self._next_at: float | None = None  # not looked up: a pacer before this one may be at work
        self._waiting: deque[tuple[Any, Callable[[Any], None]]] = deque()
        self._timer: IDelayedCall | None = None
        self._stop_reply: Reply | None = None

    def take_turn(self, pending: Paced, go: Callable[[Any], None]) -> None:
        """Calls `go(pending)` when it may begin, perhaps at once."""
        if self._stop_reply is not None:
            pending.site_failed(self._stop_reply, "")
            return
        self._waiting.append((pending, go))
        if self._timer is None:
            self._go_on()

    def withdraw(self, pending: Paced) -> None:
        """It does not want its turn any more. Harmless where it had it."""
        self._waiting = deque(each for each in self._waiting if each[0] is not pending)

    def stop(self, reply: Reply) -> None:
        """Nobody's turn comes any more."""
        self._stop_reply = reply
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, deque()
        for pending, _ in waiting:
            pending.site_failed(reply, "")

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _go_on(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        if self._next_at is None:
            self._next_at = self._first_at(now)
        while self._waiting and self._next_at <= now:
            self._next_at = max(self._next_at, now - CATCH_UP) + self._interval
            if self._turns is not None:
                self._turns.keep(self._lane, self._next_at)
            pending, go = self._waiting.popleft()
            go(pending)
        if self._waiting and self._timer is None:
            self._timer = self._reactor.callLater(self._next_at - now, self._go_on)

    def _first_at(self, now: float) -> float:
        """As it was left; no further off than one turn, if it was left by another rate or clock."""
        if self._turns is None:
            return 0.0
        return min(self._turns.next_at(self._lane), now + self._interval)

    def __repr__(self) -> str:
        return f"<Pacer one in {self._interval:g} s, {len(self._waiting)} waiting>"
