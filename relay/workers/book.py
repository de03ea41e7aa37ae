"""The book of failed authentications of all workers, that the supervisor keeps.

A worker tells its failures and is answered with what the book then says of those addresses; the
others are told in batches, one at a time. A worker that is started gets all of it. What waits for
one that does not listen is a set of addresses, no larger than the book.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.notices import Observer, ShutOut
from relay.service.shut_out import shut_out_status
from relay.users.failures import Entry, Failures, Limits

BATCH = 500
"""Failures or entries in one message: some 50 KB."""

Row: TypeAlias = Sequence[Any]
"""An entry or a failure as it goes over the channel."""

Ask = Callable[..., "Deferred[Any]"]


class _Reader:
    """A worker that is told; `due`: of which addresses, in that order."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.due: dict[str, None] = {}
        self.is_reading = False


class Book:
    """`now` tells the time in seconds."""

    def __init__(self, now: Callable[[], float], observe: Observer) -> None:
        self._now = now
        self._observe = observe
        self._failures = Failures()
        self._readers: dict[int, _Reader] = {}

    def use(self, limits: Limits | None) -> None:
        """From now on. None: nobody can authenticate any more; what is known stays known."""
        self._failures.limits = limits or self._failures.limits

    def open_for(self, worker: int, tell: Callable[..., None], ask: Ask) -> None:
        """A worker is there; `tell` and `ask` reach it."""
        tell("digest_key", self._failures.digest_key.hex())
        reader = self._readers[worker] = _Reader(ask)
        known = sorted(self._failures.known(self._now()), key=lambda each: -each.failures)
        reader.due = dict.fromkeys(each.key for each in known)
        self._read(reader)

    def close_for(self, worker: int) -> None:
        """It is gone."""
        self._readers.pop(worker, None)

    def failed(self, worker: int, rows: Iterable[Row]) -> list[Row]:
        """What one worker counted. Yields what it does not know of the same addresses."""
        now = self._now()
        keys: dict[str, None] = {}
        for key, tried, listener in rows:
            verdict = self._failures.failed(key, now, bytes.fromhex(tried))
            if verdict.is_shut_out:
                self._observe(ShutOut(key, listener, verdict.count))
            keys[key] = None
        for number, reader in self._readers.items():
            if number != worker:
                reader.due.update(keys)
                self._read(reader)
        return self._rows(keys)

    def _rows(self, keys: Iterable[str]) -> list[Row]:
        now = self._now()
        found = (self._failures.entry(key, now) for key in keys)
        return [row_of(each) for each in found if each is not None]

    def _read(self, reader: _Reader) -> None:
        """Once at a time: what comes meanwhile is told together."""
        while reader.due and not reader.is_reading:
            keys = list(reader.due)[:BATCH]
            for key in keys:
                del reader.due[key]
            rows = self._rows(keys)
            if rows:
                reader.is_reading = True
                reader.ask("failures", rows).addBoth(self._has_read, reader)

    def _has_read(self, answer: object, reader: _Reader) -> None:
        if isinstance(answer, Failure):  # it is gone, and whoever comes next gets all of it
            reader.due.clear()
        reader.is_reading = False
        self._read(reader)

    def status(self) -> dict[str, object]:
        """For relayctl status."""
        return shut_out_status(self._failures, self._now())

    def __repr__(self) -> str:
        return f"<Book {self._failures!r}, {len(self._readers)} readers>"


def row_of(entry: Entry) -> Row:
    return (entry.key, entry.failures, entry.left, entry.last_try.hex())


def entry_of(row: Row) -> Entry:
    key, failures, left, last_try = row
    return Entry(key, failures, left, bytes.fromhex(last_try))
