"""Which identity a message goes by at its upstream: pure, made ready once.

The lane of an upstream's own identity bears the upstream's name; those of [[upstream.identity]] are
called "UPSTREAM:NAME".
"""

from collections.abc import Iterable, Sequence

from relay.config import Upstream
from relay.mail.address import AddressGlob
from relay.queue.lane_book import SEPARATOR

_Tests = tuple[str, tuple[AddressGlob, ...], frozenset[str]]


def lane_name(upstream: str, identity: str) -> str:
    """`identity` "": the upstream's own."""
    return f"{upstream}{SEPARATOR}{identity}" if identity else upstream


def lanes_of(upstream: Upstream) -> list[str]:
    """One for each identity, the upstream's own first."""
    return [upstream.name, *(lane_name(upstream.name, each.name) for each in upstream.identities)]


class Choices:
    """Of the upstreams of a configuration."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._tests: dict[str, Sequence[_Tests]] = {
            upstream.name: [
                (
                    lane_name(upstream.name, each.name),
                    tuple(AddressGlob(pattern) for pattern in each.senders),
                    frozenset(each.users),
                )
                for each in upstream.identities
            ]
            for upstream in upstreams
            if upstream.identities
        }

    def lane_of(self, upstream: str, reverse_path: str, user: str) -> str:
        """The first identity whose tests all match; else the upstream's own."""
        for lane, senders, users in self._tests.get(upstream, ()):
            if users and user not in users:
                continue
            if not senders or any(glob.matches(reverse_path) for glob in senders):
                return lane
        return upstream

    def __repr__(self) -> str:
        return f"<Choices {len(self._tests)} upstreams>"
