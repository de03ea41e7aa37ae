"""The listeners of one process, and what their sessions have in common: who may authenticate.

Outlives configurations: `prepare` makes what another one needs, its new sockets bound; `take` puts
it in use. Sessions go on under the settings that they began with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from errno import EACCES
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTCP

from relay.config import Config, ConfigError, Listener
from relay.inbound.auth import Doorkeeper
from relay.inbound.intake import Intake
from relay.inbound.listener import InboundFactory, InboundListener
from relay.inbound.passage import Passages
from relay.inbound.policy import Policy
from relay.notices import Observer
from relay.service.backstage import Backstage
from relay.service.differences import kept_sockets
from relay.service.systemd import Systemd
from relay.tls.certificates import CertificateUnusable
from relay.tls.server import ServerTls
from relay.users.accounts import Accounts
from relay.users.failures import Failures
from relay.users.file import UsersUnusable
from relay.users.opening import accounts_of, limits_of

Sockets = Mapping[str, int]
"""Descriptors of sockets that were bound elsewhere, by listener."""


@dataclass(slots=True)
class PreparedReception:
    """Another config's part of it."""

    config: Config
    accounts: Accounts | None
    factories: Mapping[str, InboundFactory]
    kept: Mapping[str, str]
    bound: list[InboundListener] = field(default_factory=list)


