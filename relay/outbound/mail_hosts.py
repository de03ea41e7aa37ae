"""The mail hosts of a domain, each with the TLS policy that a session with it must meet.

What the config demands, or `auto`: DANE where a host has secure TLSA records (RFC 7672), else
MTA-STS where the domain publishes a policy (RFC 8461), else opportunistic. A host whose policy
cannot be known is not used; where none is left the mail waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from relay.mail.reply import Reply
from relay.outbound.dns.answer import Kind, Status
from relay.outbound.dns.exchanges import Asker, Exchange, Exchanges
from relay.outbound.sts.policies import StsPolicies, TooBusy
from relay.tls.dane import usable
from relay.tls.policy import Level, Tlsa, TlsPolicy

OPPORTUNISTIC = TlsPolicy(Level.OPPORTUNISTIC)

_log = Logger()


@dataclass(frozen=True, slots=True)
class MailHost:
    exchange: Exchange
    policy: TlsPolicy


_Judged = TlsPolicy | Reply | None
"""DANE's word on a host: a policy, a reply where nobody knows now, None for none."""


class MailHosts:
    """For one upstream. `demand`: its key `tls`."""

    def __init__(
        self, exchanges: Exchanges, resolver: Asker, sts: StsPolicies, demand: str, port: int
    ) -> None:
        self.exchanges = exchanges
        self._resolver = resolver
        self._sts = sts
        self._demand = demand
        self._port = port

    def give_up(self) -> None:
        """Nothing more is fetched."""
        self._sts.give_up()

    async def find(self, domain: str, *, is_eased: bool = False) -> Sequence[MailHost] | Reply:
        """In the order to try them; or a reply: 5xx for good, 4xx where the mail must wait.

        `is_eased`: what the domain demands is left aside (RFC 8689 4.2.2), never what the config
        demands of every host.
        """
        found = await self.exchanges.find(domain)
        if isinstance(found, Reply):
            return found
        if self._demand not in ("auto", "dane", "mta-sts"):
            level = Level(self._demand)
            return [MailHost(each, TlsPolicy(level, is_sure=each.is_secure)) for each in found]
        if is_eased:
            return [MailHost(exchange, OPPORTUNISTIC) for exchange in found]
        judged = await self._by_dane(found)
        known = {e.name: word for e, word in zip(found, judged, strict=True) if word is not None}
        if self._demand == "dane":
            return _usable(found, known) or _no_dane(domain, known)
        left = [exchange for exchange in found if exchange.name not in known]
        if left:
            refusal = await self._by_sts(domain, left, known)
            if refusal is not None and not _usable(found, known):
                return refusal
        return _usable(found, known) or _first_refusal(known)

    # --- DANE ---------------------------------------------------------------------------------

    async def _by_dane(self, found: Sequence[Exchange]) -> Sequence[_Judged]:
        if self._demand == "mta-sts":
            return [None] * len(found)
        return await gatherResults([Deferred.fromCoroutine(self._dane(each)) for each in found])

    async def _dane(self, exchange: Exchange) -> _Judged:
        """RFC 7672 2.2: no TLSA records are asked for where the way there is not secure."""
        for name in exchange.names if exchange.is_secure else ():
            owner = f"_{self._port}._tcp.{name}"
            answer = await self._resolver.ask(owner, Kind.TLSA)
            if not answer.is_known:
                return Reply(451, "4.7.5", (f"DNS gives no TLSA records of {name}: {answer.why}",))
            if answer.status is Status.FOUND and answer.is_secure:
                records = usable(Tlsa(*record) for record in answer.records)
                if not records:
                    return TlsPolicy(Level.REQUIRED)
                names = tuple(dict.fromkeys((name, *exchange.names, exchange.domain)))
                return TlsPolicy(Level.DANE, names, records, is_sure=True)
        return None

    # --- MTA-STS ------------------------------------------------------------------------------

    async def _by_sts(
        self, domain: str, left: Sequence[Exchange], known: dict[str, TlsPolicy | Reply]
    ) -> Reply | None:
        """Adds what is known of those that are left. A reply: what keeps all of them out."""
        try:
            policy = await self._sts.find(domain)
        except TooBusy:
            return _waits(f"the MTA-STS policy of {domain} is not fetched yet")
        is_demanded = self._demand == "mta-sts"
        if policy is None and is_demanded:
            return _waits(f"MTA-STS is demanded, and {domain} publishes no policy")
        for exchange in left:
            verified = TlsPolicy(Level.VERIFIED, (exchange.name,), is_sure=True)
            if policy is None:
                known[exchange.name] = OPPORTUNISTIC
            elif policy.mode == "testing" and not is_demanded:
                _tell_test(domain, exchange.name, policy.allows(exchange.name))
                known[exchange.name] = OPPORTUNISTIC
            elif policy.allows(exchange.name):
                known[exchange.name] = verified
            else:
                known[exchange.name] = _waits(
                    f"the MTA-STS policy of {domain} does not allow {exchange.name}"
                )
        return None

    def __repr__(self) -> str:
        return f"<MailHosts {self._demand} {self.exchanges!r}>"


def _usable(found: Sequence[Exchange], known: dict[str, TlsPolicy | Reply]) -> list[MailHost]:
    return [
        MailHost(exchange, policy)
        for exchange in found
        if isinstance(policy := known.get(exchange.name), TlsPolicy)
    ]


def _first_refusal(known: dict[str, TlsPolicy | Reply]) -> Reply:
    return next(word for word in known.values() if isinstance(word, Reply))


def _no_dane(domain: str, known: dict[str, TlsPolicy | Reply]) -> Reply:
    if known:
        return _first_refusal(known)
    return _waits(f"DANE is demanded, and no mail host of {domain} has secure TLSA records")


def _waits(why: str) -> Reply:
    return Reply(451, "4.7.5", (why,))


def _tell_test(domain: str, host: str, is_allowed: bool) -> None:
    """The domain's owner tries the policy out: nothing is held up by it (RFC 8461 5)."""
    if not is_allowed:
        _log.warn(
            "the MTA-STS policy of {domain}, which is being tested, does not allow {host}",
            domain=domain,
            host=host,
        )
