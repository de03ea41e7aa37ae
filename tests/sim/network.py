"""Simulated TCP: delays, splits at any octet, breaks at any octet, hosts cut off from each other.

An End is what Twisted calls a transport, with its rules: writes are buffered, producers paused,
`loseConnection` sends the rest first, `abortConnection` does not, and `connectionLost` comes in a
turn of its own. What the kernel has taken is sent even if the process is gone; a reset may
overtake it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from errno import ECONNREFUSED
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
    UserError,
)
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure

from tests.sim.world import World

HIGH_WATER = 1 << 16
"""Octets that wait to be sent at which a producer is paused, as Twisted's."""

LEFT_FOR_THE_KERNEL = 1 << 16
"""Octets that a closed connection may still have to send without its process."""

SHOWN = 100
"""Octets of each piece that stand in the trace."""


@dataclass
class Weather:
    """How the network is. Probabilities, and seconds."""

    delay: float = 0.001
    slow: float = 0.02  # that a piece takes long
    slow_delay: float = 0.3
    split: float = 0.2  # that what arrives is not all that was sent
    cut: float = 0.0  # that a connection will break at some octet
    cut_within: int = 4000


class End:
    """One end of a connection. `process` runs its protocol, and may die."""

    def __init__(self, wire: "Wire", process: Any, host: IPv4Address, peer: IPv4Address) -> None:
        self.wire = wire
        self.process = process
        self.protocol: Any = None
        self.other: End = self
        self.connected = 0
        self.disconnecting = False
        self.disconnected = False
        self.producer: Any = None
        self._host = host
        self._peer = peer
        self.written = 0  # octets so far
        self.heard = 0  # of them, those that the other end's protocol was given
        self._out = bytearray()
        self._is_reading = False
        self._is_paused = False  # the producer
        self._is_moving = False  # a piece is on its way
        self._is_write_closed = False
        self._is_end_sent = False
        self._is_read_closed = False

    # --- what protocols call ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self.process.is_alive or self.disconnecting or self.disconnected:
            return
        if self._is_write_closed or not data:
            return
        self._out += data
        self.written += len(data)
        if self.producer is not None and not self._is_paused and len(self._out) > HIGH_WATER:
            self._is_paused = True
            self.producer.pauseProducing()
        self.wire.wrote(self, len(data))
        self._move()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.process.is_alive and not self.disconnecting and not self.disconnected:
            self.disconnecting = True
            self._close_if_done()

    def loseWriteConnection(self) -> None:
        self._is_write_closed = True
        self._move()

    def abortConnection(self) -> None:
        if self.process.is_alive and not self.disconnected:
            self.disconnecting = True
            self._is_reading = False
            self.reset()
            self._end_soon(ConnectionAborted())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self.producer is not None:
            raise RuntimeError("there is a producer already")
        if self.disconnected:
            producer.stopProducing()
            return
        self.producer = producer
        self._is_paused = False

    def unregisterProducer(self) -> None:
        self.producer = None
        if self.disconnecting:
            self._close_if_done()

    def pauseProducing(self) -> None:
        self._is_reading = False

    def resumeProducing(self) -> None:
        if not self.disconnected:
            self._is_reading = True
            self.other._move()

    def stopProducing(self) -> None:
        self.loseConnection()

    def getPeer(self) -> IPv4Address:
        return self._peer

    def getHost(self) -> IPv4Address:
        return self._host

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing here waits for more."""

    # --- what the world does ------------------------------------------------------------------

    def begin(self, protocol: Any) -> None:
        self.protocol = protocol
        self.connected = 1
        self._is_reading = True
        self.process.run(protocol.makeConnection, self)
        self.other._move()

    def reset(self) -> None:
        """This end is gone: the other gets some of what was under way, then a reset."""
        if not self._is_end_sent:
            self._is_end_sent = True
            last = bytes(self._out[: self.wire.random.randint(0, len(self._out))])
            self._out.clear()
            self.wire.later(self._break, last)

    def _hand_over(self, octets: bytes) -> None:
        other = self.other
        self.wire.tell(self, octets)
        self.heard += len(octets) if other.process.is_alive else 0
        other.process.run(other.protocol.dataReceived, octets)

    def _break(self, last: bytes) -> None:
        other = self.other
        if last and other._is_reading:
            self._hand_over(last)
        other._lose(ConnectionLost())

    def _move(self) -> None:
        """Have the next piece on its way, if there is one and the other end takes it."""
        wire, other = self.wire, self.other
        if self._is_moving or self._is_end_sent or (wire.cut_off and wire.is_cut_off):
            return
        if other.disconnected and self._out and not self.disconnected:
            self._is_end_sent = True
            wire.later(self._lose, ConnectionLost())  # it answers with a reset
        if not other._is_reading:
            return
        if self._out or self._is_write_closed or self.disconnected:
            self._is_moving = True
            wire.later(self._arrive)

    def _arrive(self) -> None:
        self._is_moving = False
        wire, other = self.wire, self.other
        if self._is_end_sent or not other._is_reading or (wire.cut_off and wire.is_cut_off):
            return
        if self._out:
            octets = len(self._out)
            if wire.random.random() < wire.weather.split:
                octets = wire.random.randint(1, octets)
            piece = bytes(self._out[: min(octets, HIGH_WATER)])
            del self._out[: len(piece)]
            if self._is_paused:
                self._resume_producer()
            if self.disconnecting:
                self._close_if_done()
            self._hand_over(piece)
        else:
            self._is_end_sent = True
            other._hear_end()
        self._move()

    def _resume_producer(self) -> None:
        if self.producer is not None and not self._out:
            self._is_paused = False
            self.process.run(self.producer.resumeProducing)

    def _close_if_done(self) -> None:
        """The rest is the kernel's to send."""
        if self.producer is None and len(self._out) <= LEFT_FOR_THE_KERNEL:
            self._is_reading = False
            self._end_soon(ConnectionDone())

    def _end_soon(self, why: Exception) -> None:
        self.wire.world.after(0, self._lose, why)

    def _hear_end(self) -> None:
        """No more is coming from the other end."""
        if self.disconnected or self._is_read_closed:
            return
        self._is_read_closed = True
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.process.run(self.protocol.readConnectionLost)
        else:
            self._lose(ConnectionDone())

    def _lose(self, why: Exception) -> None:
        if self.disconnected:
            return
        self.disconnected = True
        self.connected = 0
        self._is_reading = False
        producer, self.producer = self.producer, None
        if producer is not None:
            self.process.run(producer.stopProducing)
        if isinstance(why, ConnectionLost):
            self._out.clear()
            self._is_end_sent = True
        self.wire.ended(self)
        if self.protocol is not None:
            self.process.run(self.protocol.connectionLost, Failure(why))
        self._move()
        self.other._move()

    def die(self) -> None:
        """The process did, or its machine."""
        self.disconnected = True
        self._is_reading = False
        self.producer = None
        self.wire.ended(self)
        self.reset()


