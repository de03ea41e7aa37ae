"""Which route a recipient takes: the first whose tests all match.

Pure; the globs are made ready once. Routes for single domains are found by the domain, so that ten
thousand of them cost no more than ten. Addresses repeat in mail: the last answers are remembered.
"""

from collections.abc import Iterable, Sequence
from heapq import merge

from relay.config import Route
from relay.mail.address import AddressGlob

MAX_REMEMBERED = 4096
"""Answers kept: some hundred octets each, so a megabyte or two. When full, all are forgotten."""

_Key = tuple[str, str, str | None]
_Tests = tuple[tuple[AddressGlob, ...], tuple[AddressGlob, ...], tuple[str, ...], Route]
_Numbered = tuple[int, _Tests]


class Routes:
    """The routes of a configuration, in its order."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.change(routes)

    def change(self, routes: Sequence[Route]) -> None:
        """Those of another configuration from now on."""
        self._tests: list[_Tests] = [
            (_globs(route.recipients), _globs(route.senders), route.listeners, route)
            for route in routes
        ]
        self._by_domain: dict[str, list[_Numbered]] = {}
        self._for_many: list[_Numbered] = []  # those that take more than some named domains
        for numbered in enumerate(self._tests):
            self._sort_in(numbered)
        self._remembered: dict[_Key, Route | None] = {}

    def _sort_in(self, numbered: _Numbered) -> None:
        domains = {glob.domain for glob in numbered[1][0]}
        if not domains or None in domains:
            self._for_many.append(numbered)
        else:
            for domain in domains:
                self._by_domain.setdefault(str(domain), []).append(numbered)

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
        sole: Route | None = None
        for _, senders, listeners, route in self._tests:
            if (listeners and listener not in listeners) or not _match(senders, reverse_path):
                continue
            if sole is not None and _way(route) != _way(sole):
                return None
            sole = sole or route
        return sole

    def _first(self, forward_path: str, reverse_path: str, listener: str | None) -> Route | None:
        for _, (recipients, senders, listeners, route) in self._candidates(forward_path):
            if listeners and listener and listener not in listeners:
                continue
            if _match(senders, reverse_path) and _match(recipients, forward_path):
                return route
        return None

    def _candidates(self, forward_path: str) -> Iterable[_Numbered]:
        """Those that may take the path, in the order of the config."""
        _, at, domain = forward_path.rpartition("@")
        named = self._by_domain.get(domain.lower()) if at else None
        if not named:
            return self._for_many
        return merge(named, self._for_many) if self._for_many else named

    def __repr__(self) -> str:
        return f"<Routes {len(self._tests)}>"


def _way(route: Route) -> tuple[str, str]:
    return route.upstream, route.delivery


def _globs(patterns: Sequence[str]) -> tuple[AddressGlob, ...]:
    return tuple(AddressGlob(pattern) for pattern in patterns)


def _match(globs: Sequence[AddressGlob], path: str) -> bool:
    """No glob at all is a test left out."""
    return not globs or any(glob.matches(path) for glob in globs)
