"""Content on its way: large, slow, unreadable, refused half-way."""

from hashlib import sha256
from pathlib import Path

from twisted.internet.protocol import Protocol, ServerFactory

from relay.mail.outcome import Delayed, Failed, Relayed
from relay.queue.content_files import FileContent
from relay.testing.upstream import KEYWORDS
from tests.outbound.case import DeliveryCase


class Lines:
    """Content made as it is read; counts what was taken of it."""

    def __init__(self, count, fails_at=-1, claimed=0):
        self.count = count
        self.fails_at = fails_at
        self.claimed = claimed
        self.taken = 0

    def line(self, number):
        return b".%09d\r\n" % number * 5461

    @property
    def size(self):
        return self.claimed or self.count * len(self.line(0))

    def chunks(self, size=65536):
        self.taken = 0
        for number in range(self.count):
            if number == self.fails_at:
                raise OSError("the disk is ill")
            self.taken += 1
            yield self.line(number)

    @property
    def digest(self):
        return sha256(b"".join(map(self.line, range(self.count)))).digest()


class Sulking(Protocol):
    """Says 354 and then does not read until told; a server under `factory.sessions`."""

    def connectionMade(self):
        self.factory.sessions.append(self)
        self.received = b""
        self.is_in_content = False
        self.transport.write(b"220 hi\r\n")

    def dataReceived(self, data):
        if data.startswith(b"EHLO"):
            self.transport.write(b"250-hi\r\n250 PIPELINING\r\n")
        elif data.startswith(b"MAIL"):
            self.transport.write(b"250 ok\r\n250 ok\r\n354 go on\r\n")
            self.transport.pauseProducing()
            self.is_in_content = True
        elif self.is_in_content:
            self.received += data
            if self.received.endswith(b"\r\n.\r\n"):
                self.transport.write(b"250 ok\r\n")


