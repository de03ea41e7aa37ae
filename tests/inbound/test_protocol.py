"""Sessions over real connections: replies, limits, what is stored, what is told."""

import gc
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from relay.inbound.connection import LAST_WORD_TIMEOUT
from relay.inbound.protocol import InboundProtocol
from relay.net.stream import Stream
from relay.notices import Accepted, Disconnected, Rejected
from relay.places import Taken
from tests.inbound.relay_front import Client, Front

MAIL = ("MAIL FROM:<s@example.net>", "RCPT TO:<r@example.org>", "DATA")


class SessionCase(TestCase):
    timeout = 30
    keys: dict = {}

    async def _begin(self, **keys: object) -> Client:
        self.front = Front(**keys)  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        client = await self.front.connect()
        await client.heard(1)
        client.say("HELO client.example")
        await client.heard(2)
        return client


class AcceptTests(SessionCase):
    async def test_a_transaction_is_committed_then_answered_with_its_id(self) -> None:
        client = await self._begin()
        client.say(*MAIL)
        lines = await client.heard(5)
        self.assertEqual("354", lines[-1][:3])
        client.say("Subject: x", "", "..dot", ".")
        lines = await client.heard(6)
        [queue_id] = self.front.bench.listed()
        self.assertEqual(f"250 2.0.0 queued as {queue_id}", lines[-1])
        [content] = await self.front.contents()
        received, _, rest = content.partition(b"Subject:")
        self.assertEqual(b" x\r\n\r\n.dot\r\n", rest)
        self.assertTrue(received.startswith(b"Received: from client.example ([127.0.0.1])"))
        self.assertIn(queue_id.encode(), received)
        self.assertIn(b"for <r@example.org>", received)
        self.assertEqual(["Connected", "Accepted"], self.front.bench.told()[:2])

    async def test_content_of_eight_bits_is_that_whatever_mail_said_of_it(self) -> None:
        """A host that offers 8BITMIME is to know what comes (RFC 6152 3)."""
        client = await self._begin()
        for said in ("", " BODY=7BIT"):
            for line in ("Grüße", "x"):
                client.say(f"{MAIL[0]}{said}", *MAIL[1:], "Subject: x", "", line, ".")
        await client.heard(2 + 16)
        bodies = []
        for accepted in [n for n in self.front.bench.notices if isinstance(n, Accepted)]:
            [work] = await self.front.bench.store.works([accepted.queue_id])
            bodies.append(work.message.envelope.body)
        self.assertEqual(["8BITMIME", "", "8BITMIME", "7BIT"], bodies)

    async def test_pipelined_transactions_in_one_write_are_answered_in_order(self) -> None:
        client = await self._begin()
        one = (*MAIL, "x", ".")
        client.say(*one, *one, "NOOP", "QUIT")
        lines = await client.heard(12)
        codes = [line[:3] for line in lines[2:]]
        self.assertEqual(["250", "250", "354", "250"] * 2 + ["250", "221"], codes)
        await client.gone
        self.assertEqual(2, len(self.front.bench.listed()))

    async def test_a_client_that_goes_in_mid_content_leaves_nothing(self) -> None:
        client = await self._begin()
        client.say(*MAIL, "half a mess")
        await client.heard(5)
        client.transport.loseConnection()
        await client.gone
        await self.front.listener.close()
        left = self.front.factory.leave()
        await left
        self.assertEqual({}, self.front.bench.listed())
        self.assertIsInstance(self.front.bench.notices[-1], Disconnected)


