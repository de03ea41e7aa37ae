"""Failed authentications by address: each makes the next reply slower, many shut the address out.

Pure: time is passed in, in seconds. A client that fails again with the same wrong password guesses
nothing: it is slowed, but not counted, and for some seconds not checked again either.
"""

import hmac
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

MAX_ADDRESSES = 20_000
"""Remembered, in each process: some 5 MB. Those whose last failure is the oldest go first."""

DIGEST_SIZE = 16
"""Octets of the digest of what was tried: it need not be hard to find another one with it."""

KNOWN_FOR = 10.0
"""Seconds for which a wrong password is known to be wrong: whoever repeats it without end costs a
slow check in that time and no more, and whoever was just given it as his own soon gets in."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When failures slow down and shut out; times in seconds."""

    first_delay: float
    max_delay: float
    max_failures: int
    shut_out_for: float


@dataclass(slots=True)
class _Record:
    count: int = 0
    forgotten_at: float = 0.0
    last_try: bytes = b""
    known_until: float = 0.0  # that last_try is wrong


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failure leads to. `delay` of the reply in seconds; `is_shut_out`: from now on, and
    whoever asked is the one to tell of it."""

    delay: float
    count: int
    is_shut_out: bool


class Entry(NamedTuple):
    """What is known of one address. `left`: seconds until it is forgotten."""

    key: str
    failures: int
    left: float
    last_try: bytes


Report = Callable[[str, bytes, str], bool]
"""Hears of each failure: whose, what was tried, at which listener. Whether the book that several
processes have in common takes it, and tells of a shut-out."""


def _no_report(key: str, tried: bytes, listener: str) -> bool:
    return False


class Failures:
    """Of one process, or of all. `limits` may change; None: nobody can authenticate."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits
        self.digest_key = os.urandom(32)
        self.report: Report = _no_report
        self._records: OrderedDict[str, _Record] = OrderedDict()  # by the last failure's time

    def digest(self, name: str, password: str) -> bytes:
        """Tells a wrong password from another wrong one, and nothing else."""
        tried = f"{name}\0{password}".encode()
        return hmac.digest(self.digest_key, tried, "sha256")[:DIGEST_SIZE]

    def is_shut_out(self, key: str, now: float) -> bool:
        record = self._records.get(key)
        return record is not None and now < record.forgotten_at and self._is_over(record)

    def is_known_wrong(self, key: str, now: float, tried: bytes) -> bool:
        """Whether that was the last one tried from there, and was just found to be wrong."""
        record = self._records.get(key)
        if record is None or tried != record.last_try:
            return False
        return now < min(record.known_until, record.forgotten_at)

    def _is_over(self, record: _Record) -> bool:
        return self.limits is not None and record.count >= self.limits.max_failures

    def failed(self, key: str, now: float, tried: bytes = b"", listener: str = "") -> Verdict:
        """One more. `tried`: a digest of what was tried, b"" where there is none."""
        assert self.limits is not None
        limits, record = self.limits, self._record(key, now)
        was_over = self._is_over(record)
        if not tried or tried != record.last_try:
            record.count += 1
            record.known_until = 0.0
        record.last_try = tried
        if now >= record.known_until:
            record.known_until = now + KNOWN_FOR
        record.forgotten_at = now + limits.shut_out_for
        is_new = self._is_over(record) and not was_over
        is_reported = self.report(key, tried, listener)
        delay = min(limits.max_delay, limits.first_delay * 2.0 ** min(record.count - 1, 30))
        return Verdict(delay, record.count, is_new and not is_reported)

    def _record(self, key: str, now: float) -> _Record:
        """The one there is, or a new one; from now on the last to go."""
        record = self._records.get(key)
        if record is None or now >= record.forgotten_at:
            record = self._records[key] = _Record()
        self._records.move_to_end(key)
        if len(self._records) > MAX_ADDRESSES:
            self._records.popitem(last=False)
        return record

    # --- between several processes ------------------------------------------------------------

    def entry(self, key: str, now: float) -> Entry | None:
        """What others should know of an address; None: it is forgotten."""
        record = self._records.get(key)
        if record is None or now >= record.forgotten_at:
            return None
        return Entry(key, record.count, record.forgotten_at - now, record.last_try)

    def learn(self, told: Entry, now: float, unknown: int) -> None:
        """What the common book says, which does not know of the last `unknown` failures here."""
        record = self._record(told.key, now)
        record.count = told.failures + unknown
        record.forgotten_at = max(record.forgotten_at, now + told.left)
        if not unknown and told.last_try != record.last_try:
            record.last_try, record.known_until = told.last_try, 0.0

    def known(self, now: float) -> Iterator[Entry]:
        """Those that are not forgotten, the one that failed last first."""
        for key in reversed(self._records):
            entry = self.entry(key, now)
            if entry is not None:
                yield entry

    def shut_out(self, now: float) -> list[Entry]:
        """Those that are, the one that failed last first."""
        limits = self.limits
        return [each for each in self.known(now) if limits and each.failures >= limits.max_failures]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<Failures of {len(self)} addresses>"
