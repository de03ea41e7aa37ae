"""The eager transports: bytes leave soon, in order, whole, and with Twisted's flow control."""

import errno
import socket
import time
from hashlib import sha256

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from relay.net.ports import connect_tcp, listen_tcp
from relay.net.readiness import MAX_UNSENT
from relay.net.stream import AT_A_TIME, MAX_GATHERED, Stream
from tests.net.connected import Collector, ConnectedCase, Connecting, Listening, Numbers


@implementer(IHalfCloseableProtocol)
class Answering(Collector):
    """Goes on after the other end has said all."""

    def __init__(self):
        super().__init__()
        self.heard_all = Deferred()

    def readConnectionLost(self):
        self.heard_all.callback(None)

    def writeConnectionLost(self):
        """Never asked for."""


class Last:
    """A push producer with one last word, which it says when it is resumed."""

    def __init__(self, transport):
        self.transport = transport
        self.pauses = 0
        self.is_stopped = False

    def pauseProducing(self):
        self.pauses += 1

    def resumeProducing(self):
        self.transport.write(b"last")
        self.transport.unregisterProducer()

    def stopProducing(self):
        self.is_stopped = True


class Full:
    """A kernel that watches no more sockets."""

    removeReader = removeWriter = staticmethod(lambda stream: None)
    callLater = staticmethod(reactor.callLater)
    send_soon = staticmethod(lambda stream: False)

    def addReader(self, stream):
        raise OSError(errno.ENOSPC, "too many are watched")


class Reluctant:
    """A socket that takes three octets at first."""

    def __init__(self, real):
        self.real = real

    def send(self, octets):
        return self.real.send(octets[:3])

    def __getattr__(self, name):
        return getattr(self.real, name)


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
        """Where no sockets are being served: before the reactor turns, the octets are already at
        the peer's socket."""
        server, client = await self.pair()
        for writer, reader in ((server, client), (client, server)):
            await deferLater(reactor, 0)
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


class GatheredTests(ConnectedCase):
    """What is written while sockets are served goes out when they have been."""

    async def while_served(self, server, client, act):
        """`act` is called while the server's socket is served."""
        done = Deferred().addTimeout(20, reactor)
        server.dataReceived = lambda data: done.callback(act())
        client.transport.write(b"now")
        return await done

    def seen(self, reader):
        """What the kernel holds for it."""
        try:
            return reader.transport.socket.recv(1 << 20, socket.MSG_PEEK)
        except BlockingIOError:
            return b""

    async def test_several_writes_are_one_and_come_later(self):
        server, client = await self.pair()

        def write():
            for word in (b"250 one\r\n", b"250 two\r\n"):
                server.transport.write(word)
            return self.seen(client)

        self.assertEqual(await self.while_served(server, client, write), b"")
        await client.when(18)
        self.assertEqual(client.received, [b"250 one\r\n250 two\r\n"])

    async def test_much_is_not_held_back_and_overtakes_nothing(self):
        server, client = await self.pair()

        def write():
            server.transport.write(b"first")
            server.transport.write(b"x" * MAX_GATHERED)
            seen = self.seen(client)
            server.transport.write(b"last")
            return seen

        self.assertEqual(
            await self.while_served(server, client, write), b"first" + b"x" * MAX_GATHERED
        )
        await client.when(MAX_GATHERED + 9)
        self.assertEqual(client.octets[-5:], b"xlast")

    async def test_one_that_is_large_is_sent_at_once(self):
        server, client = await self.pair()
        large = b"x" * (MAX_GATHERED + 1)

        def write():
            server.transport.write(large)
            return self.seen(client)

        self.assertEqual(await self.while_served(server, client, write), large)

    async def test_many_streams_do_not_wait_for_the_last(self):
        """No more of them than MAX_UNSENT: the others are served behind."""
        pairs = [await self.pair() for _ in range(MAX_UNSENT + 5)]
        seen = []

        def answer(server, client):
            server.transport.write(b"x")
            seen.append(sum(bool(self.seen(client)) for _, client in pairs))

        for server, client in pairs:
            server.dataReceived = lambda data, server=server, client=client: answer(server, client)
        for _, client in pairs:
            client.transport.pauseProducing()
            client.transport.write(b"now")
        while len(seen) < len(pairs):
            await deferLater(reactor, 0)
        self.assertEqual(seen, [0] * MAX_UNSENT + [MAX_UNSENT] * 5)

    async def test_what_the_kernel_does_not_take_is_sent_before_the_end(self):
        server, client = await self.pair()
        server.transport.socket = Reluctant(server.transport.socket)

        def leave():
            server.transport.write(b"221 bye\r\n")
            server.transport.loseConnection()
            return server.transport.octets_waiting

        self.assertGreater(await self.while_served(server, client, leave), 0)
        self.assertIs(await client.lost, ConnectionDone)
        self.assertEqual(client.octets, b"221 bye\r\n")

    async def test_nothing_is_sent_behind_an_abort(self):
        server, client = await self.pair()

        def write():
            server.transport.write(b"never")
            server.transport.abortConnection()

        await self.while_served(server, client, write)
        self.assertIs(await client.lost, ConnectionLost)
        self.assertEqual(client.octets, b"")


