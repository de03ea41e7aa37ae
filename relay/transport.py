"""TCP transports that send at once instead of in the reactor's next turn, with no Nagle delay.

What the kernel does not take goes Twisted's own way, with its buffering, flow control and closing.
Errors surface there too: as `connectionLost`, never out of `write`.
"""

import os
import socket
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.interfaces import IConnector, IListeningPort
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

FLUSH = 1 << 16
"""Octets of TLS records that are taken from OpenSSL at a time."""


class _EagerWrite:
    """Mixed in before a Twisted connection, whose own attributes say whether it may send now."""

    connected: int
    disconnecting: int
    dataBuffer: bytes
    socket: Any
    TLS: bool
    _aborting: bool
    _tempDataLen: int
    _writeDisconnecting: bool

    def write(self, data: bytes) -> None:
        is_free = self.connected and not (
            self._tempDataLen
            or self.dataBuffer
            or self.disconnecting
            or self.TLS
            or self._aborting
            or self._writeDisconnecting
        )
        if is_free and data:
            try:
                sent = self.socket.send(data)
            except OSError:  # full: Twisted waits; broken: its own send meets that again
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        if not self._aborting:
            super().write(data)  # type: ignore[misc]


class EagerServer(_EagerWrite, tcp.Server):
    """A connection that was accepted."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.setTcpNoDelay(True)


class EagerClient(_EagerWrite, tcp.Client):
    """A connection that was opened from here."""

    def _connectDone(self) -> None:
        self.setTcpNoDelay(True)
        super()._connectDone()  # type: ignore[no-untyped-call]


class EagerPort(tcp.Port):
    """A listening port whose connections write eagerly."""

    transport = EagerServer


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
    listening = EagerPort(port, factory, backlog, interface, reactor)
    listening.startListening()
    return listening


def adopt_listening(reactor: Any, descriptor: int, factory: ServerFactory) -> IListeningPort:
    """Listen on a socket that was bound elsewhere; the descriptor stays the caller's."""
    with socket.socket(fileno=os.dup(descriptor)) as bound:
        family = bound.family
    make: Any = EagerPort
    listening: Any = make._fromListeningDescriptor(reactor, descriptor, family, factory)
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
    connector = EagerConnector(host, port, factory, timeout, bindAddress, reactor)
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


def start_tls(protocol: Protocol, creator: object, *, is_client: bool) -> TLSMemoryBIOProtocol:
    """Put TLS between a protocol and its connection, and begin the handshake.

    Yields the protocol's new transport, which it has when this returns. A protocol that provides
    IHandshakeListener is told of the end of the handshake, perhaps before that.
    """
    transport = cast(Any, protocol.transport)
    factory = TLSMemoryBIOFactory(cast(Any, creator), is_client, cast(Any, None))
    make: Any = _EagerTls
    tls: Any = make(factory, protocol, _connectWrapped=False)
    transport.protocol = tls
    protocol.transport = tls
    tls.makeConnection(transport)
    return cast(TLSMemoryBIOProtocol, tls)
