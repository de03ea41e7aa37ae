"""Listens and connects: what comes of both is a Stream, with no Nagle delay.

Binding, accepting and connecting are Twisted's own up to the moment when a connection is open. A
reactor without epoll has transports of its own, which are used as they are.
"""

import os
import socket
from typing import Any, cast

from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IConnector, IListeningPort
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory
from twisted.logger import Logger

from relay.net.readiness import readiness_of
from relay.net.stream import Stream, address_of

MAX_ACCEPTED = 64
"""Connections accepted before those that are open get their turn."""

_log = Logger()


class Port(tcp.Port):
    """A listening port. Its socket's TCP_NODELAY goes on to what is accepted."""

    def startListening(self) -> None:
        super().startListening()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def doRead(self) -> None:
        """Accept what waits. Trouble (out of descriptors ...) and IPv6 scopes are Twisted's."""
        if self.addressFamily != socket.AF_INET:
            super().doRead()  # type: ignore[no-untyped-call]
            return
        for _ in range(MAX_ACCEPTED):
            try:
                accepted, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError:
                super().doRead()  # type: ignore[no-untyped-call]
                return
            self._begin(accepted, address)

    def _begin(self, accepted: socket.socket, address: tuple[str, int]) -> None:
        """A defect of ours ends that connection, not the port."""
        peer = IPv4Address("TCP", *address)
        try:
            protocol = cast(Any, self.factory).buildProtocol(peer)
        except Exception:  # noqa: BLE001
            _log.failure("no session could be made for {peer}", peer=peer)
            protocol = None
        if protocol is None:
            accepted.close()
            return
        connection = Stream(accepted, protocol, self.reactor, peer)
        try:
            protocol.makeConnection(connection)
        except Exception:  # noqa: BLE001
            _log.failure("{protocol!r} could not begin", protocol=protocol)
            connection.abortConnection()

    def transport(  # type: ignore[override]
        self, sock: Any, protocol: Any, client: Any, *_: object
    ) -> Any:
        """What Twisted makes of a connection that it accepted."""
        return Stream(sock, protocol, self.reactor, address_of(client))


class Client(tcp.Client):
    """A connection that is being opened."""

    def _connectDone(self) -> None:
        """It is open: its socket goes on as a stream."""
        self.setTcpNoDelay(True)
        connector: Any = self.connector
        peer: Any = self.getPeer()  # type: ignore[no-untyped-call]
        protocol = connector.buildProtocol(peer)
        connection = Stream(
            self.socket, protocol or Protocol(), self.reactor, peer, connector.connectionLost
        )
        connector.transport = connection
        if protocol is None:  # the factory does not want it any more
            connection.loseConnection()
        else:
            protocol.makeConnection(connection)


class Connector(tcp.Connector):
    """Opens connections that become streams."""

    def _makeTransport(self) -> tcp.Client:
        make: Any = Client
        return cast(tcp.Client, make(self.host, self.port, self.bindAddress, self, self.reactor))


def listen_tcp(
    reactor: Any,
    port: Any,
    factory: ServerFactory,
    backlog: int = 511,
    interface: str = "",
) -> IListeningPort:
    """As `IReactorTCP.listenTCP`; `port` may be a binding of `tcp.makeBinding`.

    Raises CannotListenError. The backlog is room for a burst of clients in one turn.
    """
    readiness = readiness_of(reactor)
    if readiness is reactor:
        return cast(IListeningPort, reactor.listenTCP(port, factory, backlog, interface))
    listening = Port(port, factory, backlog, interface, readiness)
    listening.startListening()
    return listening


def adopt_listening(reactor: Any, descriptor: int, factory: ServerFactory) -> IListeningPort:
    """Listen on a socket that was bound elsewhere; the descriptor stays the caller's."""
    with socket.socket(fileno=os.dup(descriptor)) as bound:
        family = bound.family
    readiness = readiness_of(reactor)
    if readiness is reactor:
        return cast(IListeningPort, reactor.adoptStreamPort(descriptor, family, factory))
    make: Any = Port
    listening: Any = make._fromListeningDescriptor(readiness, descriptor, family, factory)
    listening.startListening()
    return cast(IListeningPort, listening)


def connect_tcp(
    reactor: Any,
    host: str,
    port: int,
    factory: ClientFactory[Any],
    timeout: float = 30,
    bindAddress: tuple[str, int] | None = None,
) -> IConnector:
    """As `IReactorTCP.connectTCP`; `host` is an IP address, v4 or v6."""
    readiness = readiness_of(reactor)
    if readiness is reactor:
        return cast(IConnector, reactor.connectTCP(host, port, factory, timeout, bindAddress))
    connector = Connector(host, port, factory, timeout, bindAddress, readiness)
    connector.connect()
    return connector
