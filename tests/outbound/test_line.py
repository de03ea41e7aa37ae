"""A line: an upstream session lent to one client, step by step; each way that a step can end."""

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from relay.mail.envelope import Envelope, Origin, Recipient
from relay.mail.reply import Reply
from relay.outbound.line import GATHERED, Line
from relay.testing.upstream import KEYWORDS, OK, Act, ScriptedUpstream
from tests.outbound.case import DeliveryCase

CHUNKING = (*KEYWORDS, "CHUNKING")
ONE = Envelope("sender@y.test", ())
CLIENT = Origin("lan", "192.0.2.1:1", "client.example")


class Producer:
    """Whoever sends the content; keeps whether it may."""

    def __init__(self) -> None:
        self.is_paused = False
        self.pauses = 0

    def pauseProducing(self) -> None:
        self.is_paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        self.is_paused = False

    def stopProducing(self) -> None:
        return


class LineCase(DeliveryCase):
    def line(self, *upstreams: ScriptedUpstream, **settings: Any) -> Line:
        self.outbound = self.delivery(*upstreams, **settings)
        line = self.outbound.line("up")
        self.addCleanup(line.close)
        return line

    def asked(self, request: Any, *arguments: Any, **more: Any) -> Deferred[Reply]:
        """The answer to a request; a second one would be an error."""
        answer: Deferred[Reply] = Deferred()
        request(*arguments, answer.callback, **more)
        return answer.addTimeout(10, reactor)

    def mail(self, line: Line, envelope: Envelope = ONE, size: int = 0, wait: float = 5) -> Any:
        return self.asked(line.mail, envelope, size, wait, CLIENT)

    def rcpt(self, line: Line, path: str = "a@x.test") -> Any:
        return self.asked(line.rcpt, Recipient(1, path))

    def data(self, line: Line, *, wants_chunks: bool = False) -> Any:
        self.producer = Producer()
        return self.asked(line.data, self.producer, wants_chunks=wants_chunks)

    def end(self, line: Line) -> Any:
        return self.asked(line.end)

    async def up_to(self, line: Line, step: str, *, wants_chunks: bool = False) -> Reply:
        """The answer to that step, all before it accepted."""
        requests = {
            "mail": self.mail,
            "rcpt": self.rcpt,
            "data": lambda line: self.data(line, wants_chunks=wants_chunks),
            "dot": self.end_of_content,
        }
        for name, request in requests.items():
            answer: Reply = await request(line)
            if name == step:
                return answer
            self.assertLess(answer.code, 400, (name, answer))
        raise AssertionError(step)

    def end_of_content(self, line: Line) -> Any:
        line.send(b"Subject: x\r\n\r\n")
        line.send(b".dot\r\n")
        return self.end(line)

    async def fill(self, line: Line) -> None:
        """Until no more is taken."""
        for _ in range(1000):
            line.send(b"x" * 65534 + b"\r\n")
            if self.producer.is_paused:
                return
            await self.pause(0)
        self.fail("all was taken")

    def said(self, answer: Reply) -> str:
        return f"{answer.code} {answer.status} {' '.join(answer.lines)}"


STEPS = ("mail", "rcpt", "data", "dot")


