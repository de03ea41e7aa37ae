"""Connections from load balancers: a PROXY header first, and whom it makes the client."""

from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.config.listener import Listener
from relay.inbound.admission import Admission
from relay.inbound.conduct import Conduct
from relay.inbound.proxied import HEADER_TIMEOUT, AwaitingHeader
from relay.notices import Connected, Disconnected, Rejected
from tests.inbound.relay_front import Client, Front
from tests.inbound.test_protocol import SlowPlaces
from tests.inbound.test_proxy_header import V4, binary

NAMED = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"
HEADERS = (NAMED, binary(0x21, 0x11, V4 + b"\x03\x00\x04abcd"))
FROM_HERE = {"proxy_protocol_from": ("127.0.0.1/32",)}
MAIL = ("MAIL FROM:<s@example.net>", "RCPT TO:<r@example.org>", "DATA", "x", ".")


class ProxiedCase(TestCase):
    timeout = 30

    async def connect(self, front: Front, octets: bytes = b"") -> Client:
        client = await front.connect()
        if octets:
            client.transport.write(octets)
        return client

    def front(self, **keys: object) -> Front:
        front = Front(**{**FROM_HERE, **keys})  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(front.stop()))
        return front

    def told(self, front: Front, kind: type) -> list:
        return [notice for notice in front.bench.notices if isinstance(notice, kind)]


class NamedTests(ProxiedCase):
    async def test_the_client_is_whom_the_header_names(self) -> None:
        """In the log, the Received field, and for what is judged."""
        for header in HEADERS:
            front = self.front(networks=("192.0.2.0/24",))
            client = await self.connect(front, header)
            await client.heard(1)
            client.say("HELO client.example", *MAIL)
            self.assertEqual("250", (await client.heard(6))[-1][:3])
            [content] = await front.contents()
            self.assertTrue(content.startswith(b"Received: from client.example ([192.0.2.7])"))
            [connected] = self.told(front, Connected)
            self.assertEqual("192.0.2.7:4711", connected.client)
            self.assertTrue(connected.via.startswith("127.0.0.1:"))
            client.say("QUIT")
            await client.gone
            await front.listener.close()
            await front.factory.leave()
            self.assertEqual("192.0.2.7:4711", self.told(front, Disconnected)[0].client)

    async def test_the_proxys_own_address_opens_nothing(self) -> None:
        front = self.front(networks=("127.0.0.0/8",))
        client = await self.connect(front, NAMED)
        await client.heard(1)
        client.say("HELO client.example", *MAIL[:2])
        self.assertEqual("550 5.7.1", (await client.heard(4))[-1][:9])

    async def test_header_and_commands_in_one_segment(self) -> None:
        for header in HEADERS:
            front = self.front(networks=("192.0.2.7/32",))
            client = await self.connect(front, header + b"EHLO client\r\nNOOP\r\nQUIT\r\n")
            await client.gone
            self.assertEqual("220", client.lines()[0][:3])
            self.assertEqual("221", client.lines()[-1][:3])

    async def test_local_and_unknown_keep_the_peer(self) -> None:
        for header in (b"PROXY UNKNOWN\r\n", binary(0x20, 0, b""), binary(0x21, 0, b"")):
            front = self.front(networks=("127.0.0.0/8",))
            client = await self.connect(front, header)
            await client.heard(1)
            client.say("HELO client.example", *MAIL)
            self.assertEqual("250", (await client.heard(6))[-1][:3])
            [connected] = self.told(front, Connected)
            self.assertTrue(connected.client.startswith("127.0.0.1:"), connected)

    async def test_the_limit_per_client(self) -> None:
        front = self.front(max_connections_per_client=1)
        await (await self.connect(front, NAMED)).heard(1)
        other = await self.connect(front, NAMED.replace(b".7 ", b".8 "))
        self.assertEqual("220", (await other.heard(1))[0][:3])
        again = await self.connect(front, NAMED)
        self.assertEqual("421 4.7.0", (await again.heard(1))[0][:9])
        await again.gone
        self.assertEqual("192.0.2.7:4711", self.told(front, Rejected)[0].client)
        other.transport.loseConnection()
        await other.gone

    async def test_those_that_say_nothing_count_too(self) -> None:
        front = self.front(max_connections=1)
        await self.connect(front)
        turned_away = await self.connect(front)
        await turned_away.gone
        self.assertEqual(b"", turned_away.text)
        self.assertIn("max_connections", self.told(front, Rejected)[0].why)

    async def test_their_places_come_back(self) -> None:
        """Of one that closes, of one whose header makes it a session, of that session."""
        front = self.front(max_connections=1)
        for _ in range(3):
            silent = await self.connect(front)
            await self._until(front, 1)
            silent.transport.loseConnection()
            await self._until(front, 0)
            client = await self.connect(front, NAMED)
            self.assertEqual("220", (await client.heard(1))[0][:3])
            client.transport.loseConnection()
            await client.gone
            await self._until(front, 0)

    async def _until(self, front: Front, sessions: int) -> None:
        while front.factory.session_count != sessions:
            await self._turn()

    async def test_leaving_waits_for_no_header(self) -> None:
        front = self.front()
        client = await self.connect(front)
        await self._until(front, 1)
        await front.factory.leave()
        await client.gone

    def _turn(self) -> "Deferred[None]":
        from twisted.internet import reactor
        from twisted.internet.task import deferLater

        return deferLater(reactor, 0, lambda: None)  # type: ignore[arg-type]