class TransportIPv6Tests(TransportTests):
    interface = "::1"


class OrderTests(ConnectedCase):
    async def test_nothing_overtakes_what_waits(self):
        """Though the kernel has room again by the time of the later write."""
        server, client = await self.pair()
        client.transport.pauseProducing()
        octets = b"".join(number.to_bytes(4, "big") for number in range(2_500_000))
        server.transport.write(octets)
        taken = client.transport.socket.recv(AT_A_TIME)
        while True:
            try:
                taken += client.transport.socket.recv(AT_A_TIME)
            except BlockingIOError:
                break
        server.transport.write(b"the end")
        client.transport.resumeProducing()
        await client.when(len(octets) + 7 - len(taken))
        arrived = taken + client.octets
        self.assertEqual(sha256(arrived).digest(), sha256(octets + b"the end").digest())

    async def test_a_producer_is_paused_once_and_only_when_much_waits(self):
        server, client = await self.pair()
        client.transport.pauseProducing()
        last = Last(server.transport)
        server.transport.registerProducer(last, True)
        size = 0
        for rest in (0, AT_A_TIME, 2 * AT_A_TIME):
            while server.transport.octets_waiting <= rest:
                server.transport.write(b"x" * 1024)
                size += 1024
            self.assertEqual(last.pauses, int(server.transport.octets_waiting > AT_A_TIME))
        client.transport.resumeProducing()
        await client.when(size + 4)
        self.assertEqual(server.transport.octets_waiting, 0)

    async def test_a_producer_that_was_paused_may_end_before_the_connection_does(self):
        """Its last words come after loseConnection, and unregisterProducer is what closes."""
        server, client = await self.pair()
        client.transport.pauseProducing()
        server.transport.registerProducer(Last(server.transport), True)
        server.transport.write(b"x" * 8_000_000)
        server.transport.loseConnection()
        client.transport.resumeProducing()
        self.assertIs(await client.lost.addTimeout(20, reactor), ConnectionDone)
        self.assertEqual((client.size, client.octets[-4:]), (8_000_004, b"last"))

    async def test_a_second_producer_that_was_not_paused_by_the_first_one_is_not_resumed(self):
        server, client = await self.pair()
        client.transport.pauseProducing()
        first, second = Last(server.transport), Last(server.transport)
        server.transport.registerProducer(first, True)
        server.transport.write(b"x" * 8_000_000)
        server.transport.unregisterProducer()
        server.transport.registerProducer(second, True)
        client.transport.resumeProducing()
        await client.when(8_000_000)
        await deferLater(reactor, 0.05)
        self.assertEqual((first.pauses, client.size), (1, 8_000_000))

    async def test_producers_that_are_none(self):
        server, _ = await self.pair()
        self.assertRaises(RuntimeError, server.transport.registerProducer, object(), False)
        server.transport.registerProducer(Last(server.transport), True)
        self.assertRaises(RuntimeError, server.transport.registerProducer, object(), True)

    async def test_who_has_sent_all_costs_nothing(self):
        server, client = await self.pair()
        server.transport.write(b"x" * 8_000_000)
        await client.when(8_000_000)
        await deferLater(reactor, 0.05)
        before = time.process_time()
        await deferLater(reactor, 0.5)
        self.assertLess(time.process_time() - before, 0.1)


