"""Upstreams that mean harm: nothing they say is taken for an acceptance, fills memory or lasts.

The first host is the hostile one. The mail goes to the second in the same attempt, or waits;
never is it lost, and never told as relayed by words that were said too early.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress as ignoring
from dataclasses import dataclass

from relay.mail.outcome import Delayed, Failed, Relayed
from relay.smtp.replies import MAX_BUFFERED
from relay.testing.upstream import OK, Act
from tests.outbound.case import DeliveryCase
from tests.outbound.test_line import LineCase

GIGABYTE = 1 << 30

SOCKET_BUFFERS = 16 << 20
"""Octets that the kernel takes though nobody reads them, at the most."""

EVERYTHING = b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 accepted\r\n"
"""All the replies of a transaction, before any command."""


@dataclass
class Pouring:
    """Says `greeting`, then `octets` again and again until it is cut off."""

    greeting: bytes
    octets: bytes
    port: int = 0
    sent: int = 0

    is_lmtp = False

    def listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with ignoring(OSError):
            while True:
                session, _ = self._listener.accept()
                with ignoring(OSError), session:
                    session.settimeout(30)
                    session.sendall(self.greeting)
                    while self.sent < GIGABYTE:
                        session.sendall(self.octets)
                        self.sent += len(self.octets)

    def stop(self) -> None:
        self._listener.close()


class EndlessTests(DeliveryCase):
    async def test_each(self):
        for greeting, octets in _endless():
            with self.subTest(greeting=greeting, octets=octets[:20]):
                bad = Pouring(greeting, octets)
                bad.listen()
                self.addCleanup(bad.stop)
                good = self.upstream()
                attempt = await self.deliver(self.delivery(bad, good), "a@x.test")
                self.assert_kinds(attempt, Relayed)
                self.assertEqual(len(good.transactions), 1)
                self.assertLess(bad.sent, MAX_BUFFERED + SOCKET_BUFFERS)


def _endless() -> Iterator[tuple[bytes, bytes]]:
    """A line, lines of one reply, replies, each as the greeting, as the reply to EHLO and later."""
    for begin in (b"", b"220 x\r\n"):
        yield begin, b"2" * 65536
        yield begin, b"\0" * 65536
        yield begin, b"\xff\xfe" * 32768
        yield begin, b"250-" + b"x" * 65532
        yield begin, b"250-SIZE\r\n" * 6000
        yield begin, b"250-\n" * 6000
        yield begin, b"250 ok\r\n" * 6000
        yield begin, b"\r\n" * 30000
    yield EVERYTHING, b"250 ok\r\n" * 6000


class WrongRepliesTests(DeliveryCase):
    """Said at the wrong time, with the wrong code, or in the wrong shape."""

    async def relayed_by_the_second(self, script, **upstream):
        bad, good = self.upstream(script, **upstream), self.upstream()
        attempt = await self.deliver(self.delivery(bad, good), "a@x.test", "b@x.test")
        self.assert_kinds(attempt, Relayed, Relayed)
        for outcome in attempt.outcomes.values():
            self.assertIn(f":{good.port}", outcome.host, script)
        self.assertEqual(len(good.transactions), 1, script)

    async def test_all_the_replies_before_the_commands(self):
        await self.relayed_by_the_second({"connect": EVERYTHING})
        await self.relayed_by_the_second({"ehlo": EVERYTHING[7:]})
        await self.relayed_by_the_second({"connect": b"220 x\r\n250 early\r\n"})

    async def test_an_acceptance_before_the_final_dot(self):
        """It came before the content was there, so it accepts nothing."""
        for data in (b"354 go\r\n250 2.0.0 accepted\r\n", b"250 2.0.0 accepted\r\n"):
            bad = self.upstream({"data": data, "dot": OK})
            attempt = await self.deliver(self.delivery(bad), "a@x.test")
            kinds = {type(outcome) for outcome in attempt.outcomes.values()}
            self.assertFalse(kinds & {Relayed, Failed}, data)
            self.assertTrue(attempt.site or attempt.outcomes)

    async def test_codes_that_cannot_be(self):
        for step in ("connect", "ehlo", "mail", "rcpt", "data"):
            for reply in (
                b"354 go\r\n",
                b"199 x\r\n",
                b"600 x\r\n",
                b"000 x\r\n",
                b"22\r\n",
                b"2500 x\r\n",
                b"-250 x\r\n",
                b"250x\r\n",
                b"\xb2\xb5\xb0 x\r\n",
                b"250-a\r\n550 b\r\n",
                b"SSH-2.0-x\r\n",
                b"HTTP/1.1 200 OK\r\n",
                b"\r\n",
            ):
                if (step, reply[:3]) == ("data", b"354"):
                    continue
                with self.subTest(step=step, reply=reply):
                    await self.relayed_by_the_second({step: reply})

    async def test_a_final_reply_that_is_none_is_not_taken_for_one(self):
        for reply in (b"354 go\r\n", b"2\r\n", b"250-half", b"25", b"HTTP/1.1 200 OK\r\n"):
            with self.subTest(reply=reply):
                bad = self.upstream({"dot": reply if reply[-1:] == b"\n" else reply + b"\r\n"})
                delivery = self.delivery(bad, timeouts={"final": "1s"})
                attempt = await self.deliver(delivery, "a@x.test")
                self.assert_kinds(attempt, Delayed)

    async def test_replies_without_end_at_each_step(self):
        """After the final dot nobody knows what became of the mail."""
        for reply in (b"2" * 500_000, b"250-" + b"x" * 500_000, b"250-ok\r\n" * 60_000):
            for step in ("mail", "rcpt", "data"):
                with self.subTest(step=step, reply=reply[:10]):
                    await self.relayed_by_the_second({step: reply})
            with self.subTest(step="dot", reply=reply[:10]):
                attempt = await self.deliver(
                    self.delivery(self.upstream({"dot": reply})), "a@x.test"
                )
                self.assert_kinds(attempt, Delayed)
                self.assertTrue(attempt.outcomes[1].is_unknown)

    async def test_bare_line_feeds_are_line_ends(self):
        """As real servers send them; one reply more or less is still told apart."""
        good = self.upstream({"mail": b"250 2.1.0 ok\n", "dot": b"250 2.0.0 ok\n"})
        self.assert_kinds(await self.deliver(self.delivery(good), "a@x.test"), Relayed)
        await self.relayed_by_the_second({"mail": b"250 ok\n250 one too many\n250 and more\n"})

    async def test_keywords_made_to_hurt(self):
        """They change nothing but what they say, or nothing at all."""
        for keywords in (
            ("SIZE " + "9" * 400, "PIPELINING"),
            ("SIZE -1",),
            ("SIZE 1e9", "SIZE", "SIZE 0x10"),
            ("LIMITS RCPTMAX=0 MAILMAX=0",),
            ("LIMITS RCPTMAX=-1 MAILMAX=99999999999999999999",),
            ("LIMITS " + "RCPTMAX=1 " * 150,),
            ("AUTH " + "X" * 1500,),
            ("\x1b[2J", "PIPELINING\0", "8BITMIME\t"),
            tuple(f"X{number}" for number in range(290)),
            ("STARTTLS STARTTLS",),
            ("XCLIENT " + "NAME " * 300, "XFORWARD"),
        ):
            with self.subTest(keywords[0][:30]):
                up, good = self.upstream(keywords=keywords), self.upstream()
                attempt = await self.deliver(self.delivery(up, good), "a@x.test", "b@x.test")
                self.assert_kinds(attempt, Relayed, Relayed)

    async def test_a_tiny_size_is_a_refusal(self):
        """Of that one host: told before anything is sent."""
        up, good = self.upstream(keywords=("SIZE 1",)), self.upstream()
        attempt = await self.deliver(self.delivery(up, good), "a@x.test")
        self.assert_kinds(attempt, Relayed)
        self.assertEqual([], up.transactions)


class ProxiedTests(LineCase):
    """The client hears the upstream's word on its own commands, and nothing that came before."""

    async def test_all_the_replies_before_the_commands(self):
        for step in ("mail", "rcpt", "data"):
            early = b"354 go\r\n" if step == "data" else b"250 2.0.0 ok\r\n"
            for more in (b"250 2.0.0 accepted\r\n", EVERYTHING[7:]):
                with self.subTest(step=step, more=more):
                    up = self.upstream({step: early + more, "dot": Act.STALL})
                    line = self.line(up, timeouts={"final": "1s"})
                    self.assertEqual(451, await self.last_code(line))
                    self.assertEqual([], up.accepted)

    async def test_an_acceptance_in_the_place_of_354(self):
        up = self.upstream({"data": "250 2.0.0 accepted"})
        self.assertEqual(451, await self.last_code(self.line(up)))
        self.assertEqual([], up.transactions)

    async def last_code(self, line) -> int:
        for request in (self.mail, self.rcpt, self.data, self.end_of_content):
            answer = await request(line)
            if answer.code >= 400:
                break
        return answer.code


class StartTlsTests(DeliveryCase):
    async def test_replies_injected_behind_220(self):
        """Said in plain text by whoever stands between: no handshake, no mail by it."""
        for injected in (b"250 x\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"\x16\x03\x01"):
            with self.subTest(injected):
                script = {"starttls": b"220 go on\r\n" + injected}
                bad = self.upstream(script, keywords=("PIPELINING", "STARTTLS"))
                good = self.upstream()
                delivery = self.delivery(bad, good, tls="opportunistic")
                attempt = await self.deliver(delivery, "a@x.test")
                self.assert_kinds(attempt, Relayed)
                for seen in bad.transactions:
                    self.assertFalse(seen.is_tls)

    async def test_required_is_not_talked_out_of(self):
        """Keyword struck out, or the command refused: the mail waits."""
        for script, keywords in (
            ({}, ("PIPELINING",)),
            ({"starttls": "454 4.7.0 no"}, ("STARTTLS",)),
        ):
            up = self.upstream(script, keywords=keywords)
            attempt = await self.deliver(self.delivery(up, tls="required"), "a@x.test")
            self.assertIsNotNone(attempt.site)
            self.assertEqual([], up.transactions)
