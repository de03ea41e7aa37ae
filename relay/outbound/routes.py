"""Which route a recipient takes: the first whose tests all match.

Pure; the globs are made ready once. Addresses repeat in mail, so the last answers are remembered.
"""

from collections.abc import Sequence

from relay.config import Route
from relay.mail.address import AddressGlob

MAX_REMEMBERED = 4096
"""Answers kept: some hundred octets each, so a megabyte or two. When full, all are forgotten."""

_Key = tuple[str, str, str | None]
_Tests = tuple[tuple[AddressGlob, ...], tuple[AddressGlob, ...], tuple[str, ...], Route]


class Routes:
    """The routes of a configuration, in its order."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._tests: list[_Tests] = [
            (_globs(route.recipients), _globs(route.senders), route.listeners, route)
            for route in routes
        ]
        self._remembered: dict[_Key, Route | None] = {}

    def find(self, forward_path: str, reverse_path: str, listener: str | None) -> Route | None:
        """`listener` None or "": whatever the listener (mail made here has none)."""
        key = (forward_path, reverse_path, listener)
        remembered = self._remembered
        try:
            return remembered[key]
        except KeyError:
            pass
        route = self._first(forward_path, reverse_path, listener)
        if len(remembered) >= MAX_REMEMBERED:
            remembered.clear()
        remembered[key] = route
        return route

    def sole(self, reverse_path: str, listener: str) -> Route | None:
        """The route that each recipient takes whom any takes, whoever he is; None: it depends."""
        possible = [
            route
            for _, senders, listeners, route in self._tests
            if (not listeners or listener in listeners) and _match(senders, reverse_path)
        ]
        first = possible[0] if possible else None
        is_sole = all((r.upstream, r.delivery) == _way(first) for r in possible)
        return first if is_sole else None

    def proxied(self, listener: str) -> frozenset[str]:
        """The upstreams that mail of the listener may be passed to."""
        return frozenset(
            route.upstream
            for _, _, listeners, route in self._tests
            if route.is_proxied and (not listeners or listener in listeners)
        )

    def _first(self, forward_path: str, reverse_path: str, listener: str | None) -> Route | None:
        for recipients, senders, listeners, route in self._tests:
            if listeners and listener and listener not in listeners:
                continue
            if _match(senders, reverse_path) and _match(recipients, forward_path):
                return route
        return None

    def __repr__(self) -> str:
        return f"<Routes {len(self._tests)}>"


def _way(route: Route | None) -> tuple[str, str] | None:
    return None if route is None else (route.upstream, route.delivery)


def _globs(patterns: Sequence[str]) -> tuple[AddressGlob, ...]:
    return tuple(AddressGlob(pattern) for pattern in patterns)


def _match(globs: Sequence[AddressGlob], path: str) -> bool:
    """No glob at all is a test left out."""
    return not globs or any(glob.matches(path) for glob in globs)
