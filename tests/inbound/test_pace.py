"""Clients who keep a session busy octet by octet, and honest ones who say little."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.inbound import pace
from relay.inbound.pace import Pace
from relay.notices import Disconnected
from tests.inbound.relay_front import Client, Front
from tests.inbound.test_reading import until


class PaceTests(SynchronousTestCase):
    def test_too_slow_only_within_one_thing_for_a_whole_period(self) -> None:
        looks = (  # octets, owes, has an answer: too slow
            (5, True, False, False),  # it may have begun just now
            (5, True, False, True),
            (6000, True, False, False),
            (5999, True, False, True),
            (0, True, True, False),  # another command
            (0, False, False, False),
            (0, True, False, False),
        )
        pace = Pace()
        for octets, owes, has_answer, is_slow in looks:
            pace.octets, pace.has_answer = octets, has_answer
            self.assertEqual(is_slow, pace.is_too_slow(6000, owes=owes))


class SlowClientTests(TestCase):
    timeout = 60

    async def begin(self, **keys: object) -> Client:
        self.patch(pace, "PERIOD", 0.1)
        self.front = Front(**keys)  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        client = await self.front.connect()
        await client.heard(1)
        return client

    async def assert_shown_the_door(self, client: Client) -> None:
        await client.gone
        self.assertEqual("421 4.4.2 Too slow, closing", client.lines()[-1])
        notice = self.front.bench.notices[-1]
        self.assertIsInstance(notice, Disconnected)
        self.assertEqual("too slow", notice.reason)
        self.assertEqual(0, self.front.factory.session_count)

    def trickle(self, client: Client, octets: bytes = b"x") -> None:
        """An octet each 20 ms, half of what is asked of clients, to the end of the test."""
        loop = LoopingCall(client.transport.write, octets)
        self.addCleanup(loop.stop)
        loop.start(0.02 * len(octets))

    async def test_a_command(self) -> None:
        client = await self.begin()
        self.trickle(client)
        await self.assert_shown_the_door(client)

    async def test_a_line_too_long(self) -> None:
        """What is thrown away counts as well."""
        client = await self.begin()
        client.transport.write(b"x" * 3000)
        self.trickle(client)
        await self.assert_shown_the_door(client)

    async def test_content(self) -> None:
        client = await self.begin()
        client.say("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@example.org>", "DATA")
        await until(lambda: b"354 " in client.text)
        self.trickle(client, b"\r\n")
        await self.assert_shown_the_door(client)
        self.assertEqual([], await self.front.contents())

    async def test_a_chunk(self) -> None:
        client = await self.begin()
        client.say("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@example.org>", "BDAT 1000000 LAST")
        self.trickle(client)
        await self.assert_shown_the_door(client)

    async def test_fast_enough(self) -> None:
        """Full lines, each answered, however few; and nothing at all between commands."""
        client = await self.begin()
        for _ in range(10):
            client.say("NOOP")
            before = client.text.count(b"250 2.0.0")
            await until(lambda before=before: client.text.count(b"250 2.0.0") > before)
            await deferLater(reactor, 0.05)
        client.say("QUIT")
        await client.gone
        self.assertTrue(client.lines()[-1].startswith("221"))