class ContentTests(DeliveryCase):
    def sulking(self):
        factory = ServerFactory()
        factory.noisy = False
        factory.protocol = Sulking
        factory.sessions = []
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        factory.is_lmtp = False
        factory.port = port.getHost().port
        return factory

    async def test_large(self):
        for keywords in (KEYWORDS, ()):
            up = self.upstream(keywords=keywords)
            content = Lines(40)
            attempt = await self.deliver(self.delivery(up), "a@x.test", content=content)
            self.assert_kinds(attempt, Relayed)
            self.assertEqual(sha256(up.accepted[0].content).digest(), content.digest)

    async def test_large_in_chunks(self):
        """No line end at the end: by BDAT, with and without PIPELINING."""
        for keywords in (("CHUNKING", "PIPELINING"), ("CHUNKING",)):
            up = self.upstream(keywords=keywords)
            content = Lines(40)
            content.line = lambda number: b"." + b"%08d" % number * 8000
            attempt = await self.deliver(self.delivery(up), "a@x.test", content=content)
            self.assert_kinds(attempt, Relayed)
            self.assertTrue(up.accepted[0].is_chunked)
            self.assertEqual(sha256(up.accepted[0].content).digest(), content.digest)

    async def test_small_in_a_chunk_without_pipelining(self):
        content = Lines(1)
        content.line = lambda number: b"no line end"
        up = self.upstream(keywords=("CHUNKING",))
        attempt = await self.deliver(self.delivery(up), "a@x.test", content=content)
        self.assert_kinds(attempt, Relayed)
        self.assertEqual(up.accepted[0].content, b"no line end")

    async def test_two_on_one_session(self):
        up = self.upstream()
        delivery = self.delivery(up, max_connections=1)
        both = [self.deliver(delivery, "a@x.test", content=Lines(n)) for n in (20, 30)]
        for attempt in both:
            self.assert_kinds(await attempt, Relayed)
        self.assertEqual(len(up.sessions), 1)
        self.assertEqual(up.accepted[1].content, b"".join(map(Lines(30).line, range(30))))

    async def test_slow_host_stops_the_reading(self):
        server = self.sulking()
        content = Lines(500)
        attempt = self.deliver(self.delivery(server), "a@x.test", content=content)
        await self.until(lambda: content.taken)
        taken = -1
        while taken != content.taken:
            taken = content.taken
            await self.pause(0.1)
        self.assertLess(taken, 200)
        server.sessions[0].transport.resumeProducing()
        self.assert_kinds(await attempt, Relayed)
        self.assertEqual(content.taken, 500)
        received = server.sessions[0].received[:-3].replace(b"\n..", b"\n.")[1:]
        self.assertEqual(sha256(received).digest(), content.digest)

    async def test_host_that_takes_no_more(self):
        server = self.sulking()
        delivery = self.delivery(server, timeouts={"block": "0.3s"})
        attempt = await self.deliver(delivery, "a@x.test", content=Lines(500))
        self.assertIn("no answer for 0.3 s while the content was sent", str(attempt.site.reply))

    async def check_unreadable(self, content, text):
        up, other = self.upstream(), self.upstream()
        attempt = await self.deliver(self.delivery(up, other), "a@x.test", content=content)
        self.assertIsNone(attempt.site)
        self.assert_kinds(attempt, Delayed)
        self.assertIn(text, str(attempt.outcomes[1].reply))
        self.assertFalse(attempt.outcomes[1].is_unknown)
        await up.when(lambda: not up.open_sessions)
        self.assertEqual(up.transactions, [])
        self.assertEqual(other.sessions, [])

    async def test_unreadable(self):
        await self.check_unreadable(Lines(40, fails_at=0), "the disk is ill")
        await self.check_unreadable(Lines(40, fails_at=30), "the disk is ill")
        await self.check_unreadable(Lines(1, fails_at=0), "the disk is ill")

    async def test_where_it_lies_is_not_told(self):
        up = self.upstream()
        missing = FileContent(Path("/nowhere/spool/0/content/Q1"), 9)
        for content in (missing, FileContent(missing.path, 300_000)):
            attempt = await self.deliver(self.delivery(up), "a@x.test", content=content)
            self.assertIn("No such file", str(attempt.outcomes[1].reply))
            self.assertNotIn("nowhere", str(attempt.outcomes[1].reply))

    async def test_less_than_was_stored(self):
        """A content that lost its end must not arrive as if it were whole."""
        await self.check_unreadable(Lines(1, claimed=70000), "instead of 70000")
        await self.check_unreadable(Lines(10, claimed=700000), "are missing")

    async def test_refused_half_way(self):
        """A refusal before the end, then a close: taken for the answer, as it is meant."""
        for early, kind in ((b"552 5.3.4 too big\r\n", Failed), (b"452 4.3.1 full\r\n", Delayed)):
            up = self.upstream({"content": early})
            attempt = await self.deliver(self.delivery(up), "a@x.test", content=Lines(100))
            self.assert_kinds(attempt, kind)
            self.assertEqual(attempt.outcomes[1].reply.code, int(early[:3]))

    async def test_accepted_half_way(self):
        """It cannot have accepted what it has not seen the end of."""
        up = self.upstream({"content": b"250 2.0.0 fine\r\n"})
        attempt = await self.deliver(self.delivery(up), "a@x.test", content=Lines(100))
        self.assertIn("a reply to nothing", str(attempt.site.reply))

    async def test_421_half_way_is_the_sites(self):
        up, other = self.upstream({"content": b"421 4.3.2 away\r\n"}), self.upstream()
        attempt = await self.deliver(self.delivery(up, other), "a@x.test", content=Lines(100))
        self.assert_kinds(attempt, Relayed)
        self.assertEqual(len(other.accepted), 1)

    async def test_trickle_does_not_put_off_the_timeout(self):
        """Octets that are no reply do not count as an answer."""
        up = self.upstream({"mail": b"2"}, keywords=())
        delivery = self.delivery(up, timeouts={"mail": "1s"})
        attempt = self.deliver(delivery, "a@x.test")
        await up.when(lambda: len(up.commands) == 2)
        while not attempt.called:
            for session in up.open_sessions:
                session.transport.write(b"5")
            await self.pause(0.1)
        self.assertIn("in answer to MAIL", str((await attempt).site.reply))