class RepliesTests(LineCase):
    async def test_accepted_and_the_session_is_kept(self) -> None:
        up = self.upstream({"dot": "250 2.6.0 kept as 7"})
        line = self.line(up)
        for _ in range(2):
            answer = await self.up_to(line, "dot")
            self.assertEqual("250 2.6.0 kept as 7", self.said(answer))
            line.rest()
        self.assertEqual([b"Subject: x\r\n\r\n.dot\r\n"] * 2, [t.content for t in up.accepted])
        self.assertEqual((1, 0), (len(up.sessions), up.commands.count("RSET")))
        self.assertIn(str(up.port), line.label)

    async def test_refused_at_each_step_in_the_upstreams_words(self) -> None:
        for step in STEPS:
            for words in ("451 4.7.1 greylisted", "554 5.7.1 not this one"):
                up = self.upstream({step: [words, OK if step != "data" else "354 go on"]})
                line = self.line(up)
                self.assertEqual(words, self.said(await self.up_to(line, step)))
                line.rest()
                self.assertEqual(250, (await self.up_to(line, "dot")).code)
                self.assertEqual(1, len(up.sessions))

    async def test_data_may_come_again_where_it_was_refused(self) -> None:
        """The transaction goes on then (RFC 5321 3.3), and nobody has to say RSET."""
        for wants_chunks in (False, True):
            up = self.upstream({"data": ["451 4.3.0 not now", "354 go on"]}, keywords=CHUNKING)
            line = self.line(up)
            self.assertEqual("451 4.3.0 not now", self.said(await self.up_to(line, "data")))
            self.assertEqual(354, (await self.data(line, wants_chunks=wants_chunks)).code)
            self.assertEqual(250, (await self.end_of_content(line)).code)
            self.assertEqual((1, 1), (len(up.sessions), len(up.accepted)))

    async def test_recipient_by_recipient(self) -> None:
        up = self.upstream({"rcpt:bad@*": "550 5.1.1 no", "rcpt:far@*": "251 2.1.5 forwarded"})
        line = self.line(up)
        await self.up_to(line, "mail")
        codes = [(await self.rcpt(line, f"{path}@x.test")).code for path in ("bad", "far", "one")]
        self.assertEqual([550, 251, 250], codes)
        await self.data(line)
        await self.end_of_content(line)
        self.assertEqual(["far@x.test", "one@x.test"], up.accepted[0].forward_paths)

    async def test_a_reply_without_a_status_gets_one(self) -> None:
        up = self.upstream({"mail": "250 fine", "rcpt": "550 no"})
        line = self.line(up)
        self.assertEqual("250 2.0.0 fine", self.said(await self.up_to(line, "mail")))
        self.assertEqual("550 5.0.0 no", self.said(await self.rcpt(line)))

    async def test_421_is_451_to_the_client_and_a_new_session_comes_next(self) -> None:
        for step in STEPS:
            up = self.upstream({step: ["421 4.3.2 closing", "354 go" if step == "data" else OK]})
            line = self.line(up)
            self.assertEqual("451 4.3.2 closing", self.said(await self.up_to(line, step)))
            line.rest()
            self.assertEqual(250, (await self.up_to(line, "dot")).code)
            self.assertEqual(2, len(up.sessions))

    async def test_a_transaction_that_was_given_up_is_reset(self) -> None:
        up = self.upstream()
        line = self.line(up)
        await self.up_to(line, "rcpt")
        line.rest()
        await self.up_to(line, "dot")
        self.assertEqual(
            (1, ["a@x.test"]), (up.commands.count("RSET"), up.accepted[0].forward_paths)
        )


