"""An upstream at work whose hosts the config names: its factories, and what is known of the hosts.

One for each identity. Which host is tried when is decided here; attempts and lines ask it.
"""

from collections.abc import Mapping, Sequence

from twisted.logger import Logger

from relay.config import HostAddress, Upstream
from relay.config.upstream import Identity
from relay.mail.reply import Reply
from relay.outbound.domains import STOPPING
from relay.outbound.factory import QueuedClientFactory
from relay.outbound.hosts import HostMemory
from relay.outbound.identity.account import Account
from relay.outbound.identity.choice import lane_name
from relay.outbound.identity.making import account_of
from relay.outbound.premises import Premises
from relay.outbound.security import Securities

_log = Logger()


class UpstreamHop:
    """An upstream as one identity. `max_connections` and `max_rate` are each identity's own:
    providers set them for each mailbox."""

    def __init__(
        self,
        upstream: Upstream,
        identity: Identity | None,
        hostname: str,
        securities: Securities,
        premises: Premises,
    ) -> None:
        self.name = upstream.name
        self.lane = lane_name(self.name, "" if identity is None else identity.name)
        self.upstream = upstream
        self.max_recipients = upstream.max_recipients
        self.throttle_replies = upstream.throttle_replies
        self.hello_name = upstream.helo or hostname
        self.is_retired = False  # another one has its place
        self.stop_reply: Reply | None = None
        self._is_warned = False
        self._premises = premises
        self.conversions = premises.conversions
        self.memory = HostMemory()
        self._pacer = premises.pacer_of(upstream, self.lane)
        self.account = self._account(identity)
        self.factories: Sequence[QueuedClientFactory] = tuple(
            self._factory(host, securities) for host in upstream.hosts
        )

    def _account(self, identity: Identity | None) -> Account | None:
        premises = self._premises
        return account_of(
            self.upstream,
            identity,
            premises.tokens,
            premises.observe,
            lambda: premises.login_changed(self.lane),
            premises.reactor,
        )

    def _factory(self, host: HostAddress, securities: Securities) -> QueuedClientFactory:
        return QueuedClientFactory(
            self.upstream,
            host,
            self.hello_name,
            self,
            self._premises.ticker,
            self._premises.reactor,
            self._premises.places,
            security=securities.of(self.upstream, host),
            pacer=self._pacer,
            account=self.account,
            lane=self.lane,
        )

    def follow(self, former: "UpstreamHop") -> None:
        """It has the place of one that is leaving: at hosts of both, both share our limit."""
        places = {factory.place_key: factory for factory in former.factories}
        for factory in self.factories:
            if factory.place_key in places:
                factory.follow(places[factory.place_key])

    @property
    def refusal(self) -> Reply | None:
        """Set while it makes no sense to try the login."""
        return None if self.account is None else self.account.stop_reply

    def hosts_to_try(self) -> Sequence[QueuedClientFactory]:
        factories = self.factories
        if len(factories) == 1:
            return factories
        return self.memory.order(factories, self._premises.reactor.seconds())

    def extensions(self) -> Mapping[str, str]:
        """What each of its hosts offered when last asked; nothing before one was."""
        known = [f.extensions for f in self.factories if f.extensions is not None]
        if len(known) == 1:
            return known[0]
        if not known:
            return {}
        return {word: known[0][word] for word in known[0] if all(word in each for each in known)}

    def host_failed(self, factory: QueuedClientFactory) -> None:
        self.memory.failed(factory, self._premises.reactor.seconds())

    def host_answered(self, factory: QueuedClientFactory) -> None:
        self.memory.answered(factory)
        if self.upstream.xforward and not self._is_warned:
            self._check_forwarding(factory)

    def _check_forwarding(self, factory: QueuedClientFactory) -> None:
        """A server offers XFORWARD to those alone whom it believes: said once, if it does not."""
        if factory.extensions is not None and "XFORWARD" not in factory.extensions:
            self._is_warned = True
            _log.warn(
                "upstream {name}: {factory!r} does not offer XFORWARD to this relay, so it is told"
                " nothing of clients; allow it there (Postfix: smtpd_authorized_xforward_hosts)",
                name=self.name,
                factory=factory,
            )

    def factory_emptied(self, factory: QueuedClientFactory) -> None:
        self._premises.emptied()

    @property
    def is_empty(self) -> bool:
        """Nothing is open, under way or waiting."""
        return all(factory.is_empty for factory in self.factories)

    def leave(self, why: Reply = STOPPING) -> None:
        """Keep no session idle. What waits for its turn could wait for long: it goes back to the
        queue, untried."""
        if self.account is not None:
            self.account.rest(is_replaced=why is not STOPPING)
        if self._pacer is not None:
            self.stop_reply = why
            self._pacer.stop(why)
        for factory in self.factories:
            factory.leave()

    def status(self) -> list[dict[str, object]]:
        now = self._premises.reactor.seconds()
        return [
            {
                "upstream": self.lane,
                **factory.status(),
                "is_skipped": not self.memory.is_due(factory, now),
            }
            for factory in self.factories
        ]

    def __repr__(self) -> str:
        return f"<UpstreamHop {self.name} {self.memory!r}>"
