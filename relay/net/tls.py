"""TLS between a protocol and its connection: what is written is encrypted and sent at once."""

from typing import Any, cast

from OpenSSL import SSL
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

FLUSH = 1 << 16
"""Octets of TLS records that are taken from OpenSSL at a time."""


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
                sent = connection.send(left)  # a record of up to 16 KiB
                left = left[sent:]
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
