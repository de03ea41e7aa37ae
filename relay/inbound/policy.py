"""Who may send what to whom: judges clients and recipients, answers with a reply or a route.

Denies by default: a recipient is taken from a trusted network, or because anyone may send to him.
Holds no session; everything it judges is passed in.
"""

from collections.abc import Callable, Iterable
from typing import Final

from relay.config.listener import Listener
from relay.config.schema import Route
from relay.config.values import Network
from relay.mail.address import AddressGlob, split
from relay.mail.ip_address import unmapped
from relay.mail.reply import Reply, reply

RELAYING_DENIED: Final = reply(550, "5.7.1", "Relaying denied")
NO_ROUTE: Final = reply(550, "5.7.1", "No route to this recipient")
SOURCE_ROUTED: Final = reply(550, "5.7.1", "Routing by the local part is not done here")

ROUTING_CHARACTERS: Final = frozenset("%!@")
"""Old ways to route by the local part: an upstream may follow them to anywhere."""

UNKNOWN_HOST: Final = "unknown"
"""In the place of an address that a proxy does not know: trusted for nothing."""

MAX_REMEMBERED: Final = 4096
"""Hosts whose trust is remembered: a hundred octets each. When full, all are forgotten."""

RouteFor = Callable[[str, str, str], Route | None]
"""(forward_path, reverse_path, listener) -> the route, or None where none leads."""

LaneOf = Callable[[Route, str, str, str], str]
"""(route, forward_path, reverse_path, user) -> the lane of a recipient who takes it."""


class Policy:
    """The judgements of one listener."""

    def __init__(
        self,
        listener: Listener,
        route_for: RouteFor,
        postmaster: str | None,
        lane_of: LaneOf = lambda route, forward_path, reverse_path, user: route.upstream,
    ) -> None:
        self.lane_of = lane_of
        self._listener = listener.name
        self._networks = listener.relay_networks
        self._trusted: dict[str, bool] = {}  # by host: clients come back
        self._accepted = tuple(AddressGlob(pattern) for pattern in listener.accept_recipients)
        self._certificates = tuple(map(_names_like, listener.relay_certificates))
        self._route_for = route_for
        self._postmaster = postmaster

    def trusts(self, host: str) -> bool:
        """As `is_within`."""
        known = self._trusted.get(host)
        if known is None:
            if len(self._trusted) >= MAX_REMEMBERED:
                self._trusted.clear()
            known = self._trusted[host] = is_within(host, self._networks)
        return known

    def trusted_name(self, names: Iterable[str]) -> str:
        """The first of a verified certificate's names that may send to anyone; "": none may."""
        tests = self._certificates
        return next((name for name in names if any(matches(name) for matches in tests)), "")

    def judge(
        self, is_trusted: bool, reverse_path: str, forward_path: str
    ) -> tuple[Reply, str, None] | tuple[None, str, Route]:
        """(refusal or None, forward-path to relay to, its route)."""
        if forward_path == "postmaster" and self._postmaster:
            # RFC 5321 4.5.1: <postmaster> without a domain is taken from anyone
            forward_path, is_trusted = self._postmaster, True
        if not is_trusted and (refusal := self._refusal_to_strangers(forward_path)):
            return refusal, forward_path, None
        route = self._route_for(forward_path, reverse_path, self._listener)
        if route is None:
            return NO_ROUTE if is_trusted else RELAYING_DENIED, forward_path, None
        return None, forward_path, route

    def _refusal_to_strangers(self, forward_path: str) -> Reply | None:
        if not any(glob.matches(forward_path) for glob in self._accepted):
            return RELAYING_DENIED
        local_part, _ = split(forward_path)
        return SOURCE_ROUTED if ROUTING_CHARACTERS.intersection(local_part) else None


def _names_like(pattern: str) -> Callable[[str], bool]:
    """A pattern for host names is none for mail addresses; "*" alone is for both."""
    matches = AddressGlob(pattern.lower()).matches
    if not pattern.strip("*"):
        return matches
    return lambda name: ("@" in name) == ("@" in pattern) and matches(name)


def is_within(host: str, networks: Iterable[Network]) -> bool:
    """`host` is an IP address in text, IPv6 maybe with a zone; v4-mapped counts as v4."""
    if host == UNKNOWN_HOST:
        return False
    address = unmapped(host)
    return any(address in network for network in networks)