class EndTests(ConnectedCase):
    async def test_an_abort_is_a_reset(self):
        server, client = await self.pair()
        client.transport.abortConnection()
        self.assertIs(await server.lost, ConnectionLost)
        self.assertIs(await client.lost, ConnectionAborted)

    async def test_closing_and_aborting_in_one_breath_is_one_end(self):
        for names in (
            ("loseConnection", "abortConnection"),
            ("abortConnection", "loseConnection", "abortConnection"),
        ):
            server, client = await self.pair()

            def end(data, server=server, names=names):
                for name in names:
                    getattr(server.transport, name)()

            server.dataReceived = end
            client.transport.write(b"x")
            await client.lost
            reason = await server.lost
            await deferLater(reactor, 0)
        self.assertIs(reason, ConnectionAborted)

    async def test_all_is_harmless_after_the_end(self):
        server, client = await self.pair()
        client.transport.loseConnection()
        await client.lost
        await server.lost
        late = Last(server.transport)
        server.transport.registerProducer(late, True)
        self.assertTrue(late.is_stopped)
        for each in (server, client):
            each.transport.unregisterProducer()
            each.transport.pauseProducing()
            each.transport.resumeProducing()
            each.transport.loseConnection()
            each.transport.abortConnection()
        await deferLater(reactor, 0)

    async def test_who_is_closing_is_not_made_to_read_again(self):
        server, client = await self.pair()
        server.transport.pauseProducing()
        client.transport.pauseProducing()
        server.transport.write(b"x" * 8_000_000)
        server.transport.loseConnection()
        client.transport.write(b"late")
        server.transport.resumeProducing()
        client.transport.resumeProducing()
        await client.lost
        await server.lost
        self.assertEqual(server.octets, b"")

    async def test_nothing_more_is_heard_in_the_turn_of_the_end(self):
        """Of what comes while others are served in that turn, after they were asked to go on."""
        for end in ("loseConnection", "abortConnection"):
            pairs = [await self.pair() for _ in range(8)]

            def hear(data, pairs=pairs, end=end):
                server, client = pairs[0]
                server.received.append(data)
                getattr(server.transport, end)()
                server.transport.resumeProducing()
                client.transport.write(b"more")

            pairs[0][0].dataReceived = hear
            for _, client in pairs:
                client.transport.write(b"x")
            await pairs[0][0].lost
            self.assertEqual(pairs[0][0].octets, b"x")

    async def test_what_comes_before_a_half_close_is_answered_after_it(self):
        server, client = await self.pair(Answering())
        client.transport.socket.shutdown(socket.SHUT_WR)
        await server.heard_all
        await deferLater(reactor, 0.01)
        server.transport.write(b"answered")
        server.transport.loseConnection()
        self.assertIs(await client.lost, ConnectionDone)
        self.assertEqual(client.octets, b"answered")

    async def test_a_defect_at_a_half_close_ends_that_connection(self):
        server, client = await self.pair(Answering())
        server.heard_all = None  # what it calls then is not there
        client.transport.socket.shutdown(socket.SHUT_WR)
        self.assertIs(await server.lost.addTimeout(20, reactor), AttributeError)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)


class PortTests(TestCase):
    async def test_the_connector_ends_its_connection_and_its_factory_is_told(self):
        server, client = Collector(), Collector()
        port = listen_tcp(reactor, 0, Listening(server), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        factory, told = Connecting(client), Deferred()
        factory.clientConnectionLost = lambda connector, reason: told.callback(reason.type)
        connector = connect_tcp(reactor, "127.0.0.1", port.getHost().port, factory, 5)
        await client.made
        self.assertIs(connector.transport, client.transport)
        connector.disconnect()
        self.assertIs(await told.addTimeout(20, reactor), ConnectionDone)
        self.assertIs(await server.lost, ConnectionDone)

    async def test_a_factory_that_no_longer_wants_its_connection(self):
        server = Collector()
        port = listen_tcp(reactor, 0, Listening(server), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        factory = Connecting(None)
        factory.buildProtocol = lambda address: None
        connect_tcp(reactor, "127.0.0.1", port.getHost().port, factory, 5)
        self.assertIs(await server.lost.addTimeout(20, reactor), ConnectionDone)

    async def test_a_protocol_that_breaks_at_its_beginning_is_cut_off_alone(self):
        broken, server = Collector(), Collector()
        broken.connectionMade = lambda: 1 / 0
        made = [broken, server]
        factory = Listening(None)
        factory.protocol = lambda: made.pop(0)
        port = listen_tcp(reactor, 0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        first, second = Collector(), Collector()
        connect_tcp(reactor, "127.0.0.1", port.getHost().port, Connecting(first), 5)
        self.assertIs(await first.lost.addTimeout(20, reactor), ConnectionLost)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        connect_tcp(reactor, "127.0.0.1", port.getHost().port, Connecting(second), 5)
        await server.made
        await second.made
        second.transport.abortConnection()
        await server.lost

    async def test_a_connection_that_cannot_be_watched_does_not_close_the_port(self):
        lost, server = Collector(), Collector()
        made = [lost, server]
        factory = Listening(None)
        factory.protocol = lambda: made.pop(0)
        port = listen_tcp(reactor, 0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        ready, port.reactor = port.reactor, Full()
        first, second = Collector(), Collector()
        connect_tcp(reactor, "127.0.0.1", port.getHost().port, Connecting(first), 5)
        self.assertIs(await lost.lost.addTimeout(20, reactor), OSError)
        await first.lost.addTimeout(20, reactor)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        port.reactor = ready
        connect_tcp(reactor, "127.0.0.1", port.getHost().port, Connecting(second), 5)
        await server.made
        await second.made
        second.transport.abortConnection()
        await server.lost

    async def test_one_that_cannot_be_watched_is_at_its_end_on_either_side(self):
        """Who opened it hears of it as who accepted it does; nothing is sent before."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        lost, told = Collector(), Deferred()
        lost.makeConnection(Stream(ours, lost, Full(), None, lambda why: told.callback(why.type)))
        lost.transport.write(b"x")
        lost.transport.resumeProducing()
        self.assertIs(await lost.lost.addTimeout(20, reactor), OSError)
        self.assertIs(await told.addTimeout(20, reactor), OSError)
        self.assertEqual(b"", theirs.recv(10))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

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