class SessionTests(LineCase):
    """Whether one can be had, and for how long it is kept."""

    async def test_no_host_answers(self) -> None:
        up, other = self.upstream(), self.upstream()
        line = self.line(up, other)
        await up.stop()
        await other.stop()
        self.assertEqual("451 4.4.1", self.said(await self.mail(line))[:9])
        self.assertIn("refused", line.trouble)

    async def test_the_next_host_where_one_fails(self) -> None:
        for trouble in (Act.DROP, "554 5.3.2 not here", "421 4.3.2 busy", b"HTTP/1.1 400\r\n"):
            bad, up = self.upstream({"connect": trouble}), self.upstream()
            line = self.line(bad, up)
            self.assertEqual(250, (await self.up_to(line, "dot")).code)
            self.assertEqual(1, len(up.accepted))

    async def test_none_is_free_in_time(self) -> None:
        up = self.upstream()
        line = self.line(up, max_connections=1)
        await self.up_to(line, "rcpt")
        other = self.outbound.line("up")
        self.assertEqual("451 4.4.5", self.said(await self.mail(other, wait=0.1))[:9])
        line.rest()  # unused now: it goes to who needs it
        self.assertEqual(250, (await self.up_to(other, "dot")).code)
        other.rest()
        self.assertEqual(250, (await self.up_to(line, "dot")).code)
        self.assertEqual(1, len(up.sessions))

    async def test_closed_while_it_waits_for_one(self) -> None:
        up = self.upstream()
        line = self.line(up, max_connections=1)
        await self.up_to(line, "mail")
        other = self.outbound.line("up")
        answer = self.mail(other)
        other.close()
        line.close()
        await self.pause(0.05)
        self.assertNoResult(answer)
        self.assertEqual(0, self.outbound.status()[0]["pending"])
        answer.addErrback(lambda _: None)
        answer.cancel()

    async def test_recalled_when_unused_for_too_long(self) -> None:
        up = self.upstream()
        line = self.line(up, idle_timeout="0.2s")
        await self.up_to(line, "dot")
        line.rest()
        await up.when(lambda: not up.open_sessions)
        self.assertEqual("QUIT", up.commands[-1])
        self.assertEqual(250, (await self.up_to(line, "dot")).code)

    async def test_not_kept_once_it_is_worn(self) -> None:
        up = self.upstream()
        line = self.line(up, max_messages_per_connection=1)
        for _ in range(2):
            await self.up_to(line, "dot")
            line.rest()
        self.assertEqual(2, len(up.sessions))

    async def test_each_message_waits_for_its_turn(self) -> None:
        """Also on a session that is there; and to ask what a host offers is no message."""
        up = self.upstream()
        line = self.line(up, max_rate="1/h")
        self.outbound.learn("up")
        await self.until(lambda: bool(self.outbound.extensions("up")))
        self.assertEqual(250, (await self.up_to(line, "dot")).code)
        line.rest()
        self.assertEqual("451 4.4.5", self.said(await self.mail(line, wait=0.1))[:9])
        self.assertEqual((1, 1), (len(up.sessions), len(up.accepted)))
        paced = self.line(up, max_rate="1000/s")
        for _ in range(3):
            self.assertEqual(250, (await self.up_to(paced, "dot")).code)
            paced.rest()
        self.assertEqual(2, len(up.sessions))

    async def test_a_stale_session_is_replaced_unseen_once(self) -> None:
        up = self.upstream({"mail": [OK, Act.DROP, OK]})
        line = self.line(up)
        for _ in range(2):
            self.assertEqual(250, (await self.up_to(line, "dot")).code)
            line.rest()
        self.assertEqual((2, 2), (len(up.sessions), len(up.accepted)))

    async def test_lost_on_a_fresh_session_is_told(self) -> None:
        up = self.upstream({"mail": Act.DROP})
        line = self.line(up)
        self.assertEqual("451 4.4.2", self.said(await self.mail(line))[:9])
        self.assertEqual(1, len(up.sessions))

    async def test_while_the_relay_stops(self) -> None:
        up = self.upstream({"dot": Act.HOLD})
        line = self.line(up)
        await self.up_to(line, "data")
        answer = self.end_of_content(line)
        stopped = self.outbound.stop(0)
        self.assertEqual("451 4.4.2", self.said(await answer)[:9])
        self.assertEqual("451 4.3.2", self.said(await self.mail(line))[:9])
        await stopped

    async def test_what_the_upstream_lacks(self) -> None:
        up = self.upstream(keywords=("SIZE 10",))
        line = self.line(up)
        for envelope, size, status in (
            (Envelope("a@x", (), "8BITMIME"), 0, "451 4.6.3"),
            (Envelope("jürg@x", (), smtputf8=True), 0, "451 4.6.7"),
            (ONE, 11, "552 5.3.4"),
        ):
            answer = await self.mail(line, envelope, size)
            self.assertEqual(status, self.said(answer)[:9])
            line.rest()
        self.assertEqual(250, (await self.up_to(line, "dot")).code)

    async def test_requests_that_cannot_be_passed_on(self) -> None:
        line = self.line(self.upstream())
        await self.up_to(line, "mail")
        self.assertEqual("451 4.3.0", self.said(await self.rcpt(line, "jürg@x.test"))[:9])
        self.assertEqual(250, (await self.rcpt(line)).code)