class Reception:
    """`sockets`: those of this worker; None: the listeners' own."""

    def __init__(
        self,
        config: Config,
        backstage: Backstage,
        reactor: Any,
        observe: Observer,
        sockets: Sockets | None,
        systemd: Systemd,
        failures: Failures,
    ) -> None:
        self._systemd = systemd
        self._failures = failures
        failures.limits = limits_of(config.auth)
        self._config = config
        self._backstage = backstage
        self._reactor = reactor
        self._observe = observe
        self._takes_mail = sockets is None or bool(sockets)
        self._accounts = self._accounts_of(config)
        self._former: list[InboundFactory] = []  # whose sessions go on
        self.listeners = [
            InboundListener(
                each, self._factory(each, config, self._accounts), cast(IReactorTCP, reactor)
            )
            for each in self._served(config)
        ]
        self._sockets = sockets

    def _served(self, config: Config) -> Sequence[Listener]:
        return config.listeners if self._takes_mail else ()

    def _accounts_of(self, config: Config) -> Accounts | None:
        """None where nobody can authenticate."""
        auth = config.auth
        if auth is None or not self._takes_mail or not config.takes_passwords:
            return None
        return accounts_of(auth, self._reactor, self._observe)

    def _factory(
        self, listener: Listener, config: Config, accounts: Accounts | None
    ) -> InboundFactory:
        stage = self._backstage
        policy = Policy(listener, stage.routes.find, config.postmaster, stage.next_hops.lane_of)
        intake = Intake(
            config.hostname,
            listener.max_received,
            stage.manager,
            stage.hybrid,
            stage.store.new_content,
            stage.next_id,
            stage.has_space,
            stage.clock,
            adds_headers=listener.add_missing_headers,
            eased=stage.next_hops.eased,
        )
        return InboundFactory(
            listener,
            config.hostname,
            policy,
            intake,
            self._observe,
            stage.next_session,
            stage.places,
            stage.conduct,
            self._passages(listener.name, intake, config),
            self._doorkeeper(listener, accounts),
            ServerTls(listener, self._observe, stage.clock.seconds) if listener.has_tls else None,
        )

    def _doorkeeper(self, listener: Listener, accounts: Accounts | None) -> Doorkeeper | None:
        if accounts is None or listener.auth == "none":
            return None
        return Doorkeeper(
            accounts,
            self._failures,
            self._backstage.clock,
            self._observe,
            listener.name,
            is_required=listener.auth == "required",
        )

    def _passages(self, listener: str, intake: Intake, config: Config) -> Passages | None:
        """None where the listener's mail is never proxied."""
        upstreams = proxied(config, listener)
        if not upstreams:
            return None
        stage = self._backstage
        return Passages(
            stage.delivery,
            intake,
            upstreams,
            lambda reverse_path: stage.routes.sole(reverse_path, listener),
            stage.next_hops.lane_of,
            stage.is_held,
            self._observe,
        )

    def _bind(self, listeners: Sequence[InboundListener], sockets: Sockets | None) -> list[str]:
        """What is in the way; those that could be bound are."""
        problems = []
        for listener in listeners:
            config = listener.config
            try:
                if sockets is None:
                    listener.bind(self._systemd.descriptor_for(config))
                else:
                    listener.bind(sockets[config.name])
            except CannotListenError as error:
                problems.append(cannot_listen(config, error.socketError))
            except ConfigError as error:
                problems += error.problems
        return problems

    # --- life ---------------------------------------------------------------------------------

    def bind(self) -> None:
        """Take the ports; nobody is served yet. Raises ConfigError."""
        if problems := self._bind(self.listeners, self._sockets):
            raise ConfigError(problems)

    def start(self) -> None:
        """Raises UsersUnusable."""
        if self._accounts is not None:
            self._accounts.start()

    async def close(self) -> None:
        """Take no further connection."""
        for listener in self.listeners:
            await listener.close()

    def leave(self) -> Deferred[Any]:
        """Ask every session to end; fires when all have."""
        return DeferredList([factory.leave() for factory in self._factories()])

    def abort(self) -> None:
        for factory in self._factories():
            factory.abort()

    def stop(self) -> None:
        """No session is left."""
        if self._accounts is not None:
            self._accounts.stop()

    def _factories(self) -> list[InboundFactory]:
        return [*(listener.factory for listener in self.listeners), *self._former]

    def status(self) -> list[dict[str, object]]:
        """Sessions that go on under former settings are told apart from the others."""
        rows = [listener.status() for listener in self.listeners]
        left = sum(factory.session_count for factory in self._former)
        if left:
            rows.append({"listener": "(before a reload)", "address": "", "sessions": left})
        return rows

    # --- another config -----------------------------------------------------------------------

    def prepare(self, config: Config, sockets: Sockets | None) -> PreparedReception:
        """Nothing is changed yet, but new addresses are bound. Raises ConfigError."""
        kept = kept_sockets([listener.config for listener in self.listeners], self._served(config))
        accounts = self._accounts
        if (config.auth, config.takes_passwords) != (
            self._config.auth,
            self._config.takes_passwords,
        ):
            accounts = self._accounts_of(config)
        prepared = PreparedReception(config, accounts, {}, kept)
        try:
            prepared.factories = {
                each.name: self._factory(each, config, accounts) for each in self._served(config)
            }
            if accounts is not None and accounts is not self._accounts:
                accounts.start()
        except (CertificateUnusable, UsersUnusable) as error:
            raise ConfigError([str(error)]) from None
        prepared.bound = [
            InboundListener(each, prepared.factories[each.name], cast(IReactorTCP, self._reactor))
            for each in self._served(config)
            if each.name not in kept
        ]
        if problems := self._bind(prepared.bound, sockets):
            self.forget(prepared)
            raise ConfigError(problems)
        return prepared

    def forget(self, prepared: PreparedReception) -> None:
        """It will not be taken."""
        for listener in prepared.bound:
            listener.close()
        if prepared.accounts is not None and prepared.accounts is not self._accounts:
            prepared.accounts.stop()

    def take(self, prepared: PreparedReception) -> None:
        """From now on. Listeners that are gone take no further connection."""
        former = self._factories()
        before = {listener.config.name: listener for listener in self.listeners}
        new = {listener.config.name: listener for listener in prepared.bound}
        self.listeners = []
        for config in self._served(prepared.config):
            name = config.name
            listener = new.get(name) or before.pop(prepared.kept[name])
            self.listeners.append(listener)
            if name in new:
                listener.serve()
            else:
                listener.change(config, prepared.factories[name])
        for gone in before.values():
            gone.close()
        self._former = list(former)
        old, self._accounts = self._accounts, prepared.accounts
        self._config = prepared.config
        self._failures.limits = limits_of(prepared.config.auth) or self._failures.limits
        if old is not None and old is not prepared.accounts:
            left = DeferredList([factory.when_empty() for factory in former])
            left.addCallback(lambda _: old.stop())
        for factory in former:
            factory.when_empty().addCallback(lambda _: self._forget_former())

    def _forget_former(self) -> None:
        self._former = [factory for factory in self._former if factory.session_count]

    def __repr__(self) -> str:
        return f"<Reception {self.listeners!r}>"


def proxied(config: Config, listener: str) -> frozenset[str]:
    """The upstreams that mail of the listener may be passed to."""
    return frozenset(
        route.upstream
        for route in config.routes
        if route.is_proxied and (not route.listeners or listener in route.listeners)
    )


def cannot_listen(listener: Listener, error: OSError) -> str:
    """One line for the operator."""
    cure = "end what listens there, or change its address"
    if error.errno == EACCES:
        cure = (
            "ports below 1024 are for root, or for a process with CAP_NET_BIND_SERVICE; restart the"
            " relay, or change its address"
        )
    why = error.strerror or str(error)
    return f"listener {listener.name}: cannot listen on {listener.address}: {why}; {cure}"
