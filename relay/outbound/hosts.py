"""The hosts of an upstream: in which order to try them, and which failed lately.

Pure. A host that failed is skipped until its retry time, so that only one message in a while pays
for finding out; where every host failed, all are tried.
"""

from collections.abc import Sequence

FIRST_RETRY = 60.0
"""Seconds a failed host of several is skipped; doubled with each failure after."""

MAX_RETRY = 900.0
"""The longest of them: a host that is back is in use again within a quarter of an hour."""


class HostMemory:
    """The trouble of the `count` hosts of one upstream, which are known by their numbers here."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._failures: dict[int, int] = {}
        self._retry_at: dict[int, float] = {}
        self._all = tuple(range(count))

    def order(self, now: float) -> Sequence[int]:
        """The hosts to try, in this order."""
        if not self._retry_at:
            return self._all
        return [n for n in self._all if self.is_due(n, now)] or self._all

    def is_due(self, host: int, now: float) -> bool:
        """It has not failed lately."""
        return self._retry_at.get(host, 0.0) <= now

    def failed(self, host: int, now: float) -> None:
        """No session could be had there, or it broke. Told again within the time: not counted."""
        if self.is_due(host, now):
            failures = self._failures[host] = self._failures.get(host, 0) + 1
            self._retry_at[host] = now + min(MAX_RETRY, FIRST_RETRY * 2 ** min(failures - 1, 10))

    def answered(self, host: int) -> None:
        """A session was opened there."""
        if self._failures:
            self._failures.pop(host, None)
            self._retry_at.pop(host, None)

    def forget(self) -> None:
        """An operator wants all of them tried now."""
        self._failures.clear()
        self._retry_at.clear()

    def retry_at(self, host: int) -> float:
        """When a failed host is due again, 0.0 for one that is well."""
        return self._retry_at.get(host, 0.0)

    def __repr__(self) -> str:
        return f"<HostMemory {self._count} hosts, failed {sorted(self._retry_at)}>"