class LostTests(LineCase):
    async def test_at_each_step_and_used_again(self) -> None:
        for step in ("rcpt", "data", "content", "dot"):
            for act in (Act.DROP, Act.RESET):
                up = self.upstream({step: act})
                line = self.line(up)
                answer = await self.up_to(line, "dot" if step == "content" else step)
                self.assertEqual("451 4.4.2", self.said(answer)[:9])
                self.assertIn(str(up.port), line.trouble)
                del up.script[step]
                line.rest()
                self.assertEqual(250, (await self.up_to(line, "dot")).code)
                self.assertEqual(1, len(up.accepted))

    async def test_stalled_at_each_step(self) -> None:
        quick = dict.fromkeys(("mail", "rcpt", "data", "block", "final"), "0.2s")
        for step in STEPS:
            up = self.upstream({step: Act.STALL})
            line = self.line(up, timeouts=quick)
            self.assertEqual("451 4.4.2", self.said(await self.up_to(line, step))[:9])
            self.assertIn("no answer for 0.2 s", line.trouble)
            self.assertEqual([], up.accepted)

    async def test_a_stale_session_is_not_replaced_once_a_recipient_was_passed_on(self) -> None:
        up = self.upstream({"rcpt": [OK, Act.DROP]})
        line = self.line(up)
        await self.up_to(line, "dot")
        line.rest()
        self.assertEqual("451 4.4.2", self.said(await self.up_to(line, "rcpt"))[:9])
        self.assertEqual(1, len(up.sessions))

    async def test_the_next_transaction_goes_to_the_next_host(self) -> None:
        bad, up = self.upstream({"rcpt": Act.DROP}), self.upstream()
        line = self.line(bad, up)
        self.assertEqual("451 4.4.2", self.said(await self.up_to(line, "rcpt"))[:9])
        self.assertEqual(250, (await self.up_to(line, "dot")).code)
        self.assertEqual((1, 1), (len(bad.sessions), len(up.accepted)))

    async def test_closed_while_nothing_is_under_way_it_says_nothing_of_the_host(self) -> None:
        """Any host closes what is idle for too long; in the midst of a transaction none should."""
        for is_over, skipped in ((True, [False, False]), (False, [True, False])):
            up = self.upstream()
            line = self.line(up, self.upstream())
            await self.up_to(line, "rcpt")
            if is_over:
                line.rest()
            up.sessions[0].transport.loseConnection()
            await self.until(lambda line=line: "idle" not in repr(line))
            self.assertEqual(skipped, [row["is_skipped"] for row in self.outbound.status()])

    async def test_content_that_is_not_taken(self) -> None:
        up = self.upstream()
        line = self.line(up, timeouts={"block": "1s"})
        await self.up_to(line, "data")
        up.sessions[0].transport.pauseProducing()
        await self.fill(line)
        await self.until(lambda: not self.producer.is_paused)  # to hear what became of it
        self.assertEqual("451 4.4.2", self.said(await self.end(line))[:9])
        self.assertIn("no answer for 1 s while the content was sent", line.trouble)

    async def test_after_it_was_lost_each_request_says_so(self) -> None:
        up = self.upstream({"rcpt": Act.DROP})
        line = self.line(up)
        await self.up_to(line, "rcpt")
        for request in (self.rcpt, self.data, self.end):
            self.assertEqual("451 4.4.2", self.said(await request(line))[:9])

    async def test_the_clients_time_is_not_the_upstreams(self) -> None:
        """It answered at once; that the client thinks for long is not its fault."""
        quick = dict.fromkeys(("mail", "rcpt", "data"), "0.2s")
        up = self.upstream()
        line = self.line(up, timeouts=quick)
        for request in (self.mail, self.rcpt, self.data):
            self.assertLess((await request(line)).code, 400)
            await self.pause(1.2)
        self.assertEqual(250, (await self.end_of_content(line)).code)


