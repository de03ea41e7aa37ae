"""Where mail for a domain goes: its mail hosts by preference, or why there are none (RFC 5321 5.1).

Null MX (RFC 7505), implicit MX, and the cut at our own place in the list, without which mail would
go in a circle. What DNS says is decided on here; to ask is the resolver's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from random import Random
from typing import Protocol

from twisted.internet.defer import Deferred, gatherResults

from relay.mail.ip_address import unmapped
from relay.mail.reply import Reply, reply
from relay.outbound.dns.answer import Answer, Kind, Status

MAX_HOSTS = 10
"""Hosts of one domain that are looked up and tried; the largest providers name five."""

MAX_ADDRESSES = 8
"""Of one host that are tried for one session."""

NULL_MX = reply(556, "5.1.10", "The recipient's domain takes no mail (null MX)")
NO_DOMAIN = reply(550, "5.1.2", "The recipient's address names no domain to look up")
LOOPS = reply(554, "5.4.6", "Mail for this domain would come back to this relay")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One mail host of a domain. `is_secure`: DNSSEC vouches for its addresses, and for its being
    the domain's. `names`: by which it may be known, the one after CNAMEs first (RFC 7672 2.2.2).
    """

    preference: int
    name: str
    addresses: tuple[str, ...]
    is_secure: bool = False
    names: tuple[str, ...] = ()
    domain: str = ""

    @property
    def is_literal(self) -> bool:
        """There is nothing to look up."""
        return self.addresses == (self.name,)


Found = Sequence[Exchange] | Reply
"""Hosts in the order to try them; or a reply: 5xx for good, 4xx where nobody knows now."""


class Asker(Protocol):
    """A resolver."""

    def ask(self, name: str, kind: Kind) -> Deferred[Answer]: ...


class Exchanges:
    """`is_us(name, address)`: whether a host is this relay; either may be ""."""

    def __init__(self, resolver: Asker, is_us: Callable[[str, str], bool], random: Random) -> None:
        self._resolver = resolver
        self._is_us = is_us
        self._random = random

    async def find(self, domain: str) -> Found:
        """`domain`: ASCII, lower case; or an address literal in brackets."""
        if domain.startswith("["):
            return self._literal(domain)
        if not domain or not domain.isascii():
            return NO_DOMAIN
        answer = await self._resolver.ask(domain, Kind.MX)
        if answer.status is Status.NO_NAME:
            return _not_found(domain, "the domain does not exist", "5.1.2")
        if answer.status is Status.FAILED:
            return _unknown(f"MX records of {domain}", answer.why)
        named = self._in_order(answer, domain)
        if not named:
            return NULL_MX
        return await self._with_addresses(domain, named, answer.is_secure)

    def _literal(self, domain: str) -> Found:
        """RFC 5321 4.1.3."""
        try:
            address = str(unmapped(domain.strip("[]").lower().removeprefix("ipv6:")))
        except ValueError:
            return NO_DOMAIN
        if self._is_us("", address):
            return LOOPS
        return (Exchange(0, address, (address,)),)

    def _in_order(self, answer: Answer, domain: str) -> list[tuple[int, str]]:
        """By preference, equal ones at random; the domain itself where it names none."""
        if answer.status is Status.NO_DATA:
            return [(0, domain)]
        named = [(preference, name) for preference, name in answer.records if name]
        self._random.shuffle(named)
        return sorted(named, key=lambda each: each[0])

    async def _with_addresses(
        self, domain: str, named: Sequence[tuple[int, str]], is_secure: bool
    ) -> Found:
        ours = min((p for p, name in named if self._is_us(name, "")), default=None)
        better = _better_than(ours, named)[:MAX_HOSTS]
        looked_up = await gatherResults([self._addresses(name) for _, name in better])
        hosts: list[Exchange] = []
        for (preference, name), answers in zip(better, looked_up, strict=True):
            addresses = tuple(_interleaved(answers))[:MAX_ADDRESSES]
            if any(self._is_us("", address) for address in addresses):
                ours = preference if ours is None else min(ours, preference)
            names = tuple(dict.fromkeys((*(a.name for a in answers if a.records), name)))
            secure = is_secure and all(a.is_secure for a in answers if a.records)
            hosts.append(Exchange(preference, name, addresses, secure, names, domain))
        usable = [host for host in _preferred(ours, hosts) if host.addresses]
        if usable:
            return usable
        for host, answers in zip(hosts, looked_up, strict=True):
            failed = next((a for a in answers if not a.is_known), None)
            if failed is not None and host in _preferred(ours, hosts):  # it may be there later
                return _unknown(f"addresses of {host.name}", failed.why)
        if ours is not None:
            return LOOPS
        return _not_found(domain, "no mail host of the domain has an address", "5.4.4")

    def _addresses(self, name: str) -> Deferred[list[Answer]]:
        return gatherResults([self._resolver.ask(name, kind) for kind in (Kind.AAAA, Kind.A)])

    def addresses_of_name(self, name: str) -> Deferred[Sequence[str]]:
        """Of any host; none where there are none or nobody knows."""
        return self._addresses(name).addCallback(
            lambda answers: tuple(_interleaved(answers))[:MAX_ADDRESSES]
        )

    async def addresses_of(self, exchange: Exchange) -> Sequence[str]:
        """As they are now; none where there are none any more or nobody knows."""
        if exchange.is_literal:
            return exchange.addresses
        return await self.addresses_of_name(exchange.name)

    def __repr__(self) -> str:
        return f"<Exchanges {self._resolver!r}>"


def _better_than(ours: int | None, named: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    return named if ours is None else [each for each in named if each[0] < ours]


def _interleaved(answers: Sequence[Answer]) -> Iterator[str]:
    """Both families in turn: where one does not work here, the other is not waited for long."""
    turns = zip_longest(*(answer.records for answer in answers))
    return (address for address in chain.from_iterable(turns) if address is not None)


def _preferred(ours: int | None, hosts: Sequence[Exchange]) -> Sequence[Exchange]:
    """To this relay, where it is among them."""
    return hosts if ours is None else [host for host in hosts if host.preference < ours]


def _not_found(domain: str, what: str, status: str) -> Reply:
    return Reply(550, status, (f"{domain}: {what}",))


def _unknown(what: str, why: str) -> Reply:
    return Reply(451, "4.4.3", (f"DNS gives no {what}: {why}",))
