"""Two ends of a real connection on loopback, and what they collect."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory
from twisted.trial.unittest import TestCase

from relay.net.ports import connect_tcp, listen_tcp


class Collector(Protocol):
    """Collects what comes; `lost` fires with the kind of its end."""

    def __init__(self):
        self.made = Deferred()
        self.lost = Deferred()
        self.reason = None
        self.received = []
        self.waiting = []

    def connectionMade(self):
        self.made.callback(self)

    def dataReceived(self, data):
        self.received.append(data)
        self.ask()

    def ask(self):
        for size, fired in self.waiting:
            if self.size >= size and not fired.called:
                fired.callback(None)

    def when(self, size):
        fired = Deferred().addTimeout(20, reactor)
        self.waiting.append((size, fired))
        self.ask()
        return fired

    def connectionLost(self, reason):
        self.reason = reason
        self.lost.callback(reason.type)

    @property
    def size(self):
        return sum(map(len, self.received))

    @property
    def octets(self):
        return b"".join(self.received)


class Listening(ServerFactory):
    noisy = False

    def __init__(self, protocol):
        self.protocol = lambda: protocol


class Connecting(ClientFactory):
    noisy = False

    def __init__(self, protocol):
        self.protocol = lambda: protocol


class Numbers:
    """A push producer of `count` chunks; notes how much is written before it is paused."""

    def __init__(self, transport, count):
        self.transport = transport
        self.left = count
        self.is_paused = False
        self.pauses = 0
        self.is_stopped = False
        transport.registerProducer(self, True)
        self.resumeProducing()

    def chunk(self, number):
        return number.to_bytes(4, "big") * 4096

    def resumeProducing(self):
        self.is_paused = False
        while self.left and not self.is_paused:
            self.left -= 1
            self.transport.write(self.chunk(self.left))
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self):
        self.is_paused = True
        self.pauses += 1

    def stopProducing(self):
        self.is_stopped = True


class ConnectedCase(TestCase):
    """`pair` connects two: the server's end and the client's."""

    interface = "127.0.0.1"
    protocol = Collector

    async def pair(self, server=None):
        server, client = server or self.protocol(), self.protocol()
        port = listen_tcp(reactor, 0, Listening(server), interface=self.interface)
        self.addCleanup(port.stopListening)
        connect_tcp(reactor, self.interface, port.getHost().port, Connecting(client), 5)
        await server.made
        await client.made
        self.addCleanup(self.close, server, client)
        return server, client

    async def close(self, *protocols):
        for protocol in protocols:
            if protocol.reason is None:
                protocol.transport.abortConnection()
                await protocol.lost