class RefuseTests(SessionCase):
    async def test_a_stranger_relays_nothing(self) -> None:
        client = await self._begin(networks=("192.0.2.0/24",))
        client.say(*MAIL)
        lines = await client.heard(5)
        self.assertEqual(["250", "550", "5"], [lines[2][:3], lines[3][:3], lines[4][0]])
        [rejected, _] = [n for n in self.front.bench.notices if isinstance(n, Rejected)]
        self.assertEqual(("RCPT", "r@example.org"), (rejected.command, rejected.recipient))

    async def test_whose_mail_it_was_is_told(self) -> None:
        client = await self._begin(max_message_size="64K", max_errors=100)
        client.say(
            "MAIL <x@y>", "MAIL FROM:<a@example.net>", "RCPT TO:<x@nowhere.example>", "RCPT x"
        )
        client.say("RSET", "RCPT TO:<r@example.org>", *MAIL, *["x" * 70] * 1000, ".", "DATA", "XYZ")
        await client.heard(14)
        self.front.has_space = False
        client.say("MAIL FROM:<>")
        await client.heard(15)
        told = [n for n in self.front.bench.notices if isinstance(n, Rejected)]
        self.assertEqual(
            [
                ("MAIL", None),
                ("RCPT", "a@example.net"),
                ("RCPT", "a@example.net"),
                ("RCPT", None),
                ("DATA", "s@example.net"),
                ("DATA", None),
                ("?", None),
                ("MAIL", ""),
            ],
            [(each.command, each.reverse_path) for each in told],
        )

    async def test_too_large_is_refused_and_the_session_goes_on(self) -> None:
        client = await self._begin(max_message_size="64K")
        client.say(*MAIL, *["x" * 70] * 1000, ".")
        lines = await client.heard(6)
        self.assertEqual("552 5.3.4", lines[-1][:9])
        client.say("NOOP")
        self.assertEqual("250", (await client.heard(7))[-1][:3])
        self.assertEqual({}, self.front.bench.listed())

    async def test_a_message_that_goes_in_a_circle(self) -> None:
        client = await self._begin(max_received=30)
        client.say(*MAIL, *["Received: from a by b; date"] * 31, "", "x", ".")
        self.assertEqual("554 5.4.6", (await client.heard(6))[-1][:9])
        self.assertEqual({}, self.front.bench.listed())

    async def test_no_space(self) -> None:
        client = await self._begin()
        self.front.has_space = False
        client.say(MAIL[0])
        self.assertEqual("452 4.3.1", (await client.heard(3))[-1][:9])

    async def test_a_store_that_is_ill(self) -> None:
        from twisted.internet.defer import fail

        from relay.queue.store import StoreFailed

        client = await self._begin()
        self.front.bench.store.insert = lambda new: fail(StoreFailed("secret path"))
        client.say(*MAIL, "x", ".")
        last = (await client.heard(6))[-1]
        self.assertEqual("451 4.3.0", last[:9])
        self.assertNotIn("secret", last)

    async def test_smuggling_characters_close_the_session(self) -> None:
        client = await self._begin()
        client.say(*MAIL, "a\rb", ".")
        self.assertEqual("550 5.6.11", (await client.heard(6))[-1][:10])
        await client.gone

    async def test_too_many_errors(self) -> None:
        client = await self._begin(max_errors=3)
        client.say("NONSENSE", "NONSENSE", "NONSENSE", "NONSENSE")
        lines = await client.heard(6)
        self.assertEqual("421", lines[5][:3])
        await client.gone

    async def test_refusals_are_held_back_from_half_of_them_on(self) -> None:
        client = await self._begin(max_errors=4, error_delay=3600.0)
        client.say("NONSENSE", "NONSENSE", "NONSENSE", "NOOP")
        self.assertEqual(["500", "500"], [line[:3] for line in (await client.heard(4))[2:]])
        client.say("NOOP")
        held_back = await self._held_back()
        self.assertEqual(4, len(client.lines()), "nor is what was pipelined behind it obeyed")
        held_back.reset(0)
        lines = await client.heard(7)
        self.assertEqual(["500", "250", "250"], [line[:3] for line in lines[4:]])

    async def test_one_who_leaves_while_a_refusal_is_held_back(self) -> None:
        """No timer stays behind, or this test ends with an error."""
        client = await self._begin(max_errors=3, error_delay=3600.0)
        client.say(MAIL[0], *("RCPT TO:<a@nowhere.example>",) * 2)
        await client.heard(4)
        await self._held_back()
        client.transport.loseConnection()
        await client.gone
        await self.front.stop()

    async def _held_back(self) -> Any:
        """The timer, once there is one."""
        [session] = self.front.factory._sessions
        while session._held_back is None:
            await deferLater(reactor, 0.001, lambda: None)
        return session._held_back

    async def test_refused_recipients_are_forgiven_by_a_message(self) -> None:
        client = await self._begin(max_errors=3)
        wrong = ("RCPT TO:<a@nowhere.example>",) * 2
        for round_ in range(1, 4):
            client.say(MAIL[0], *wrong, *MAIL[1:], "x", ".")
            self.assertEqual("250", (await client.heard(2 + 6 * round_))[-1][:3])


class EndTests(SessionCase):
    async def test_nothing_of_it_is_left_for_the_collector(self) -> None:
        """What a session holds in a circle would be searched for, for each client that connects."""
        gc.collect()
        client = await self._begin()
        self.assertEqual([1, 1], self._left())
        gc.disable()
        self.addCleanup(gc.enable)
        client.say(*MAIL, "x", ".", "QUIT")
        await client.gone
        while self.front.factory.session_count:
            await deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]
        await deferLater(reactor, 0, lambda: None)  # type: ignore[arg-type]
        self.assertEqual([0, 0], self._left())

    @staticmethod
    def _left() -> list[int]:
        count = Counter(type(each) for each in gc.get_objects())
        return [count[InboundProtocol], count[Stream]]