class ContentTests(LineCase):
    async def test_closed_in_the_midst_it_is_never_ended(self) -> None:
        for wants_chunks in (False, True):
            up = self.upstream(keywords=CHUNKING)
            line = self.line(up)
            await self.up_to(line, "data", wants_chunks=wants_chunks)
            line.send(b"half a mess\r\n" * GATHERED)
            await self.pause(0.05)
            line.close()
            await up.when(lambda up=up: not up.open_sessions)
            self.assertEqual([], up.transactions)

    async def test_by_chunks(self) -> None:
        for keywords in (CHUNKING, ("CHUNKING",)):
            up = self.upstream(keywords=keywords)
            line = self.line(up)
            answer = await self.up_to(line, "dot", wants_chunks=True)
            self.assertEqual(250, answer.code)
            self.assertTrue(up.accepted[0].is_chunked)
            self.assertEqual(b"Subject: x\r\n\r\n.dot\r\n", up.accepted[0].content)

    async def test_wanted_by_chunks_where_there_are_none(self) -> None:
        up = self.upstream()
        line = self.line(up)
        self.assertEqual(250, (await self.up_to(line, "dot", wants_chunks=True)).code)
        self.assertFalse(up.accepted[0].is_chunked)

    async def test_a_chunk_refused_answers_the_end(self) -> None:
        for keywords in (CHUNKING, ("CHUNKING",)):
            up = self.upstream(
                {"bdat": "552 5.3.4 too much", "dot": "503 5.5.1 no"}, keywords=keywords
            )
            line = self.line(up)
            answer = await self.up_to(line, "dot", wants_chunks=True)
            self.assertEqual("552 5.3.4 too much", self.said(answer))
            self.assertEqual([], up.accepted)

    async def test_refused_in_the_midst_of_the_content(self) -> None:
        up = self.upstream({"content": b"552 5.3.4 too much\r\n"})
        line = self.line(up)
        await self.up_to(line, "data")
        line.send(b"x\r\n" * GATHERED)
        await up.when(lambda: bool(up.sessions) and not up.open_sessions)
        await self.pause(0.01)
        self.assertEqual("552 5.3.4 too much", self.said(await self.end(line)))

    async def test_paused_while_the_upstream_takes_nothing(self) -> None:
        """And once it takes all again, its time does not run while the client thinks."""
        up = self.upstream()
        line = self.line(up, timeouts={"block": "3s"})
        await self.up_to(line, "data")
        up.sessions[0].transport.pauseProducing()
        await self.fill(line)
        up.sessions[0].transport.resumeProducing()
        await self.until(lambda: not self.producer.is_paused)
        await self.pause(4)
        self.assertEqual(250, (await self.end(line)).code)

    async def test_paused_while_a_chunk_is_not_answered(self) -> None:
        """Without PIPELINING the next one may not go out; it must not pile up here either."""
        up = self.upstream({"bdat": [Act.HOLD, OK]}, keywords=("CHUNKING",))
        line = self.line(up)
        await self.up_to(line, "data", wants_chunks=True)
        line.send(b"a" * GATHERED)
        line.send(b"b" * GATHERED)
        self.assertTrue(self.producer.is_paused)
        await up.when(lambda: up.commands[-1].startswith("BDAT"))
        await self.pause(0.1)  # till the chunk is there, too
        up.release()
        await self.until(lambda: not self.producer.is_paused)
        self.assertEqual(250, (await self.end(line)).code)
        self.assertEqual(b"a" * GATHERED + b"b" * GATHERED, up.accepted[0].content)

    async def test_a_chunk_that_is_never_answered(self) -> None:
        """The client has said all by then: nobody but the upstream can go on."""
        up = self.upstream({"bdat": [OK, Act.STALL]}, keywords=("CHUNKING",))
        line = self.line(up, timeouts={"block": "0.2s", "final": "0.2s"})
        await self.up_to(line, "data", wants_chunks=True)
        line.send(b"a" * GATHERED)
        line.send(b"b" * GATHERED)
        await self.until(lambda: not self.producer.is_paused)
        self.assertEqual("451 4.4.2", self.said(await self.end(line))[:9])
        self.assertIn("no answer for 0.2 s", line.trouble)

    async def test_small_content_goes_out_whole(self) -> None:
        up = self.upstream(keywords=CHUNKING)
        line = self.line(up)
        await self.up_to(line, "data", wants_chunks=True)
        line.send(b"a")
        line.send(b"b")
        self.assertEqual(250, (await self.end(line)).code)
        self.assertEqual(["BDAT 2", "BDAT 0 LAST"], up.commands[-2:])

    async def test_small_content_goes_with_its_end(self) -> None:
        up = self.upstream()
        line = self.line(up)
        await self.up_to(line, "data")
        sent: list[bytes] = []
        line._session.transport = Overheard(line._session.transport, sent)
        line.send(b"Received: here\r\n")
        line.send(b"\r\nhello\r\n")
        self.assertEqual([], sent)
        self.assertEqual(250, (await self.end(line)).code)
        self.assertEqual([b"Received: here\r\n\r\nhello\r\n.\r\n"], sent)


class Overheard:
    """A transport, and what was written there."""

    def __init__(self, transport: Any, sent: list[bytes]) -> None:
        self._transport = transport
        self._sent = sent

    def write(self, octets: bytes) -> None:
        self._sent.append(octets)
        self._transport.write(octets)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class ReprTests(LineCase):
    async def test_tells_the_state(self) -> None:
        line = self.line(self.upstream())
        self.assertEqual("<Line nowhere closed>", repr(line))
        answer = self.mail(line)
        self.assertEqual("<Line nowhere waiting>", repr(line))
        await answer
        self.assertRegex(repr(line), r"^<Line .*127\.0\.0\.1.* idle>$")