class Wire:
    """A connection, from its client to its server."""

    def __init__(self, network: "Network", number: int, hosts: tuple[str, str]) -> None:
        self.network = network
        self.world = network.world
        self.weather = network.weather
        self.cut_off = network.cut_off
        self.random = network.random
        self.number = number
        self.hosts = hosts
        self.ends: list[End] = []
        here, there = hosts
        self._to_server = f"{here} >{number}> {there}"
        self._to_client = f"{here} <{number}< {there}"
        self._left = 0
        if self.random.random() < self.weather.cut:
            self._left = self.random.randint(1, self.weather.cut_within)

    @property
    def is_cut_off(self) -> bool:
        return not self.cut_off.keys().isdisjoint(self.hosts)

    def later(self, act: Callable[..., object], *arguments: Any) -> None:
        weather, random = self.weather, self.random
        most = weather.slow_delay if random.random() < weather.slow else weather.delay
        least = most / 10
        self.world.after(least + (most - least) * random.random(), act, *arguments)  # uniform

    def tell(self, end: End, octets: bytes) -> None:
        arrow = self._to_server if end is self.ends[0] else self._to_client
        more = " ..." if len(octets) > SHOWN else ""
        self.world.tell(f"{arrow} {len(octets)} {octets[:SHOWN]!r}{more}")

    def wrote(self, end: End, octets: int) -> None:
        """It may be the octets at which this connection breaks."""
        if self._left:
            self._left -= octets
            if self._left <= 0:
                self._left = 0
                self.later(self.break_off)

    def break_off(self) -> None:
        """Both ends lose it."""
        for end in self.ends:
            end.reset()

    def ended(self, end: End) -> None:
        self.network.ends.pop(end, None)


class Port:
    """Listens; connections wait while it is not read."""

    def __init__(self, network: "Network", process: Any, address: IPv4Address, factory: Any):
        self._network = network
        self.process = process
        self._address = address
        self.factory = factory
        self._is_reading = True
        self._waiting: list[Callable[[], None]] = []

    def startReading(self) -> None:
        self._is_reading = True
        waiting, self._waiting = self._waiting, []
        for accept in waiting:
            self._network.world.after(0, accept)

    def stopReading(self) -> None:
        self._is_reading = False

    def stopListening(self) -> None:
        self._network.ports.pop((self._address.host, self._address.port), None)

    def getHost(self) -> IPv4Address:
        return self._address

    def take(self, accept: Callable[[], None]) -> None:
        if self._is_reading:
            accept()
        else:
            self._waiting.append(accept)


