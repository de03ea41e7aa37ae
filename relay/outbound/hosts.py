"""The hosts of an upstream: in which order to try them, and which failed lately.

Pure. A host that failed is skipped until its retry time, so that only one message in a while pays
for finding out; where every host failed, all are tried.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

FIRST_RETRY = 60.0
"""Seconds a failed host of several is skipped; doubled with each failure after."""

MAX_RETRY = 900.0
"""The longest of them: a host that is back is in use again within a quarter of an hour."""

MAX_REMEMBERED = 10000
"""Failed hosts remembered (some 200 octets each); more are only met by MX. Beyond it those that are
due again are forgotten, then all."""

Host = TypeVar("Host", bound=Hashable)


def _itself(host: Hashable) -> Hashable:
    return host


class HostMemory:
    """The trouble of hosts, whatever they are known by."""

    def __init__(self) -> None:
        self._failures: dict[Hashable, int] = {}
        self._retry_at: dict[Hashable, float] = {}

    def order(
        self, hosts: Sequence[Host], now: float, key: Callable[[Host], Hashable] = _itself
    ) -> Sequence[Host]:
        """Those to try, in the order given. `key`: what a host is remembered by."""
        if not self._retry_at:
            return hosts
        return [host for host in hosts if self.is_due(key(host), now)] or hosts

    def is_due(self, host: Hashable, now: float) -> bool:
        """It has not failed lately."""
        return self._retry_at.get(host, 0.0) <= now

    def failed(self, host: Hashable, now: float) -> None:
        """No session could be had there, or it broke. Told again within the time: not counted."""
        if self.is_due(host, now):
            if len(self._retry_at) >= MAX_REMEMBERED:
                self._make_room(now)
            failures = self._failures[host] = self._failures.get(host, 0) + 1
            self._retry_at[host] = now + min(MAX_RETRY, FIRST_RETRY * 2 ** min(failures - 1, 10))

    def answered(self, host: Hashable) -> None:
        """A session was opened there."""
        if self._failures:
            self._failures.pop(host, None)
            self._retry_at.pop(host, None)

    def forget(self) -> None:
        """An operator wants all of them tried now."""
        self._failures.clear()
        self._retry_at.clear()

    def _make_room(self, now: float) -> None:
        for host in [host for host, at in self._retry_at.items() if at <= now]:
            self.answered(host)
        if len(self._retry_at) >= MAX_REMEMBERED:
            self.forget()

    def __repr__(self) -> str:
        return f"<HostMemory {len(self._retry_at)} failed>"
