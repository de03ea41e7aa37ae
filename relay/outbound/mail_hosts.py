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
from relay.outbound.sts.policy import StsPolicy
from relay.tls.dane import usable
from relay.tls.policy import Level, Tlsa, TlsPolicy

OPPORTUNISTIC = TlsPolicy(Level.OPPORTUNISTIC)

_log = Logger()


@dataclass(frozen=True, slots=True)
class MailHost:
    """`why`: what led to the policy, for operators."""

    exchange: Exchange
    policy: TlsPolicy
    why: str


@dataclass(frozen=True, slots=True)
class UnusableHost:
    """One that no mail may go to now."""

    exchange: Exchange
    refusal: Reply
    why: str


Judged = MailHost | UnusableHost


@dataclass(frozen=True, slots=True)
class _Left:
    """One that DANE has no word on: why."""

    exchange: Exchange
    why: str


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

    async def find(self, domain: str, *, is_eased: bool = False) -> Sequence[MailHost] | Reply:
        """In the order to try them; or a reply: 5xx for good, 4xx where the mail must wait.

        `is_eased`: what the domain demands is left aside (RFC 8689 3, 4.2.2), never what the config
        demands of every host.
        """
        judged = await self.judge(domain, is_eased=is_eased)
        if isinstance(judged, Reply):
            return judged
        found = [each for each in judged if isinstance(each, MailHost)]
        return found or next(each.refusal for each in judged if isinstance(each, UnusableHost))

    async def judge(self, domain: str, *, is_eased: bool = False) -> Sequence[Judged] | Reply:
        """The same, with the hosts that may not be used; at least one."""
        found = await self.exchanges.find(domain)
        if isinstance(found, Reply):
            return found
        if self._demand not in ("auto", "dane", "mta-sts"):
            level = Level(self._demand)
            why = f"tls = {self._demand!r} in the configuration"
            return [MailHost(each, TlsPolicy(level, is_sure=each.is_secure), why) for each in found]
        if is_eased:
            return [MailHost(each, OPPORTUNISTIC, "waived by the mail") for each in found]
        if self._demand == "mta-sts":
            return await self._by_sts(domain, [_Left(each, "") for each in found])
        judged = await gatherResults([Deferred.fromCoroutine(self._dane(each)) for each in found])
        left = [each for each in judged if isinstance(each, _Left)]
        others: Sequence[Judged] = ()
        if self._demand == "dane":
            others = [_without_dane(each) for each in left]
        elif left:
            others = await self._by_sts(domain, left)
        in_turn = iter(others)
        return [next(in_turn) if isinstance(each, _Left) else each for each in judged]

    # --- DANE ---------------------------------------------------------------------------------

    async def _dane(self, exchange: Exchange) -> "Judged | _Left":
        """RFC 7672 2.2: no TLSA records are asked for where the way there is not secure."""
        if not exchange.is_secure:
            return _Left(exchange, "DNSSEC does not vouch for the way to it")
        for name in exchange.names:
            owner = f"_{self._port}._tcp.{name}"
            answer = await self._resolver.ask(owner, Kind.TLSA)
            if not answer.is_known:
                why = f"DNS gives no TLSA records of {name}: {answer.why}"
                return UnusableHost(exchange, _waits(why), "DANE, for all that is known")
            if answer.status is Status.FOUND and answer.is_secure:
                return _by_records(exchange, name, answer.records)
        return _Left(exchange, "it has no secure TLSA records")

    # --- MTA-STS ------------------------------------------------------------------------------

    async def _by_sts(self, domain: str, left: Sequence[_Left]) -> Sequence[Judged]:
        try:
            policy = await self._sts.find(domain)
        except TooBusy:
            refusal = _waits(f"the MTA-STS policy of {domain} is not fetched yet")
            return [UnusableHost(each.exchange, refusal, each.why) for each in left]
        if policy is None:
            return [self._without_policy(domain, each) for each in left]
        return [self._by_policy(domain, each, policy) for each in left]

    def _without_policy(self, domain: str, left: _Left) -> Judged:
        trouble = self._sts.trouble_with(domain)
        why = _joined(left.why, trouble or "no MTA-STS policy applies")
        if self._demand == "mta-sts":
            refusal = _waits(f"MTA-STS is demanded, and {domain} publishes no policy")
            return UnusableHost(left.exchange, refusal, why)
        return MailHost(left.exchange, OPPORTUNISTIC, why)

    def _by_policy(self, domain: str, left: _Left, policy: StsPolicy) -> Judged:
        exchange = left.exchange
        is_allowed = policy.allows(exchange.name)
        why = f"the MTA-STS policy of {domain}, mode {policy.mode}"
        if policy.mode == "testing" and self._demand != "mta-sts":
            _tell_test(domain, exchange.name, is_allowed)
            names = "names" if is_allowed else "does not name"
            return MailHost(exchange, OPPORTUNISTIC, _joined(left.why, f"{why}, {names} it"))
        if is_allowed:
            verified = TlsPolicy(Level.VERIFIED, (exchange.name,), is_sure=True)
            return MailHost(exchange, verified, _joined(left.why, why))
        refusal = _waits(f"the MTA-STS policy of {domain} does not allow {exchange.name}")
        return UnusableHost(exchange, refusal, _joined(left.why, why))

    def __repr__(self) -> str:
        return f"<MailHosts {self._demand} {self.exchanges!r}>"


def _by_records(
    exchange: Exchange, name: str, records: Sequence[tuple[int, int, int, bytes]]
) -> MailHost:
    sound = usable(Tlsa(*record) for record in records)
    if not sound:
        return MailHost(exchange, TlsPolicy(Level.REQUIRED), f"no TLSA record of {name} is usable")
    names = tuple(dict.fromkeys((name, *exchange.names, exchange.domain)))
    policy = TlsPolicy(Level.DANE, names, sound, is_sure=True)
    return MailHost(exchange, policy, f"usable TLSA records of {name}: {len(sound)}")


def _without_dane(left: _Left) -> UnusableHost:
    why = f"DANE is demanded, and {left.exchange.name} has no secure TLSA records"
    return UnusableHost(left.exchange, _waits(why), left.why)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


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