class UnnamedTests(ProxiedCase):
    async def test_anything_else_is_closed_without_a_word(self) -> None:
        for octets in (b"EHLO client.example\r\n", b"PROXY TCP4 nonsense\r\n", b"\x16\x03\x01"):
            front = self.front()
            client = await self.connect(front, octets)
            await client.gone
            self.assertEqual(b"", client.text)
            [rejected] = self.told(front, Rejected)
            self.assertEqual("connect", rejected.command)
            self.assertTrue(rejected.client.startswith("127.0.0.1:"))
            self.assertIn("send-proxy", rejected.why)
            self.assertEqual([], self.told(front, Connected))

    async def test_others_are_greeted_and_their_header_is_a_bad_command(self) -> None:
        front = self.front(proxy_protocol_from=("127.0.0.2/32",))
        client = await self.connect(front, NAMED)
        lines = await client.heard(2)
        self.assertEqual(["220", "500"], [line[:3] for line in lines])


class _Admitted(Protocol):
    def __init__(self) -> None:
        self.octets = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"220\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.octets += data


class WaitingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.places = SlowPlaces()
        config = Listener(name="lan", address="127.0.0.1:0")
        self.clock = Clock()
        self.session = _Admitted()
        self.headers: list = []
        self.refusals: list[str] = []
        self.transport = StringTransport()
        self.waiting = AwaitingHeader(
            self.clock,
            Admission(config, self.places, Conduct(), lambda host: False, self.clock),
            self._admit,
            self.refusals.append,
            lambda waiting: None,
        )
        self.waiting.makeConnection(self.transport)
        self.transport.protocol = self.waiting

    def _admit(self, waiting: AwaitingHeader, header: object) -> Protocol:
        self.headers.append(header)
        return self.session

    def test_octet_by_octet(self) -> None:
        for header in HEADERS:
            self.setUp()
            octets = header + b"EHLO"
            for at in range(len(octets)):
                self.assertEqual(b"" if at < len(header) else b"220\r\n", self.transport.value())
                self.transport.protocol.dataReceived(octets[at : at + 1])
            self.assertEqual(b"EHLO", self.session.octets)

    def test_cut_once_at_each_octet(self) -> None:
        for header in HEADERS:
            octets = header + b"EHLO"
            for at in range(1, len(octets)):
                self.setUp()
                self.transport.protocol.dataReceived(octets[:at])
                self.transport.protocol.dataReceived(octets[at:])
                self.assertEqual((1, b"EHLO"), (len(self.headers), self.session.octets))

    def test_silence(self) -> None:
        self.waiting.dataReceived(NAMED[:-1])
        self.clock.advance(HEADER_TIMEOUT - 1)
        self.waiting.judge_time(self.clock.seconds())
        self.assertFalse(self.transport.disconnected)
        self.waiting.dataReceived(b"")  # what trickles in does not put it off
        self.clock.advance(1)
        self.waiting.judge_time(self.clock.seconds())
        self.assertTrue(self.transport.disconnected)
        self.waiting.judge_time(self.clock.seconds() + 1)
        self.assertEqual(1, len(self.refusals))
        self.assertIn("within 10 s", self.refusals[0])
        self.waiting.dataReceived(b"\n")
        self.assertEqual([], self.headers)

    def test_a_connection_that_closed_is_told(self) -> None:
        self.waiting.connectionLost()
        self.assertEqual(1, len(self.refusals))

    def test_a_place_comes_back_once_whenever_it_came(self) -> None:
        for name, argument in (("dataReceived", NAMED), ("connectionLost", connectionDone)):
            for is_late in (False, True):
                self.setUp()
                come = partial(self.places.decide, True)
                end = partial(getattr(self.waiting, name), argument)
                for act in (end, come) if is_late else (come, end):
                    act()
                self.assertEqual(0, self.places.taken.total(), (name, is_late))

    def test_no_place_is_the_end_and_none_comes_back(self) -> None:
        self.places.decide(False)
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(["too many connections: raise max_connections"], self.refusals)
        self.waiting.connectionLost()
        self.assertEqual((1, 0), (len(self.refusals), self.places.taken.total()))

    def test_no_place_for_one_that_went_on_is_the_sessions_affair(self) -> None:
        self.waiting.dataReceived(NAMED)
        self.places.decide(False)
        self.assertFalse(self.transport.disconnected)
        self.assertEqual(([], 0), (self.refusals, self.places.taken.total()))
