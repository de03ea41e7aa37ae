"""One listening address: makes sessions, counts them, turns away what is too many.

Stops in two steps: nothing new and idle sessions closed, then after a while the rest aborted.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP
from twisted.internet.protocol import Protocol, ServerFactory

from relay.config.schema import Listener
from relay.inbound.intake import Intake
from relay.inbound.passage import Passages
from relay.inbound.policy import Policy
from relay.inbound.protocol import InboundProtocol, client_of
from relay.mail.reply import Reply, reply
from relay.notices import Observer, Rejected
from relay.smtp.server import ServerEngine, ServerSettings
from relay.smtp.wire import reply_octets
from relay.transport import adopt_listening, listen_tcp

BACKLOG = 1024
"""Connections the kernel keeps for us before they are accepted."""

TOO_MANY = reply(421, "4.7.0", "Too many connections, try again later")
TOO_MANY_OF_YOURS = reply(421, "4.7.0", "Too many connections from your address, try again later")


class TurnedAway(Protocol):
    """Says why, and closes."""

    def __init__(self, last_word: Reply) -> None:
        self._last_word = last_word

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(reply_octets(self._last_word))
        self.transport.loseConnection()


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
        passages: Passages | None = None,
    ) -> None:
        self._passages = passages
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
        )
        self._sessions: set[InboundProtocol] = set()
        self._per_client: Counter[str] = Counter()
        self._hosts: dict[InboundProtocol, str] = {}
        self._when_empty: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        assert addr is not None
        host: str = cast(Any, addr).host
        config = self._config
        if len(self._sessions) >= config.max_connections:
            return self._turn_away(addr, TOO_MANY)
        if self._per_client[host] >= config.max_connections_per_client:
            return self._turn_away(addr, TOO_MANY_OF_YOURS)
        session = InboundProtocol(
            ServerEngine(self._settings),
            self._policy,
            self._intake,
            self._observe,
            self._next_session(),
            config.name,
            config.idle_timeout,
            config.max_errors,
            self._ended,
            self._passages,
        )
        self._sessions.add(session)
        self._per_client[host] += 1
        self._hosts[session] = host
        return session

    def _turn_away(self, addr: IAddress, last_word: Reply) -> Protocol:
        self._observe(
            Rejected("", client_of(addr), self._config.name, "", "connect", str(last_word))
        )
        return TurnedAway(last_word)

    def _ended(self, session: InboundProtocol) -> None:
        self._sessions.discard(session)
        host = self._hosts.pop(session)
        self._per_client[host] -= 1
        if not self._per_client[host]:
            del self._per_client[host]
        if self._when_empty is not None and not self._sessions:
            done, self._when_empty = self._when_empty, None
            done.callback(None)

    @property
    def session_count(self) -> int:
        return len(self._sessions)

    def leave(self) -> Deferred[None]:
        """Ask every session to end; fires when all have."""
        for session in list(self._sessions):
            session.leave()
        if not self._sessions:
            return succeed(None)
        self._when_empty = Deferred()
        return self._when_empty

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
        inherited: int | None = None,
    ) -> None:
        self.config = config
        self._inherited = inherited  # the descriptor of a socket that was bound elsewhere
        self.factory = factory
        self._reactor = reactor
        self._port: IListeningPort | None = None

    def bind(self) -> None:
        """Take the port, but leave connections to the kernel for now.

        Raises twisted.internet.error.CannotListenError.
        """
        config = self.config
        if self._inherited is not None:
            self._port = adopt_listening(self._reactor, self._inherited, self.factory)
            cast(Any, self._port).stopReading()
            return
        self._port = listen_tcp(self._reactor, config.port, self.factory, BACKLOG, config.host)
        cast(Any, self._port).stopReading()

    def serve(self) -> None:
        """Take connections, those that waited first."""
        cast(Any, self._port).startReading()

    @property
    def address(self) -> str:
        """Where it really listens: port 0 became a real one."""
        return "" if self._port is None else client_of(self._port.getHost())

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
