"""The IP addresses of a host: a literal is its own, names are asked of the reactor's resolver.

Every wait is bounded; the resolver blocks a thread of the reactor's pool, so each host asks at most
once at a time, and answers are kept for a little while.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IHostResolution, IResolutionReceiver
from zope.interface import classImplements

LOOKUP_TIMEOUT = 30.0
"""Seconds for an answer; the system's own resolver gives up after some 10 to 20."""

MAX_ADDRESSES = 8
"""Of one host that are tried for one session."""

KEPT_FOR = 30.0
"""Seconds an answer is used again: short, for the resolver itself knows the records' times."""


class AddressFinder(Protocol):
    """Knows the addresses of one host."""

    def find(self) -> Deferred[Sequence[str]]:
        """In the order to try them. Never fails: no address is an empty sequence."""


class Addresses:
    """The addresses of one host, in the order to try them (that of the resolver, RFC 6724)."""

    def __init__(self, host: str, reactor: Any) -> None:
        self._host = host
        self._reactor = reactor
        is_literal = isIPAddress(host) or isIPv6Address(host)
        self._known: Sequence[str] = (host,) if is_literal else ()
        self._known_until = float("inf") if is_literal else 0.0
        self._waiting: list[Deferred[Sequence[str]]] = []
        self._lookup: _Lookup | None = None

    def find(self) -> Deferred[Sequence[str]]:
        """Never fails: no address is an empty sequence."""
        if self._reactor.seconds() < self._known_until:
            return succeed(self._known)
        asked: Deferred[Sequence[str]] = Deferred(self._forget)
        self._waiting.append(asked)
        if self._lookup is None:
            self._lookup = _Lookup(self._found)
            self._lookup.begin(self._host, self._reactor)
        return asked

    def _forget(self, asked: Deferred[Sequence[str]]) -> None:
        if asked in self._waiting:
            self._waiting.remove(asked)

    def _found(self, addresses: Sequence[str]) -> None:
        self._lookup = None
        if addresses:
            self._known = addresses
            self._known_until = self._reactor.seconds() + KEPT_FOR
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            asked.callback(addresses)

    def __repr__(self) -> str:
        return f"<Addresses {self._host} {' '.join(self._known) or 'unknown'}>"


class _Lookup:
    """One question to the resolver. An answer after the timeout is not heard."""

    def __init__(self, found: Callable[[Sequence[str]], None]) -> None:
        self._found = found
        self._addresses: list[str] = []
        self._timer: IDelayedCall | None = None

    def begin(self, host: str, reactor: Any) -> None:
        self._timer = reactor.callLater(LOOKUP_TIMEOUT, self._end)
        reactor.nameResolver.resolveHostName(self, host, addressTypes=(IPv4Address, IPv6Address))

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        host = getattr(address, "host", "")
        if host and host not in self._addresses and len(self._addresses) < MAX_ADDRESSES:
            self._addresses.append(host)

    def resolutionComplete(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._end()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer = None
            self._found(tuple(self._addresses))


classImplements(_Lookup, IResolutionReceiver)
