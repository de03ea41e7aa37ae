"""The eager transports: bytes leave at once, in order, whole, and with Twisted's flow control."""

import socket
from hashlib import sha256

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.protocol import ServerFactory
from twisted.trial.unittest import TestCase

from relay.net.ports import connect_tcp, listen_tcp
from relay.net.stream import Stream
from tests.net.connected import Collector, ConnectedCase, Connecting, Numbers


class TransportTests(ConnectedCase):
    async def test_kinds(self):
        server, client = await self.pair()
        self.assertIsInstance(server.transport, Stream)
        self.assertIsInstance(client.transport, Stream)
        for each in (server, client):
            is_set = each.transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            self.assertTrue(is_set)
        self.assertEqual(client.transport.getPeer().host, self.interface)
        self.assertEqual(client.transport.getHost(), server.transport.getPeer())

    async def test_sent_at_once(self):
        """Before the reactor turns, the octets are already at the peer's socket."""
        server, client = await self.pair()
        for writer, reader in ((server, client), (client, server)):
            writer.transport.write(b"220 at once\r\n")
            peer = reader.transport.socket
            self.assertEqual(peer.recv(100, socket.MSG_PEEK), b"220 at once\r\n")
            await reader.when(13)

    async def test_stalled_reader_gets_all(self):
        """10 MB for a peer that does not read at first: buffered, then whole and in order."""
        server, client = await self.pair()
        client.transport.pauseProducing()
        chunks = [number.to_bytes(4, "big") * 4096 for number in range(640)]
        for chunk in chunks:
            server.transport.write(chunk)
        self.assertTrue(server.transport.octets_waiting)
        client.transport.resumeProducing()
        await client.when(640 * 16384)
        self.assertEqual(sha256(client.octets).digest(), sha256(b"".join(chunks)).digest())

    async def test_one_write_larger_than_the_kernel_takes(self):
        server, client = await self.pair()
        octets = b"".join(number.to_bytes(4, "big") for number in range(2_500_000))
        server.transport.write(octets)
        server.transport.write(b"the end")
        await client.when(len(octets) + 7)
        self.assertEqual(sha256(client.octets).digest(), sha256(octets + b"the end").digest())

    async def test_producer_is_paused_and_resumed(self):
        server, client = await self.pair()
        client.transport.pauseProducing()
        numbers = Numbers(server.transport, 1000)
        self.assertTrue(numbers.is_paused)
        self.assertGreater(numbers.left, 0)
        client.transport.resumeProducing()
        await client.when(1000 * 16384)
        expected = b"".join(map(numbers.chunk, reversed(range(1000))))
        self.assertEqual(sha256(client.octets).digest(), sha256(expected).digest())
        self.assertGreater(numbers.pauses, 1)

    async def test_producer_is_stopped_when_the_peer_goes(self):
        server, client = await self.pair()
        client.transport.pauseProducing()
        numbers = Numbers(server.transport, 1000)
        client.transport.abortConnection()
        await server.lost
        self.assertTrue(numbers.is_stopped)

    async def test_lose_connection_delivers_all_before(self):
        server, client = await self.pair()
        client.transport.pauseProducing()
        server.transport.write(b"x" * 8_000_000)
        server.transport.write(b"bye")
        server.transport.loseConnection()
        server.transport.write(b"too late, but buffered as Twisted does")
        client.transport.resumeProducing()
        await client.when(8_000_003)
        self.assertIs(await server.lost, ConnectionDone)
        self.assertIs(await client.lost, ConnectionDone)
        self.assertTrue(client.octets.startswith(b"x" * 8_000_000 + b"bye"))

    async def test_closed_in_answer(self):
        """From within `dataReceived`: what was said arrives, and the end is told afterwards."""
        server, client = await self.pair()
        reasons = []

        def answer(data):
            server.transport.write(b"221 bye\r\n")
            server.transport.loseConnection()
            server.transport.loseConnection()  # harmless
            reasons.append(server.reason)

        server.dataReceived = answer
        client.transport.write(b"QUIT\r\n")
        self.assertIs(await client.lost, ConnectionDone)
        self.assertIs(await server.lost, ConnectionDone)
        self.assertEqual(client.octets, b"221 bye\r\n")
        self.assertEqual(reasons, [None])

    async def test_a_broken_protocol_ends_its_own_connection(self):
        server, client = await self.pair()
        other, its_client = await self.pair()

        def broken(data):
            raise ZeroDivisionError

        server.dataReceived = broken
        client.transport.write(b"x")
        self.assertIs(await server.lost, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        its_client.transport.write(b"y")
        await other.when(1)

    async def test_write_after_the_end(self):
        """No error escapes `write`, whatever became of the connection."""
        server, client = await self.pair()
        client.transport.abortConnection()
        client.transport.write(b"aborted")
        await client.lost
        client.transport.write(b"lost")
        server.transport.write(b"to a peer that reset")
        self.assertIn(await server.lost, (ConnectionLost, ConnectionDone))
        server.transport.write(b"lost too")
        self.assertEqual(server.octets, b"")

    async def test_broken_connection_surfaces_later(self):
        """A send that fails is told by connectionLost in a later turn, not inside of `write`."""
        server, client = await self.pair()
        server.transport.pauseProducing()
        client.transport.abortConnection()
        await client.lost
        server.transport.write(b"a" * 10)
        self.assertIsNone(server.reason)
        server.transport.write(b"b" * 10)
        self.assertIsNone(server.reason)
        self.assertIs(await server.lost, ConnectionLost)

    async def test_refused(self):
        taken = socket.socket(socket.AF_INET6 if ":" in self.interface else socket.AF_INET)
        self.addCleanup(taken.close)
        taken.bind((self.interface, 0))
        failed = Deferred()
        factory = Connecting(Collector())
        factory.clientConnectionFailed = lambda connector, reason: failed.callback(reason.type)
        connect_tcp(reactor, self.interface, taken.getsockname()[1], factory, 5)
        self.assertIs(await failed, ConnectionRefusedError)


class TransportIPv6Tests(TransportTests):
    interface = "::1"


class PortTests(TestCase):
    async def test_a_broken_factory_does_not_close_the_port(self):
        server = Collector()
        made = [None, server]

        class Broken(ServerFactory):
            noisy = False

            def buildProtocol(self, addr):
                return made.pop(0) or 1 / 0

        port = listen_tcp(reactor, 0, Broken(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        first, second = Collector(), Collector()
        connect_tcp(reactor, "127.0.0.1", port.getHost().port, Connecting(first), 5)
        self.assertIn(await first.lost, (ConnectionDone, ConnectionLost))
        connect_tcp(reactor, "127.0.0.1", port.getHost().port, Connecting(second), 5)
        await server.made
        await second.made
        second.transport.abortConnection()
        await server.lost
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
