"""A TCP connection that is open: sends soon, buffers what the kernel does not take, and closes.

A transport as Twisted's own, with its flow control and its rules for the end, in a few lines that
can be compiled. What is written while sockets are served goes out when they have been: the other
ends are woken once for all, not for each. Errors of sending surface as `connectionLost`, never out
of `write`.
"""

import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    IReadWriteDescriptor,
    ITransport,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import classImplements

AT_A_TIME: Final = 1 << 16
"""Octets read at a time, and octets that may wait to be sent before a producer is paused."""

MAX_GATHERED: Final = 1 << 14
"""Octets from which on a write does not wait until the sockets have been served."""

MAX_VECTOR: Final = 64
"""Pieces of what waits that are handed to the kernel at a time."""

_log = Logger()

_ABORTED: Final = Failure(ConnectionAborted())


def address_of(name: Any) -> IPv4Address | IPv6Address:
    """`name`: as the socket module has it, of four parts for IPv6."""
    return IPv4Address("TCP", *name) if len(name) == 2 else IPv6Address("TCP", *name)


class Stream:
    """`protocol` is told what comes; whoever takes its place sets it. `reactor`: a Readiness.
    `after_end`: told the reason of the end behind the protocol."""

    def __init__(
        self,
        sock: Any,
        protocol: Any,
        reactor: Any,
        peer: Any,
        after_end: Callable[[Failure], object] | None = None,
    ) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.protocol = protocol
        self.reactor = reactor
        self.producer: Any = None
        self.connected = True
        self.disconnecting = False  # once all that waits is sent
        self._descriptor: int = sock.fileno()
        self._peer = peer
        self._after_end = after_end
        self._is_aborting = False
        self._is_paused = False  # the producer
        self._gathered = b""  # to be sent when all sockets were served
        self._send_soon = reactor.send_soon
        self._waiting: list[Any] = []
        self.octets_waiting = 0  # for the kernel to take more
        try:
            reactor.addReader(self)
        except OSError:  # the kernel watches no more; the protocol is told, once it is connected
            _log.failure("the connection with {peer} has to be closed", peer=peer)
            self._is_aborting = True
            reactor.callLater(0, self.connectionLost, Failure())

    # --- reading ------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> Any:
        try:
            data = self.socket.recv(AT_A_TIME)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def pauseProducing(self) -> None:
        self.reactor.removeReader(self)

    def resumeProducing(self) -> None:
        if self.connected and not self.disconnecting and not self._is_aborting:
            self.reactor.addReader(self)

    def stopProducing(self) -> None:
        self.loseConnection()

    # --- writing ------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if not data or not self.connected or self._is_aborting:
            return
        if self._gathered:
            self._gathered += data
            if len(self._gathered) > MAX_GATHERED:
                self.send_gathered()
        elif not self._waiting and len(data) <= MAX_GATHERED and self._send_soon(self):
            self._gathered = data
        else:
            self._send(data)

    def send_gathered(self) -> None:
        """The sockets have been served."""
        gathered, self._gathered = self._gathered, b""
        if gathered:
            self._send(gathered)

    def _send(self, data: Any) -> None:
        if not self._waiting:
            try:
                sent: int = self.socket.send(data)
            except OSError:  # full: it waits; broken: the next attempt meets that again
                sent = 0
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            self.reactor.addWriter(self)
        self._waiting.append(data)
        self.octets_waiting += len(data)
        if self.octets_waiting > AT_A_TIME and self.producer is not None and not self._is_paused:
            self._is_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    def doWrite(self) -> Any:
        if self._waiting:
            try:
                self._take(self.socket.sendmsg(self._waiting[:MAX_VECTOR]))
            except BlockingIOError:
                return None
            except OSError:
                return CONNECTION_LOST
        if self._waiting:
            return None
        self.reactor.removeWriter(self)
        if self._is_paused:
            self._is_paused = False
            self.producer.resumeProducing()
        elif self.disconnecting:
            return CONNECTION_DONE
        return None

    def _take(self, sent: int) -> None:
        """So many octets of what waits are the kernel's."""
        self.octets_waiting -= sent
        taken = 0
        for piece in self._waiting:
            if sent < len(piece):
                break
            sent -= len(piece)
            taken += 1
        del self._waiting[:taken]
        if sent:
            self._waiting[0] = memoryview(self._waiting[0])[sent:]

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As IConsumer has it, for one that can be paused. Raises RuntimeError for another."""
        if self.producer is not None or not streaming:
            raise RuntimeError(f"not {producer!r}: there is {self.producer!r}, or it cannot pause")
        if self.connected:
            self.producer = producer
        else:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        self.producer = None
        self._is_paused = False
        if self.connected and self.disconnecting:
            self.reactor.addWriter(self)

    # --- the end ------------------------------------------------------------------------------

    def loseConnection(self) -> None:
        """Once all is sent. With nothing left the kernel need not be asked whether it would."""
        if not self.connected or self.disconnecting or self._is_aborting:
            return
        self.send_gathered()
        self.disconnecting = True
        is_done = self.producer is None and not self._waiting
        if is_done and self.reactor.close_soon(self):
            self.reactor.removeReader(self)
        else:
            self.reactor.addWriter(self)

    def abortConnection(self) -> None:
        """Now, whatever waits; the protocol is told in the reactor's next turn."""
        if not self.connected or self._is_aborting:
            return
        self._is_aborting = True
        self._gathered = b""
        self._stop()
        self.reactor.callLater(0, self.connectionLost, _ABORTED)

    def readConnectionLost(self, reason: Failure) -> None:
        """The other end says nothing more."""
        if not IHalfCloseableProtocol.providedBy(self.protocol):
            self.connectionLost(reason)
            return
        try:
            self.protocol.readConnectionLost()
        except Exception:  # noqa: BLE001 - a defect of ours ends that one session
            _log.failure("a session broke at the end of what came")
            self.connectionLost(Failure())

    def writeConnectionLost(self, reason: Failure) -> None:
        """Never asked for: both ways are closed at once."""

    def connectionLost(self, reason: Failure) -> None:
        """Harmless when called again."""
        if not self.connected:
            return
        self.connected = False
        self._stop()
        self._gathered = b""
        self._waiting.clear()
        if self._is_aborting:
            _reset_at_close(self.socket)
        self._descriptor = -1
        self.socket.close()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        protocol, self.protocol = self.protocol, None  # they hold each other: nobody need search
        protocol.connectionLost(reason)
        if self._after_end is not None:
            self._after_end(reason)

    def _stop(self) -> None:
        self.reactor.removeReader(self)
        self.reactor.removeWriter(self)

    # --- what it is ---------------------------------------------------------------------------

    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> Any:
        return address_of(self.socket.getsockname())

    def getHandle(self) -> Any:
        return self.socket

    def logPrefix(self) -> str:
        return "relay"

    def __repr__(self) -> str:
        return f"<Stream with {self._peer}>"


def _reset_at_close(sock: Any) -> None:
    """The other end learns at once, and nothing more is sent."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        return  # it is gone already


classImplements(
    Stream, ITransport, IConsumer, IPushProducer, IReadWriteDescriptor, IHalfCloseableDescriptor
)
