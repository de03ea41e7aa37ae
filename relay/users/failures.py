"""Failed authentications by address: each makes the next reply slower, many shut the address out.

Pure: time is passed in, in seconds. An IPv6 client is its /64, for it has all of that. A client
that fails again with the same wrong password guesses nothing: it is slowed, but not counted.
"""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

MAX_ADDRESSES = 20_000
"""Remembered, in each process: some 5 MB. Those whose last failure is the oldest go first."""

_HOST_BITS = 64


@dataclass(slots=True)
class _Record:
    count: int = 0
    forgotten_at: float = 0.0
    last_try: bytes = b""
    is_shut_out: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failure leads to. `delay` of the reply in seconds; `is_shut_out`: from now on."""

    delay: float
    count: int
    is_shut_out: bool


class Failures:
    """Of one relay process."""

    def __init__(
        self, first_delay: float, max_delay: float, max_failures: int, shut_out_for: float
    ) -> None:
        self._first_delay = first_delay
        self._max_delay = max_delay
        self._max_failures = max_failures
        self._shut_out_for = shut_out_for
        self._records: OrderedDict[str, _Record] = OrderedDict()  # by the last failure's time

    def is_shut_out(self, key: str, now: float) -> bool:
        record = self._records.get(key)
        return record is not None and record.is_shut_out and now < record.forgotten_at

    def failed(self, key: str, now: float, tried: bytes = b"") -> Verdict:
        """One more. `tried`: a digest of what was tried, b"" where there is none."""
        record = self._records.get(key)
        if record is None or now >= record.forgotten_at:
            record = self._records[key] = _Record()
        is_repeated = bool(tried) and tried == record.last_try
        record.last_try = tried
        record.count += not is_repeated
        record.forgotten_at = now + self._shut_out_for
        was_shut_out = record.is_shut_out
        record.is_shut_out = record.count >= self._max_failures
        self._records.move_to_end(key)
        if len(self._records) > MAX_ADDRESSES:
            self._records.popitem(last=False)
        delay = min(self._max_delay, self._first_delay * 2.0 ** min(record.count - 1, 30))
        return Verdict(delay, record.count, record.is_shut_out and not was_shut_out)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<Failures of {len(self)} addresses>"


def key_of(address: IPv4Address | IPv6Address) -> str:
    """Whom an address is counted as."""
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/64"