class Connector:
    """An attempt to connect."""

    def __init__(
        self, network: "Network", process: Any, host: str, port: int, factory: Any
    ) -> None:
        self._network = network
        self.process = process
        self.host = host
        self._port = port
        self._factory = factory
        self._is_over = False

    def begin(self, timeout: float) -> None:
        network = self._network
        self._factory.doStart()
        self._factory.startedConnecting(self)
        network.connecting[self] = None
        network.world.after(timeout, self._fail, TimeoutError())
        weather = network.weather
        network.world.after(network.random.uniform(weather.delay / 10, weather.delay), self._reach)

    def stopConnecting(self) -> None:
        self._network.world.after(0, self._fail, UserError())

    def disconnect(self) -> None:
        self.stopConnecting()

    def _reach(self) -> None:
        network = self._network
        if self._is_over or not self.process.is_alive:
            return
        if network.is_cut_off(self.host) or network.is_cut_off(self.process.address):
            return  # until it has taken too long
        port = network.ports.get((self.host, self._port))
        if port is None or not port.process.is_alive:
            self._fail(ConnectionRefusedError(ECONNREFUSED))
            return
        port.take(lambda: self._accepted(port))

    def _accepted(self, port: Port) -> None:
        if self._is_over or not self.process.is_alive:
            return
        self._close()
        wire, client, server = self._network.join(self, port)
        wire.later(self._begin_client, client)
        self.process_of(port).run(self._begin_server, port, server)

    @staticmethod
    def process_of(port: Port) -> Any:
        return port.process

    def _begin_client(self, end: End) -> None:
        if end.disconnected:
            refused = Failure(ConnectionRefusedError(ECONNREFUSED))
            self.process.run(self._factory.clientConnectionFailed, self, refused)
            return
        self.process.run(self._build_client, end)

    def _build_client(self, end: End) -> None:
        protocol = self._factory.buildProtocol(end.getPeer())
        end.begin(protocol)

    @staticmethod
    def _begin_server(port: Port, end: End) -> None:
        protocol = port.factory.buildProtocol(end.getPeer())
        if protocol is None:
            end.reset()
            end._lose(ConnectionDone())
        else:
            end.begin(protocol)

    def _fail(self, why: Exception) -> None:
        if not self._is_over:
            self._close()
            self.process.run(self._factory.clientConnectionFailed, self, Failure(why))

    def _close(self) -> None:
        self._is_over = True
        self._network.connecting.pop(self, None)


class Network:
    """All connections. `ends` and `connecting` are those that exist now."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.chance("network")
        self.weather = Weather()
        self.cut_off: dict[str, None] = {}
        self.ports: dict[tuple[str, int], Port] = {}
        self.ends: dict[End, None] = {}
        self.connecting: dict[Connector, None] = {}
        self._wires = 0
        self._next_port = 40000

    def is_cut_off(self, host: str) -> bool:
        return host in self.cut_off

    def listen(self, process: Any, host: str, number: int, factory: Any) -> Port:
        if (host, number) in self.ports:
            raise CannotListenError(host, number, OSError(98, "Address already in use"))
        port = Port(self, process, IPv4Address("TCP", host, number), factory)
        self.ports[host, number] = port
        return port

    def connect(
        self, process: Any, host: str, port: int, factory: Any, timeout: float = 30
    ) -> Connector:
        connector = Connector(self, process, host, port, factory)
        connector.begin(timeout)
        return connector

    def join(self, connector: Connector, port: Port) -> tuple[Wire, End, End]:
        """The two ends of a new connection."""
        self._wires += 1
        self._next_port += 1
        there = port.getHost()
        here = IPv4Address("TCP", connector.process.address, self._next_port)
        wire = Wire(self, self._wires, (here.host, there.host))
        client = End(wire, connector.process, here, there)
        server = End(wire, port.process, there, here)
        client.other, server.other = server, client
        wire.ends = [client, server]
        self.ends[client] = self.ends[server] = None
        return wire, client, server

    def cut(self, host: str) -> None:
        """What is under way waits; new connections get no answer."""
        self.cut_off[host] = None

    def mend(self, host: str) -> None:
        if self.cut_off.pop(host, 0) is None:
            for end in list(self.ends):
                end._move()
                end.other._move()  # closed, it may have left something for the kernel to send

    def forget(self, process: Any) -> None:
        """The process died: its ports close, its connections break."""
        for place in [place for place, port in self.ports.items() if port.process is process]:
            del self.ports[place]
        for connector in [each for each in self.connecting if each.process is process]:
            connector._close()
        for end in [end for end in self.ends if end.process is process]:
            end.die()

    def sessions(self, process: Any, host: str) -> int:
        """Connections of a process with a host that exist or are being made."""
        made = sum(e.process is process and e.getPeer().host == host for e in self.ends)
        return made + sum(c.process is process and c.host == host for c in self.connecting)
