"""The names of next hops: an upstream's own, one for each of its identities, or one for each domain
where it is reached by MX.

A lane is named after its next hop: "smarthost", or "internet:example.org". The domain stands as DNS
knows it: lower case, U-labels as A-labels (RFC 5890, UTS 46); an address literal in its brackets.
"""

from collections.abc import Iterable

import idna

from relay.config import Route, Upstream
from relay.mail.address import split
from relay.outbound.identity.choice import Choices, lanes_of
from relay.queue.lane_book import EASED, SEPARATOR, upstream_of


class NextHops:
    """Of the upstreams of a configuration."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self.change(upstreams)

    def change(self, upstreams: Iterable[Upstream]) -> None:
        """Those of another configuration from now on."""
        upstreams = tuple(upstreams)
        self.fixed = tuple(
            lane for each in upstreams if not each.is_by_domain for lane in lanes_of(each)
        )
        self._choices = Choices(upstreams)
        self.by_domain = frozenset(each.name for each in upstreams if each.is_by_domain)
        self._easy = frozenset(
            each.name for each in upstreams if each.is_by_domain and each.honour_tls_required_no
        )

    def lane_of(
        self, route: Route, forward_path: str, reverse_path: str = "", user: str = ""
    ) -> str:
        """The lane of a recipient who takes this route. `user`: who authenticated here."""
        upstream = route.upstream
        if upstream not in self.by_domain:
            return self._choices.lane_of(upstream, reverse_path, user)
        return f"{upstream}{SEPARATOR}{in_ascii(split(forward_path)[1])}"

    def eased(self, lane: str) -> str:
        """The lane beside it for mail that waives the domain's demand for TLS, where that may."""
        return f"{lane}{EASED}" if upstream_of(lane) in self._easy else lane


def split_lane(lane: str) -> tuple[str, str]:
    """The upstream, and the domain where the lane is one's own."""
    upstream, _, domain = lane.partition(SEPARATOR)
    return upstream, domain.removesuffix(EASED)


def in_ascii(domain: str) -> str:
    """As DNS is asked for it. What no A-label exists for stays as it is, and is not found."""
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return domain.lower()
