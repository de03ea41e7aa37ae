"""A worker's failed authentications on their way to the book that the supervisor keeps.

Nobody waits for the way: a failure counts here at once, and everywhere once the book has it. Where
the supervisor is slow or gone, the counts are this worker's own.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.users.failures import Failures
from relay.workers.book import BATCH, Row, entry_of

MAX_UNTOLD = 1000
"""Failures that may wait for the supervisor; those beyond it count in this worker alone."""


class Reporter:
    """`ask(name, rows)` reaches the supervisor; `now` tells the time in seconds."""

    def __init__(
        self,
        failures: Failures,
        ask: Callable[..., "Deferred[Any]"],
        now: Callable[[], float],
    ) -> None:
        self._failures = failures
        self._ask = ask
        self._now = now
        self._untold: deque[Row] = deque()
        self._under_way: Sequence[Row] = ()
        self._unanswered: Counter[str] = Counter()  # both of them, by address
        self._is_alone = False
        failures.report = self._failed

    def _failed(self, key: str, tried: bytes, listener: str) -> bool:
        if self._is_alone or len(self._untold) >= MAX_UNTOLD:
            return False
        self._unanswered[key] += 1
        self._untold.append((key, tried.hex(), listener))
        self._send()
        return not self._is_alone

    def _send(self) -> None:
        """One batch at a time: the rest waits here, where it is counted."""
        if self._untold and not self._under_way:
            count = min(BATCH, len(self._untold))
            self._under_way = [self._untold.popleft() for _ in range(count)]
            self._ask("failed", self._under_way).addCallbacks(self._answered, self._gone)

    def _answered(self, rows: Iterable[Row]) -> None:
        """They are in the book, which says so."""
        for key, *_ in self._under_way:
            self._unanswered[key] -= 1
            if not self._unanswered[key]:
                del self._unanswered[key]
        self._under_way = ()
        self.learn(rows)
        self._send()

    def _gone(self, reason: Failure) -> None:
        self._is_alone = True
        self._untold.clear()
        self._under_way = ()
        self._unanswered.clear()

    # --- what the supervisor says -------------------------------------------------------------

    def use_key(self, key: str) -> None:
        """The digests of all workers are made with it."""
        self._failures.digest_key = bytes.fromhex(key)

    def learn(self, rows: Iterable[Row]) -> None:
        """What the book holds, without what is on its way there."""
        now = self._now()
        for entry in map(entry_of, rows):
            self._failures.learn(entry, now, self._unanswered[entry.key])

    def __repr__(self) -> str:
        return f"<Reporter {self._unanswered.total()} on their way>"
