"""An mx: upstream at work: the mail hosts of all the domains that mail goes to at this moment.

A host that serves several domains under the same TLS policy has one factory, its sessions are
shared. Factories live as long as an attempt or a session uses them; what is known of hosts' trouble
outlives them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from twisted.internet.defer import Deferred

from relay.config import HostAddress, Upstream
from relay.mail.content import Content
from relay.mail.envelope import Envelope
from relay.mail.outcome import Attempt, Failed, SiteFailure
from relay.mail.reply import Reply, reply
from relay.outbound.attempt import RunningAttempt
from relay.outbound.directory import Directory
from relay.outbound.dns.exchanges import Exchange, Exchanges
from relay.outbound.factory import QueuedClientFactory
from relay.outbound.hosts import HostMemory
from relay.outbound.mail_hosts import MailHost
from relay.outbound.premises import Premises
from relay.outbound.security import Securities
from relay.outbound.total import TotalPlaces
from relay.tls.policy import TlsPolicy

STOPPING = reply(451, "4.3.2", "the relay is stopping")

_Key = tuple[str, TlsPolicy]
"""A host, and what is asked of its sessions: those of another policy are not shared with it."""


class DomainsHop:
    """All hosts that an upstream's domains lead to."""

    def __init__(
        self,
        upstream: Upstream,
        hostname: str,
        directory: Directory,
        securities: Securities,
        premises: Premises,
    ) -> None:
        self.name = upstream.name
        self.stop_reply: Reply | None = None
        self._running = 0
        self.max_recipients = upstream.max_recipients
        self.throttle_replies = upstream.throttle_replies
        self.conversions = premises.conversions
        self.memory = HostMemory()
        self.upstream = upstream
        self.hello_name = upstream.helo or hostname
        self.is_retired = False  # another one has its place
        self._securities = securities
        self._pacer = premises.pacer_of(upstream, upstream.name)
        self._port = upstream.hosts[0].port
        self._hosts = directory.hosts(upstream.name)
        self._premises = premises
        in_all = max(1, upstream.max_connections_in_all // premises.workers)
        self._places = TotalPlaces(in_all, premises.places)
        self._factories: dict[_Key, QueuedClientFactory] = {}
        self._users: Counter[QueuedClientFactory] = Counter()

    @property
    def factories(self) -> Iterable[QueuedClientFactory]:
        return self._factories.values()

    @property
    def is_empty(self) -> bool:
        """No attempt runs, no session is open."""
        return not (self._running or self._factories)

    async def deliver(
        self, domain: str, envelope: Envelope, content: Content, *, is_eased: bool = False
    ) -> Attempt:
        """One attempt at the hosts of a domain. `is_eased`: the mail waives its demand for TLS."""
        self._running += 1
        try:
            is_eased = is_eased and self.upstream.honour_tls_required_no
            return await self._deliver(domain, envelope, content, is_eased)
        finally:
            self._running -= 1

    async def _deliver(
        self, domain: str, envelope: Envelope, content: Content, is_eased: bool
    ) -> Attempt:
        found = await self._hosts.find(domain, is_eased=is_eased)
        if self.stop_reply is not None:
            return Attempt(is_withdrawn=True)
        if isinstance(found, Reply):
            return _without_hosts(found, envelope)
        factories = [self._use(host) for host in found]
        done: Deferred[Attempt] = Deferred()
        RunningAttempt(DomainHop(self, factories), envelope, content, done.callback).begin()
        try:
            return await done
        finally:
            for factory in factories:
                self._leave(factory)

    # --- factories ----------------------------------------------------------------------------

    def _use(self, found: MailHost) -> QueuedClientFactory:
        key = (found.exchange.name, found.policy)
        factory = self._factories.get(key)
        if factory is None:
            host = HostAddress("smtp", found.exchange.name, self._port)
            factory = self._factories[key] = QueuedClientFactory(
                self.upstream,
                host,
                self.hello_name,
                self,
                self._premises.ticker,
                self._premises.reactor,
                self._places,
                AddressesByDns(found.exchange, self._hosts.exchanges),
                security=self._securities.of(self.upstream, host, found.policy),
                pacer=self._pacer,
            )
        self._users[factory] += 1
        return factory

    def _leave(self, factory: QueuedClientFactory) -> None:
        self._users[factory] -= 1
        self._forget_if_unused(factory)

    def _forget_if_unused(self, factory: QueuedClientFactory) -> None:
        if self._users[factory] == 0 and factory.is_empty:
            del self._users[factory]
            self._factories.pop(_key(factory), None)

    def host_failed(self, factory: QueuedClientFactory) -> None:
        self.memory.failed(_key(factory), self._premises.reactor.seconds())

    def host_answered(self, factory: QueuedClientFactory) -> None:
        self.memory.answered(_key(factory))

    def factory_emptied(self, factory: QueuedClientFactory) -> None:
        self._forget_if_unused(factory)
        self._premises.emptied()

    def to_try(self, factories: Sequence[QueuedClientFactory]) -> Sequence[QueuedClientFactory]:
        """In the same order, without those that failed lately."""
        return self.memory.order(factories, self._premises.reactor.seconds(), _key)

    def leave(self, why: Reply = STOPPING) -> None:
        """Keep no session idle. What waits for its turn could wait for long: it goes back to the
        queue, untried."""
        if self._pacer is not None:
            self.stop_reply = why
            self._pacer.stop(why)
        for factory in list(self.factories):
            factory.leave()

    def status(self) -> list[dict[str, object]]:
        now = self._premises.reactor.seconds()
        return [
            {
                "upstream": self.name,
                **factory.status(),
                "is_skipped": not self.memory.is_due(_key(factory), now),
            }
            for factory in self._factories.values()
        ]

    def __repr__(self) -> str:
        return f"<DomainsHop {self.name} {len(self._factories)} hosts, {self.memory!r}>"


class DomainHop:
    """The hosts of one domain, for one attempt."""

    def __init__(self, shared: DomainsHop, factories: Sequence[QueuedClientFactory]) -> None:
        self._shared = shared
        self.factories = factories
        self.max_recipients = shared.max_recipients
        self.throttle_replies = shared.throttle_replies
        self.conversions = shared.conversions

    @property
    def stop_reply(self) -> Reply | None:
        return self._shared.stop_reply

    def hosts_to_try(self) -> Sequence[QueuedClientFactory]:
        return self._shared.to_try(self.factories)

    def __repr__(self) -> str:
        return f"<DomainHop {self.factories!r}>"


class AddressesByDns:
    """Asked anew for each session: the resolver knows how long an answer holds."""

    def __init__(self, exchange: Exchange, exchanges: Exchanges) -> None:
        self._exchange = exchange
        self._exchanges = exchanges

    def find(self) -> "Deferred[Sequence[str]]":
        return Deferred.fromCoroutine(self._exchanges.addresses_of(self._exchange))


def _key(factory: QueuedClientFactory) -> _Key:
    return factory.name, factory.security.policy


def _without_hosts(why: Reply, envelope: Envelope) -> Attempt:
    if why.code < 500:
        return Attempt({}, SiteFailure(why, ""))
    return Attempt({recipient.id: Failed(why, "") for recipient in envelope.recipients})
