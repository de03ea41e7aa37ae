"""Clients that do not read, that say no more, and senders that are told to wait for two reasons."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.inbound import connection
from relay.inbound.reading import Brake, Reading
from relay.notices import Disconnected
from tests.inbound.relay_front import Client, Front

DEADLINE = 20.0


async def until(condition) -> None:
    end = reactor.seconds() + DEADLINE
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("it did not happen")
        await deferLater(reactor, 0.001)


class Transport:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("stop")

    def resumeProducing(self) -> None:
        self.calls.append("go on")


class ReasonTests(SynchronousTestCase):
    def test_reading_goes_on_when_the_last_reason_has_gone(self) -> None:
        transport = Transport()
        reading = Reading(transport)
        brake = Brake(reading)
        brake.pauseProducing()
        reading.stop("unread")
        reading.go_on("unread")
        reading.go_on("never said")
        self.assertEqual(["stop"], transport.calls)
        brake.resumeProducing()
        brake.resumeProducing()
        self.assertEqual(["stop", "go on"], transport.calls)


class UnreadTests(TestCase):
    timeout = 60

    async def _begin(self, **keys: object) -> Client:
        self.front = Front(**keys)  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        client = await self.front.connect()
        await client.heard(1)
        return client

    def _session(self):
        [session] = self.front.factory._sessions
        return session

    def _send_without_reading(self, client: Client, commands: int) -> None:
        client.transport.pauseProducing()
        client.transport.write(b"EHLO client.example\r\n" * commands)

    async def test_replies_that_nobody_takes_are_not_made(self) -> None:
        client = await self._begin(max_recipients=20_000)  # else it were too many commands
        self._send_without_reading(client, 100_000)
        await until(lambda: self._session()._is_unread)
        transport = self._session().transport
        self.assertLess(transport.octets_waiting, 512 * 1024)
        client.transport.resumeProducing()
        client.say("QUIT")
        await client.gone
        lines = client.lines()
        self.assertEqual("221 2.0.0 Bye", lines[-1])
        self.assertEqual(100_000, lines.count("250-relay.example"))

    async def test_a_client_that_never_reads_is_cut_off(self) -> None:
        self.patch(connection, "LAST_WORD_TIMEOUT", 0.1)
        client = await self._begin(idle_timeout="1s", max_recipients=20_000)
        self._send_without_reading(client, 100_000)
        await until(lambda: not self.front.factory.session_count)
        notice = self.front.bench.notices[-1]
        self.assertIsInstance(notice, Disconnected)
        self.assertEqual("idle for too long", notice.reason)
        client.transport.abortConnection()

    async def test_what_was_sent_before_a_half_close_is_answered(self) -> None:
        client = await self._begin()
        client.say(
            "HELO c", "MAIL FROM:<s@example.net>", "RCPT TO:<r@example.org>", "DATA", "x", "."
        )
        client.transport.loseWriteConnection()
        await client.gone
        self.assertEqual("250 2.0.0 queued", client.lines()[-1][:16])
        self.assertEqual(1, len(self.front.bench.listed()))
