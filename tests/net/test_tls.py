"""TLS on the eager transports: what is written leaves at once, in one write, and arrives whole."""

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from zope.interface import implementer

from relay.net.tls import start_tls
from tests.certificates import self_signed
from tests.net.connected import Collector, ConnectedCase, Numbers

RECORD = 16384


@implementer(IHandshakeListener)
class Secured(Collector):
    def __init__(self):
        super().__init__()
        self.shaken = Deferred()

    def handshakeCompleted(self):
        self.shaken.callback(None)


@implementer(IOpenSSLClientConnectionCreator)
class ClientSide:
    def clientConnectionForTLS(self, protocol):
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        connection.set_connect_state()
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class ServerSide:
    def __init__(self):
        issued = self_signed("localhost")
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self.context.use_certificate(issued.certificate)
        self.context.use_privatekey(issued.key)

    def serverConnectionForTLS(self, protocol):
        connection = SSL.Connection(self.context, None)
        connection.set_accept_state()
        return connection


class Spy:
    """Between TLS and its connection: notes each write, and makes it."""

    def __init__(self, tls):
        self.writes = []
        self._connection = tls.transport
        tls.transport = self

    def write(self, octets):
        self.writes.append(octets)
        self._connection.write(octets)

    def __getattr__(self, name):
        return getattr(self._connection, name)


def records(octets):
    """How many TLS records these are (RFC 8446 5.1: five octets of header, the last two length)."""
    count = 0
    while octets:
        octets = octets[5 + int.from_bytes(octets[3:5], "big") :]
        count += 1
    return count


class TlsTests(ConnectedCase):
    protocol = Secured

    async def pair(self):
        server, client = await super().pair()
        start_tls(server, ServerSide(), is_client=False)
        start_tls(client, ClientSide(), is_client=True)
        await client.shaken
        await server.shaken
        return server, client

    async def test_small_writes(self):
        """A pipelined group is one record, and on its way when `write` returns."""
        server, client = await self.pair()
        spy = Spy(client.transport)
        client.transport.write(b"MAIL FROM:<a@b>\r\n" * 10)
        self.assertEqual([records(octets) for octets in spy.writes], [1])
        await server.when(170)
        self.assertEqual(server.octets, b"MAIL FROM:<a@b>\r\n" * 10)

    async def test_large_write(self):
        server, client = await self.pair()
        spy = Spy(client.transport)
        octets = bytes(range(256)) * (8 * RECORD // 256)
        client.transport.write(octets)
        self.assertEqual([records(octets) for octets in spy.writes], [8])
        await server.when(len(octets))
        self.assertEqual(server.octets, octets)

    async def test_producer_is_paused_and_all_arrives(self):
        server, client = await self.pair()
        server.transport.pauseProducing()
        numbers = Numbers(client.transport, 600)
        self.assertGreater(numbers.left, 0)
        server.transport.resumeProducing()
        await server.when(600 * 16384)
        expected = b"".join(numbers.chunk(n) for n in reversed(range(600)))
        self.assertTrue(server.octets == expected)
        self.assertGreater(numbers.pauses, 0)

    async def test_closing_delivers_all_before(self):
        server, client = await self.pair()
        client.transport.write(b"x" * 1_000_000)
        client.transport.loseConnection()
        await server.lost
        await client.lost
        self.assertEqual(server.size, 1_000_000)

    async def test_abort_when_all_is_over(self):
        server, client = await self.pair()
        client.transport.abortConnection()
        await client.lost
        client.transport.abortConnection()
        client.transport.write(b"late")
        await server.lost
        self.assertEqual(server.octets, b"")