class SlowPlaces:
    """Decides when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Taken] = []
        self.taken: Counter[str] = Counter()

    def take(self, key: str, total: int, taken: Taken) -> None:
        def decide(had: bool) -> None:
            self.taken[key] += had
            taken(had)

        self.asked.append(decide)

    def give(self, key: str) -> None:
        self.taken[key] -= 1

    def decide(self, had: bool) -> None:
        self.asked.pop(0)(had)


class AdmissionCase(SessionCase):
    async def _waiting(self, **keys: object) -> tuple[SlowPlaces, Client]:
        places = SlowPlaces()
        self.front = Front(places=places, **keys)  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        client = await self.front.connect()
        client.say("EHLO early")
        await self._until(lambda: len(places.asked) == 1)
        return places, client

    async def _until(self, holds: Callable[[], bool]) -> None:
        for _ in range(500):
            if holds():
                return
            await deferLater(reactor, 0.01)
        self.fail("it never came to that")


class AdmissionTests(AdmissionCase):
    """Places that are asked of another process."""

    async def test_nothing_is_said_before_and_all_is_answered_after(self) -> None:
        places, client = await self._waiting()
        places.decide(True)
        await deferLater(reactor, 0.02)
        self.assertEqual([], client.lines())
        places.decide(True)
        lines = await client.heard(2)
        self.assertEqual(["220", "250"], [line[:3] for line in lines[:2]])
        client.say("QUIT")
        await client.gone
        await self._until(lambda: not places.taken.total())

    async def test_no_place_at_the_listener(self) -> None:
        places, client = await self._waiting()
        places.decide(False)
        self.assertEqual("421 4.7.0 Too many connections, try", (await client.heard(1))[0][:35])
        await client.gone
        (notice,) = self.front.bench.notices
        self.assertIsInstance(notice, Rejected)

    async def test_no_place_for_this_client_gives_the_other_one_back(self) -> None:
        places, client = await self._waiting()
        places.decide(True)
        places.decide(False)
        self.assertIn("from your address", (await client.heard(1))[0])
        await client.gone
        self.assertEqual(0, places.taken.total())

    async def test_a_session_that_ended_meanwhile_keeps_none(self) -> None:
        places, client = await self._waiting(idle_timeout="1s")
        self.assertEqual("421 4.4.2", (await client.heard(1))[0][:9])
        await client.gone
        places.decide(True)
        places.decide(True)
        self.assertEqual(0, places.taken.total())
        self.assertEqual([], self.front.bench.notices)


class LimitTests(SessionCase):
    async def test_connections_of_all_clients(self) -> None:
        first = await self._begin(max_connections=1)
        second = await self.front.connect()
        self.assertEqual("421 4.7.0", (await second.heard(1))[0][:9])
        await second.gone
        first.say("QUIT")
        await first.gone
        third = await self.front.connect()
        self.assertEqual("220", (await third.heard(1))[0][:3])

    async def test_connections_of_one_client(self) -> None:
        await self._begin(max_connections_per_client=1)
        second = await self.front.connect()
        self.assertEqual("421 4.7.0", (await second.heard(1))[0][:9])
        await second.gone

    async def test_a_silent_client_is_shown_the_door(self) -> None:
        client = await self._begin(idle_timeout="1s")
        self.assertEqual("421 4.4.2", (await client.heard(3))[-1][:9])
        await client.gone

    async def test_who_is_shown_the_door_while_waiting_for_us_has_no_more_time_than_others(
        self,
    ) -> None:
        """One that does not close, as under TLS it should, when nobody knows when we are ready."""
        places = SlowPlaces()
        self.front = Front(places=places, xclient_from=("127.0.0.1/32",))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.front.stop()))
        session = self.front.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9))
        transport = StringTransport()
        session.makeConnection(transport)
        self.addCleanup(session.connectionLost)
        places.decide(True)
        places.decide(True)
        session.dataReceived(b"XCLIENT ADDR=192.0.2.7\r\n")
        session.leave()
        self.assertTrue(transport.disconnecting)
        now = reactor.seconds()  # type: ignore[attr-defined]
        session.judge_time(now)
        self.assertFalse(transport.disconnected)
        session.judge_time(now + LAST_WORD_TIMEOUT)
        self.assertTrue(transport.disconnected)

    async def test_leaving_closes_the_idle_and_waits_for_content(self) -> None:
        client = await self._begin()
        idle = await self.front.connect()
        await idle.heard(1)
        client.say(*MAIL)
        await client.heard(5)
        left = self.front.factory.leave()
        self.assertEqual("421 4.3.2", (await idle.heard(2))[-1][:9])
        self.assertNoResult(left)
        client.say("x", ".")
        lines = await client.heard(7)
        self.assertEqual(["250", "421"], [lines[-2][:3], lines[-1][:3]])
        await left
