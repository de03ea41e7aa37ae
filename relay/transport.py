"""TCP transports that send at once instead of in the reactor's next turn, with no Nagle delay.

What the kernel does not take goes Twisted's own way, with its buffering, flow control and closing.
Errors surface there too: as `connectionLost`, never out of `write`. A reactor that does not work
on file descriptors has transports of its own, which are used as they are.
"""

import os
import socket
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IConnector, IListeningPort, IReactorFDSet
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import ClientFactory, ServerFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from relay.readiness import readiness_of

FLUSH = 1 << 16
"""Octets of TLS records that are taken from OpenSSL at a time."""

MAX_ACCEPTED = 64
"""Connections accepted before those that are open get their turn."""

_log = Logger()


class _Eager:
    """Mixed in before a Twisted connection, whose own attributes say whether it may send now."""

    bufferSize: int
    connected: int
    disconnecting: int
    dataBuffer: bytes
    producer: Any
    protocol: Any
    reactor: Any
    socket: Any
    TLS: bool
    _aborting: bool
    _tempDataLen: int
    _writeDisconnecting: bool

    def _is_free(self) -> bool:
        """Nothing waits to be sent, and nothing forbids to send or close at once."""
        return not (
            self._tempDataLen
            or self.dataBuffer
            or self.disconnecting
            or self.TLS
            or self._aborting
            or self._writeDisconnecting
            or not self.connected
        )

    def doRead(self) -> Any:
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def write(self, data: bytes) -> None:
        if data and self._is_free():
            try:
                sent = self.socket.send(data)
            except OSError:  # full: Twisted waits; broken: its own send meets that again
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        if not self._aborting:
            super().write(data)  # type: ignore[misc]

    def loseConnection(self) -> None:
        """With nothing left to send the kernel need not be asked whether it would take it."""
        if self.producer is None and self._is_free():
            close_soon = getattr(self.reactor, "close_soon", None)
            if close_soon is not None and close_soon(self):
                self.reactor.removeReader(self)
                self.disconnecting = 1
                return
        super().loseConnection()  # type: ignore[misc]


class EagerServer(_Eager, tcp.Server):
    """A connection that was accepted; its socket has TCP_NODELAY from the one that listens."""

    logstr = "relay"
    peer: Any = None

    def __init__(
        self, sock: Any, protocol: Any, client: Any, server: Any, sessionno: int, reactor: Any
    ) -> None:
        """As the base class does, without texts for its log."""
        tcp.Connection.__init__(self, sock, protocol, reactor)
        if len(client) != 2:
            self._addressType = IPv6Address
        self.server = server
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        self.startReading()  # type: ignore[no-untyped-call]
        self.connected = 1

    def getPeer(self) -> Any:
        if self.peer is None:
            self.peer = super().getPeer()  # type: ignore[no-untyped-call]
        return self.peer

    def __repr__(self) -> str:
        return f"<EagerServer {self.client}>"


class EagerClient(_Eager, tcp.Client):
    """A connection that was opened from here."""

    def _connectDone(self) -> None:
        self.setTcpNoDelay(True)
        super()._connectDone()  # type: ignore[no-untyped-call]


class EagerPort(tcp.Port):
    """A listening port whose connections write eagerly."""

    transport = EagerServer

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
        self.sessionno += 1
        connection = EagerServer(accepted, protocol, address, self, self.sessionno, self.reactor)
        connection.peer = peer
        try:
            protocol.makeConnection(connection)
        except Exception:  # noqa: BLE001
            _log.failure("{protocol!r} could not begin", protocol=protocol)
            connection.abortConnection()  # type: ignore[no-untyped-call]


class EagerConnector(tcp.Connector):
    """Opens connections that write eagerly."""

    def _makeTransport(self) -> tcp.Client:
        make: Any = EagerClient
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
    if not IReactorFDSet.providedBy(reactor):
        return cast(IListeningPort, reactor.listenTCP(port, factory, backlog, interface))
    listening = EagerPort(port, factory, backlog, interface, readiness_of(reactor))
    listening.startListening()
    return listening


def adopt_listening(reactor: Any, descriptor: int, factory: ServerFactory) -> IListeningPort:
    """Listen on a socket that was bound elsewhere; the descriptor stays the caller's."""
    with socket.socket(fileno=os.dup(descriptor)) as bound:
        family = bound.family
    make: Any = EagerPort
    listening: Any = make._fromListeningDescriptor(
        readiness_of(reactor), descriptor, family, factory
    )
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
    if not IReactorFDSet.providedBy(reactor):
        return cast(IConnector, reactor.connectTCP(host, port, factory, timeout, bindAddress))
    connector = EagerConnector(host, port, factory, timeout, bindAddress, readiness_of(reactor))
    connector.connect()
    return connector


class _EagerTls(TLSMemoryBIOProtocol):
    """Encrypts what is written at once, and hands all its records to the connection in one write.

    Twisted's own keeps small writes for the reactor's next turn, and writes record by record.
    """

    def _write(self, data: bytes) -> None:
        if self._lostTLSConnection:
            return
        connection, left = self._tlsConnection, memoryview(data)
        while left:
            try:
                left = left[connection.send(left) :]  # a record of up to 16 KiB
            except SSL.WantReadError:
                self._bufferedWrite(bytes(left))  # type: ignore[no-untyped-call]
                break
            except SSL.Error:
                self._tlsShutdownFinished(Failure())  # type: ignore[no-untyped-call]
                return
        self._flushSendBIO()

    def abortConnection(self) -> None:
        """Harmless once the connection is lost."""
        if self.connected:
            super().abortConnection()  # type: ignore[no-untyped-call]

    def _flushSendBIO(self) -> None:
        records = []
        try:
            while True:
                records.append(self._tlsConnection.bio_read(FLUSH))
        except SSL.WantReadError:
            pass
        if records:
            cast(Any, self.transport).write(b"".join(records))


def start_tls(protocol: Any, creator: object, *, is_client: bool) -> TLSMemoryBIOProtocol:
    """Put TLS between a protocol and its connection, and begin the handshake.

    Yields the protocol's new transport, which it has when this returns. A protocol that provides
    IHandshakeListener is told of the end of the handshake, perhaps before that.
    """
    transport = protocol.transport
    factory = TLSMemoryBIOFactory(cast(Any, creator), is_client, cast(Any, None))
    make: Any = _EagerTls
    tls: Any = make(factory, protocol, _connectWrapped=False)
    transport.protocol = tls
    protocol.transport = tls
    tls.makeConnection(transport)
    return cast(TLSMemoryBIOProtocol, tls)
