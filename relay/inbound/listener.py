"""One listening address: makes sessions, and ends them when the relay stops.

Stops in two steps: nothing new and idle sessions closed, then after a while the rest aborted.
"""

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP
from twisted.internet.protocol import ServerFactory

from relay.beat import Beat
from relay.config.listener import Listener
from relay.inbound import pace
from relay.inbound.admission import Admission
from relay.inbound.auth import Doorkeeper
from relay.inbound.conduct import Conduct
from relay.inbound.intake import Intake
from relay.inbound.passage import Passages
from relay.inbound.peer import Peer, client_at
from relay.inbound.policy import Policy, is_within
from relay.inbound.protocol import InboundProtocol
from relay.inbound.proxied import AwaitingHeader
from relay.inbound.proxy_header import Header
from relay.net.ports import adopt_listening, listen_tcp
from relay.notices import Observer, Rejected
from relay.places import Places
from relay.smtp.server import ServerEngine, ServerSettings
from relay.tls.server import ServerTls

BACKLOG = 1024
"""Connections the kernel keeps for us before they are accepted."""

LOOKS_EVERY = 1.0
"""Seconds by which a session may outlive its time."""


class InboundFactory(ServerFactory):
    """The sessions of one listener."""

    noisy = False

    def __init__(
        self,
        config: Listener,
        hostname: str,
        policy: Policy,
        intake: Intake,
        observe: Observer,
        next_session: Callable[[], str],
        places: Places,
        conduct: Conduct,
        passages: Passages | None = None,
        keeper: Doorkeeper | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        self._passages = passages
        self._admission = Admission(config, places, conduct, policy.trusts, intake.clock)
        self._keeper = keeper
        self._tls = tls
        self._config = config
        self._policy = policy
        self._intake = intake
        self._observe = observe
        self._next_session = next_session
        self._settings = ServerSettings(
            hostname=hostname,
            max_message_size=config.max_message_size,
            max_recipients=config.max_recipients,
            bare_newline=config.bare_newline,
            max_errors=config.max_errors,
            mechanisms=() if keeper is None else keeper.accounts.mechanisms,
            auth_without_tls=config.auth_without_tls,
            offers_starttls=config.tls in ("starttls", "required"),
            requires_tls=config.tls == "required",
            takes_bare_paths=config.profile == "legacy-device",
        )
        self._sessions: set[InboundProtocol | AwaitingHeader] = set()
        self._beats = self._looks()
        self._when_empty: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        host: str = cast(Any, addr).host
        client = client_at(host, cast(Any, addr).port)
        proxies = self._config.proxy_protocol_from
        if proxies and is_within(host, proxies):
            return self._await_header(host, client)
        return self._begin(host, client)

    def _await_header(self, host: str, proxy: str) -> AwaitingHeader:
        def admit(waiting: AwaitingHeader, header: Header) -> InboundProtocol:
            self._sessions.discard(waiting)
            if not header.host:
                return self._begin(host, proxy)
            return self._begin(header.host, client_at(header.host, header.port), proxy)

        def refused(why: str) -> None:
            name = self._config.name
            self._observe(Rejected("", proxy, name, "", "connect", "", why=why))

        waiting = AwaitingHeader(self._intake.clock, self._admission, admit, refused, self._ended)
        self._add(waiting)
        return waiting

    def _begin(self, host: str, client: str, via: str = "") -> InboundProtocol:
        config = self._config
        may_introduce = bool(config.xclient_from) and is_within(host, config.xclient_from)
        session = InboundProtocol(
            ServerEngine(self._settings, is_encrypted=config.tls == "implicit"),
            config,
            self._policy,
            self._intake,
            self._observe,
            self._next_session(),
            self._admission,
            self._ended,
            self._passages,
            Peer(client, via, may_introduce=may_introduce),
            self._keeper,
            self._tls,
        )
        self._add(session)
        return session

    def _add(self, session: InboundProtocol | AwaitingHeader) -> None:
        self._sessions.add(session)
        for beat in self._beats:
            beat.begin()

    def _looks(self) -> list[Beat]:
        """At all sessions: whether their time is over, and whether they get on with it."""
        clock = self._intake.clock
        of_time = Beat(
            clock, LOOKS_EVERY, lambda: self._sessions, lambda session, now: session.judge_time(now)
        )
        least = int(self._config.min_rate * pace.PERIOD)
        if not least:
            return [of_time]
        of_pace = Beat(
            clock, pace.PERIOD, self._begun, lambda session, _: session.judge_pace(least)
        )
        return [of_time, of_pace]

    def _begun(self) -> list[InboundProtocol]:
        return [each for each in self._sessions if isinstance(each, InboundProtocol)]

    def _ended(self, session: InboundProtocol | AwaitingHeader) -> None:
        self._sessions.discard(session)
        if self._sessions:
            return
        for beat in self._beats:
            beat.end()
        waiting, self._when_empty = self._when_empty, []
        for each in waiting:
            each.callback(None)

    @property
    def session_count(self) -> int:
        return len(self._sessions)

    def leave(self) -> Deferred[None]:
        """Ask every session to end; fires when all have."""
        for session in list(self._sessions):
            session.leave()
        return self.when_empty()

    def when_empty(self) -> Deferred[None]:
        """Fires once no session is left."""
        if not self._sessions:
            return succeed(None)
        empty: Deferred[None] = Deferred()
        self._when_empty.append(empty)
        return empty

    def abort(self) -> None:
        for session in list(self._sessions):
            session.abort()


class InboundListener:
    """A factory and its port."""

    def __init__(
        self,
        config: Listener,
        factory: InboundFactory,
        reactor: IReactorTCP,
    ) -> None:
        self.config = config
        self.factory = factory
        self._reactor = reactor
        self._port: IListeningPort | None = None

    def bind(self, inherited: int | None = None) -> None:
        """Take the port, but leave connections to the kernel for now. `inherited`: the descriptor
        of a socket that was bound elsewhere; it stays the caller's.

        Raises twisted.internet.error.CannotListenError.
        """
        config = self.config
        if inherited is not None:
            self._port = adopt_listening(self._reactor, inherited, self.factory)
        else:
            self._port = listen_tcp(self._reactor, config.port, self.factory, BACKLOG, config.host)
        cast(Any, self._port).stopReading()

    def change(self, config: Listener, factory: InboundFactory) -> None:
        """New sessions are that factory's; the address is the same."""
        self.config, self.factory = config, factory
        if self._port is not None:
            cast(Any, self._port).factory = factory

    def serve(self) -> None:
        """Take connections, those that waited first."""
        cast(Any, self._port).startReading()

    @property
    def address(self) -> str:
        """Where it really listens: port 0 became a real one."""
        if self._port is None:
            return ""
        host: Any = self._port.getHost()
        return client_at(host.host, host.port)

    def status(self) -> dict[str, object]:
        """For relayctl status."""
        return {
            "listener": self.config.name,
            "address": self.address,
            "sessions": self.factory.session_count,
        }

    def close(self) -> Deferred[None]:
        """Take no further connection."""
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        stopped: Deferred[None] | None = port.stopListening()
        return succeed(None) if stopped is None else stopped

    def __repr__(self) -> str:
        return f"<InboundListener {self.config.name} {self.address or 'closed'}>"
