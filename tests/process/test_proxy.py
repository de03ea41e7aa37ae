"""Proxy delivery in a whole relay: the upstream's words to the client, and nothing kept."""

import smtplib
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from relay.mail.trace import MAX_RECEIVED
from tests.process.child import free_port, wait_until
from tests.process.collector import DROP, HOLD, Collector
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.sending import SENDER, content, reset, send
from tests.process.through_relay import ThroughRelay


class ProxyCase(ThroughRelay):
    def proxy(
        self, main: Collector, *before: object, wait: str = "20s", **settings: object
    ) -> RelayProcess:
        """Everything to `main`, after the routes and upstreams of `before`."""
        upstreams = [fact for fact in before if "hosts" in fact]  # type: ignore[operator]
        routes = [fact for fact in before if "hosts" not in fact]  # type: ignore[operator]
        return self.relay(
            upstream("main", main.port, **settings),
            *upstreams,
            routes=[*routes, route("main", delivery="proxy", proxy_wait=wait)],
        )

    def session(self, relay: RelayProcess) -> smtplib.SMTP:
        session = smtplib.SMTP("127.0.0.1", relay.port, timeout=30)
        self.addCleanup(session.close)
        session.ehlo()
        return session

    def say(self, session: smtplib.SMTP, *commands: str) -> list[str]:
        """Each one's reply, "250 2.1.5 text"."""
        replies = []
        for command in commands:
            code, text = session.docmd(command)
            replies.append(f"{code} {text.decode()}")
        return replies


class RepliesTests(ProxyCase):
    def test_the_upstreams_own_reply_and_our_name_for_the_message(self) -> None:
        main = self.collector()
        main.answer("DOT", "250 2.6.0 kept as 4711")
        relay = self.proxy(main)
        session = self.session(relay)
        self.say(session, f"MAIL FROM:<{SENDER}>", "RCPT TO:<one@example.org>", "DATA")
        session.send(content("one") + b".\r\n")
        code, text = session.getreply()
        self.assertEqual(250, code)
        self.assertRegex(text.decode(), r"^2\.6\.0 kept as 4711 \[[0-9A-V]{13} via main\]$")
        (kept,) = main.kept
        self.assertTrue(kept.content.endswith(content("one")))
        self.assertTrue(kept.content.startswith(b"Received: from "))
        (accepted,) = relay.wait_for(1, "accepted")
        self.assertEqual("proxy", accepted["delivery"])
        relay.wait_for(1, "removed")
        self.assertEqual(
            ["accepted", "relayed", "removed"],
            [f["event"] for f in relay.facts() if f.get("queue_id") == accepted["queue_id"]],
        )
        self.assertEqual([], list(relay.spool.glob("0/content/*")))

    def test_recipient_by_recipient(self) -> None:
        main = self.collector()
        main.answer("RCPT", "550 5.1.1 nobody of that name", "*<bad@*")
        main.answer("RCPT", "452 4.2.2 full", "*<full@*")
        main.answer("RCPT", "251 2.1.5 will forward", "*<far@*")
        relay = self.proxy(main)
        session = self.session(relay)
        paths = ("one", "bad", "full", "far")
        replies = self.say(
            session,
            f"MAIL FROM:<{SENDER}>",
            *[f"RCPT TO:<{path}@example.org>" for path in paths],
        )
        self.assertEqual(
            [
                "250 2.1.0 ok",
                "250 2.1.5 ok",
                "550 5.1.1 nobody of that name",
                "452 4.2.2 full",
                "251 2.1.5 will forward",
            ],
            replies,
        )
        session.data(content("x"))
        self.assertEqual(["one@example.org", "far@example.org"], main.kept[0].recipients)
        self.assertEqual(2, len(relay.wait_for(2, "rejected", command="RCPT")))

    def test_refused_at_each_step(self) -> None:
        for step in ("MAIL", "RCPT", "DATA", "DOT"):
            for refusal in ("451 4.7.1 greylisted", "554 5.7.1 not this one"):
                with self.subTest(step, refusal=refusal):
                    main = self.collector()
                    main.answer(step, refusal, times=1)
                    relay = self.proxy(main)
                    session = self.session(relay)
                    with self.assertRaises(smtplib.SMTPException) as caught:
                        session.sendmail(SENDER, ["one@example.org"], content("x"))
                    self.assertIn(refusal[4:], str(caught.exception))
                    session.rset()
                    sessions = main.sessions
                    session.sendmail(SENDER, ["one@example.org"], content("x"))
                    self.assertEqual((1, sessions), (len(main.kept), main.sessions))
                    self.assertEqual([], relay.facts("dsn"))

    def test_a_status_where_the_upstream_has_none_and_451_for_421(self) -> None:
        main = self.collector()
        main.answer("RCPT", "250 fine", times=1)
        main.answer("RCPT", "421 4.3.2 closing here", times=1)
        relay = self.proxy(main)
        session = self.session(relay)
        replies = self.say(
            session,
            f"MAIL FROM:<{SENDER}>",
            "RCPT TO:<one@example.org>",
            "RCPT TO:<two@example.org>",
            "RSET",
        )
        self.assertEqual("250 2.0.0 fine", replies[1])
        self.assertEqual("451 4.3.2 closing here", replies[2])
        session.sendmail(SENDER, ["one@example.org"], content("x"))  # over another session
        self.assertEqual(1, len(main.kept))


class TroubleTests(ProxyCase):
    def test_no_upstream(self) -> None:
        main = self.collector(is_up=False)
        relay = self.proxy(main)
        session = self.session(relay)
        (answer,) = self.say(session, f"MAIL FROM:<{SENDER}>")
        self.assertEqual("451 4.4.1", answer[:9])
        self.assertNotIn("refused", answer)
        (rejected,) = relay.wait_for(1, "rejected")
        self.assertIn("connection refused", rejected["why"])
        main.start()
        session.sendmail(SENDER, ["one@example.org"], content("x"))
        self.assertEqual(1, len(main.kept))

    def test_lost_at_each_step(self) -> None:
        for step in ("MAIL", "RCPT", "DATA", "DOT"):
            with self.subTest(step):
                main = self.collector()
                main.answer(step, DROP, times=1)
                relay = self.proxy(main)
                session = self.session(relay)
                if step != "MAIL":  # one that had carried mail before would be replaced unseen
                    with self.assertRaises(smtplib.SMTPException) as caught:
                        session.sendmail(SENDER, ["one@example.org"], content("x"))
                    self.assertIn("4.4.2", str(caught.exception))
                    session.rset()
                    session.sendmail(SENDER, ["one@example.org"], content("x"))
                    self.assertEqual(1, len(main.kept))

    def test_a_stale_session_is_replaced_unseen(self) -> None:
        main = self.collector()
        relay = self.proxy(main)
        session = self.session(relay)
        session.sendmail(SENDER, ["one@example.org"], content("x"))
        main.answer("MAIL", DROP, times=1)
        sessions = main.sessions
        session.sendmail(SENDER, ["two@example.org"], content("x"))
        self.assertEqual((2, sessions + 1), (len(main.kept), main.sessions))

    def test_all_sessions_taken(self) -> None:
        main = self.collector()
        relay = self.proxy(main, wait="1s", max_connections=1, idle_timeout="20s")
        first, second = self.session(relay), self.session(relay)
        self.say(first, f"MAIL FROM:<{SENDER}>")
        (answer,) = self.say(second, f"MAIL FROM:<{SENDER}>")
        self.assertEqual("451 4.4.5", answer[:9])
        first.rset()
        second.sendmail(SENDER, ["two@example.org"], content("x"))
        self.assertEqual(1, main.sessions)

    def test_an_upstream_that_stalls_at_each_step(self) -> None:
        """The client is told so in time, hears no 250, and the next attempt works."""
        quick = {f"timeouts.{step}": "1s" for step in ("mail", "rcpt", "data", "block", "final")}
        for step in ("MAIL", "RCPT", "DATA", "CONTENT", "DOT"):
            with self.subTest(step):
                main = self.collector()
                main.answer(step, HOLD, times=1)
                relay = self.proxy(main, **quick)
                session = self.session(relay)
                size = 30_000_000 if step == "CONTENT" else 100  # more than sockets take
                with self.assertRaises(smtplib.SMTPException) as caught:
                    session.sendmail(SENDER, ["one@example.org"], content("x", size))
                self.assertRegex(str(caught.exception), r"451.*4\.4\.2")
                self.assertEqual([], main.kept)
                self.assertEqual([], relay.facts("accepted"))
                session.rset()
                session.sendmail(SENDER, ["two@example.org"], content("x"))
                self.assertEqual(["two@example.org"], main.kept[-1].recipients)
                self.assertEqual(1, len(relay.wait_for(1, "accepted")))

    def test_a_held_lane(self) -> None:
        main = self.collector()
        relay = self.proxy(main)
        relay.relayctl("lane", "hold", "main")
        session = self.session(relay)
        (answer,) = self.say(session, f"MAIL FROM:<{SENDER}>")
        self.assertEqual("451 4.3.2", answer[:9])


class ContentTests(ProxyCase):
    def test_content_that_must_not_go_on_is_never_ended(self) -> None:
        loop = b"Received: from a by b; date\r\n" * 101 + b"\r\nx\r\n"
        cases = {
            "552": b"x" * 200_000 + b"\r\n",  # too large, though SIZE was not announced
            "554": loop,
            "550": b"a bare \r in it\r\n",
        }
        for code, octets in cases.items():
            with self.subTest(code):
                main = self.collector()
                relay = self.relay(
                    upstream("main", main.port),
                    routes=[route("main", delivery="proxy")],
                    listener={"max_message_size": "100K"},
                )
                session = self.session(relay)
                self.say(session, f"MAIL FROM:<{SENDER}>", "RCPT TO:<one@example.org>", "DATA")
                session.send(octets + b".\r\n")
                self.assertEqual(int(code), session.getreply()[0])
                self.assertEqual([], main.kept)

    def test_a_client_that_goes_in_mid_content(self) -> None:
        main = self.collector()
        relay = self.proxy(main)
        session = self.session(relay)
        self.say(session, f"MAIL FROM:<{SENDER}>", "RCPT TO:<one@example.org>", "DATA")
        session.send(b"half a mess\r\n")
        session.close()
        relay.wait_for(1, "disconnected")
        send(relay.port, ["two@example.org"])
        self.assertEqual([["two@example.org"]], [kept.recipients for kept in main.kept])

    def test_a_client_that_goes_between_two_chunks(self) -> None:
        for keywords in (("CHUNKING", "PIPELINING"), ("CHUNKING",), ("PIPELINING",)):
            with self.subTest(keywords):
                main = Collector(keywords)
                self.addCleanup(main.stop)
                main.start()
                relay = self.proxy(main)
                session = self.session(relay)
                self.say(session, f"MAIL FROM:<{SENDER}>", "RCPT TO:<one@example.org>")
                session.send(b"BDAT 10\r\nSubject: yBDAT 700\r\nhalf")
                self.assertEqual(250, session.getreply()[0])
                reset(session)
                relay.wait_for(1, "disconnected")
                wait_until(lambda main=main: not main.open_sessions, "the session's end")
                self.assertEqual([], main.kept)
                self.assertFalse([line for line in main.commands if line.endswith("LAST")])

    def test_a_client_that_goes_at_each_other_step(self) -> None:
        commands = [f"MAIL FROM:<{SENDER}>", "RCPT TO:<one@example.org>", "DATA"]
        main = self.collector()
        relay = self.proxy(main)
        for steps in range(4):
            session = self.session(relay)
            self.say(session, *commands[:steps])
            session.close()
        relay.wait_for(4, "disconnected")
        send(relay.port, ["two@example.org"])
        self.assertEqual([["two@example.org"]], [kept.recipients for kept in main.kept])

    def test_gone_while_the_upstream_accepts_is_told(self) -> None:
        main = self.collector()
        main.answer("DOT", HOLD)
        relay = self.proxy(main)
        session = self.session(relay)
        self.say(session, f"MAIL FROM:<{SENDER}>", "RCPT TO:<one@example.org>", "DATA")
        session.send(content("x") + b".\r\n")
        main.wait_until_held()
        reset(session)
        relay.wait_for(1, "disconnected")
        main.release()
        (relayed,) = relay.wait_for(1, "relayed")
        self.assertEqual([], relay.facts("accepted", queue_id=relayed["queue_id"]))

    def test_memory_is_a_few_chunks_while_the_upstream_takes_nothing(self) -> None:
        main = self.collector()
        relay = self.proxy(main)
        send(relay.port, ["one@example.org"])  # all code has run once
        before = peak_memory(relay.child.pid)
        main.answer("CONTENT", HOLD)
        big = content("big", 50_000_000)
        client = Slow(self.session(relay), big)
        client.start()
        wait_until(client.is_stuck, "a client that is held up")
        self.assertLess(client.sent, len(big) // 2)
        main.release()
        client.join(60)
        self.assertEqual(250, client.code)
        self.assertTrue(main.kept[-1].content.endswith(big))
        self.assertLess(peak_memory(relay.child.pid) - before, 16 << 20)

    def test_by_bdat_without_a_last_line_end(self) -> None:
        main = self.collector()
        relay = self.proxy(main)
        session = self.session(relay)
        self.say(session, f"MAIL FROM:<{SENDER}>", "RCPT TO:<one@example.org>")
        session.send(b"BDAT 10\r\nSubject: yBDAT 7 LAST\r\n\r\n\r\nabc")
        self.assertEqual([250, 250], [session.getreply()[0] for _ in range(2)])
        self.assertTrue(main.kept[0].content.endswith(b"Subject: y\r\n\r\nabc\r\n"))

    def test_pipelined(self) -> None:
        main = self.collector()
        main.answer("RCPT", "550 5.1.1 no", "*<bad@*")
        relay = self.proxy(main)
        with socket.create_connection(("127.0.0.1", relay.port), 30) as client:
            one = (
                f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<bad@example.org>\r\n"
                "RCPT TO:<one@example.org>\r\nDATA\r\n"
            )
            client.sendall(b"EHLO x\r\n" + one.encode())
            heard = b""
            while b"354 " not in heard:
                heard += client.recv(4096)
            client.sendall(b"x\r\n.\r\n" + one.encode().replace(b"DATA", b"NOOP") + b"QUIT\r\n")
            while b"221 " not in heard:
                heard += client.recv(4096)
        codes = [line[:3] for line in heard.decode().splitlines() if line[3:4] == " "]
        wanted = "220 250 250 550 250 354 250 250 550 250 250 221"
        self.assertEqual(wanted, " ".join(codes))


class RoutesTests(ProxyCase):
    def routed(self) -> tuple[Collector, Collector, RelayProcess]:
        main, other = self.collector(), self.collector()
        relay = self.relay(
            upstream("main", main.port),
            upstream("other", other.port),
            routes=[
                route("other", "*@stored.example"),
                route("other", "*@other.example", delivery="proxy"),
                route("main", delivery="proxy"),
            ],
        )
        return main, other, relay

    def test_the_first_accepted_recipient_fixes_the_way(self) -> None:
        main, other, relay = self.routed()
        main.answer("RCPT", "550 5.1.1 no", "*<bad@*")
        session = self.session(relay)
        replies = self.say(
            session,
            f"MAIL FROM:<{SENDER}>",
            "RCPT TO:<bad@example.org>",
            "RCPT TO:<one@other.example>",
            "RCPT TO:<two@example.org>",
            "RCPT TO:<three@stored.example>",
            "RCPT TO:<four@other.example>",
        )
        codes = " ".join(answer[:9] for answer in replies)
        self.assertEqual("250 2.1.0 550 5.1.1 250 2.1.5 452 4.5.3 452 4.5.3 250 2.1.5", codes)
        session.data(content("x"))
        self.assertEqual([], main.kept)
        self.assertEqual(["one@other.example", "four@other.example"], other.kept[0].recipients)

    def test_stored_mail_takes_no_proxied_recipient(self) -> None:
        _, other, relay = self.routed()
        session = self.session(relay)
        replies = self.say(
            session,
            f"MAIL FROM:<{SENDER}>",
            "RCPT TO:<one@stored.example>",
            "RCPT TO:<two@example.org>",
        )
        self.assertEqual("452 4.5.3", replies[2][:9])
        session.data(content("x"))
        other.wait_for(1)
        self.assertEqual("store", relay.facts("accepted")[0]["delivery"])

    def test_mail_refused_late_answers_each_recipient(self) -> None:
        main, _, relay = self.routed()
        main.answer("MAIL", "550 5.7.1 not from you")
        session = self.session(relay)
        replies = self.say(
            session,
            f"MAIL FROM:<{SENDER}>",
            "RCPT TO:<one@example.org>",
            "RCPT TO:<two@example.org>",
            "DATA",
        )
        self.assertEqual(
            ["250 2.1.0 Sender OK", "550 5.7.1 not from you", "550 5.7.1 not from you"],
            replies[:3],
        )
        self.assertEqual("554", replies[3][:3])

    def test_after_stored_mail_the_way_through_begins_anew(self) -> None:
        """An upstream whose recipients were all refused had been told of that mail's sender."""
        main, other, relay = self.routed()
        main.answer("RCPT", "550 5.1.1 no", "*<bad@*")
        session = self.session(relay)
        self.say(
            session,
            "MAIL FROM:<first@example.net>",
            "RCPT TO:<bad@example.org>",
            "RCPT TO:<one@stored.example>",
        )
        session.data(content("stored"))
        session.sendmail("second@example.net", ["two@example.org"], content("proxied"))
        self.assertEqual("first@example.net", other.wait_for(1)[0].sender)
        self.assertEqual("second@example.net", main.kept[0].sender)


class OffersTests(ProxyCase):
    def offered(self, keywords: Sequence[str]) -> dict[str, str]:
        main = Collector(keywords)
        self.addCleanup(main.stop)
        main.start()
        relay = self.proxy(main)
        wait_until(lambda: bool(main.commands), "a question what it offers")
        time.sleep(0.2)
        return self.session(relay).esmtp_features

    def test_what_the_upstream_has_and_our_own(self) -> None:
        few = self.offered(("SIZE 1000000", "8BITMIME"))
        self.assertEqual(
            {"pipelining", "size", "8bitmime", "enhancedstatuscodes", "limits"}, set(few)
        )
        self.assertEqual(str(1_000_000 - MAX_RECEIVED), few["size"])
        many = self.offered(("CHUNKING", "DSN", "SMTPUTF8", "8BITMIME", "SIZE 999999999"))
        self.assertLessEqual({"chunking", "dsn", "smtputf8", "8bitmime"}, set(many))
        self.assertEqual(str(50 << 20), many["size"])

    def test_before_it_is_known_only_our_own(self) -> None:
        main = Collector(port=free_port())
        relay = self.proxy(main)
        few = self.session(relay).esmtp_features
        self.assertEqual({"pipelining", "size", "enhancedstatuscodes", "limits"}, set(few))

    def test_an_upstream_that_has_nothing(self) -> None:
        """HELO alone: what we offer must not lead to a parameter that it does not know."""
        main = self.collector()
        main.answer("EHLO", "502 5.5.1 what?")
        relay = self.proxy(main)
        wait_until(lambda: "HELO relay.example.net" in main.commands, "what the upstream offers")
        session = self.session(relay)
        self.assertNotIn("8bitmime", session.esmtp_features)
        (refused,) = self.say(session, f"MAIL FROM:<{SENDER}> BODY=8BITMIME")
        self.assertEqual("451 4.6.3", refused[:9])
        session.sendmail(SENDER, ["one@example.org"], content("x"))
        self.assertEqual((f"FROM:<{SENDER}>", ["TO:<one@example.org>"]), said_of(main))

    def test_each_parameter_goes_only_where_it_is_known(self) -> None:
        for keywords, options, wanted in (
            (("8BITMIME",), ["BODY=8BITMIME"], " BODY=8BITMIME"),
            (("SIZE", "PIPELINING"), [], f" SIZE={len(content('x')) + MAX_RECEIVED}"),
            ((), [], ""),
        ):
            with self.subTest(keywords):
                main = Collector(keywords)
                self.addCleanup(main.stop)
                main.start()
                relay = self.proxy(main)
                for keyword in {"8BITMIME"} & set(keywords):
                    wait_until(lambda r=relay, k=keyword: self.session(r).has_extn(k), keyword)
                self.session(relay).sendmail(SENDER, ["one@example.org"], content("x"), options)
                self.assertEqual(f"FROM:<{SENDER}>{wanted}", said_of(main)[0])


def said_of(main: Collector) -> tuple[str, list[str]]:
    (kept,) = main.kept
    return kept.mail, kept.rcpt


def peak_memory(pid: int) -> int:
    """Octets resident at most, so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


class Slow(threading.Thread):
    """A client that sends content as it is taken, and knows how much was."""

    def __init__(self, session: smtplib.SMTP, octets: bytes) -> None:
        super().__init__(daemon=True)
        self._session = session
        self._octets = octets
        self._seen = (0, 0.0)
        self.sent = self.code = 0

    def run(self) -> None:
        session, view = self._session, memoryview(self._octets)
        for command in (f"MAIL FROM:<{SENDER}>", "RCPT TO:<one@example.org>", "DATA"):
            session.docmd(command)
        assert session.sock is not None
        for start in range(0, len(view), 65536):
            session.sock.sendall(view[start : start + 65536])
            self.sent = start
        session.send(b".\r\n")
        self.code = session.getreply()[0]

    def is_stuck(self) -> bool:
        """It began, and nothing more was taken for a while; or it is through."""
        now = time.monotonic()
        if self.sent != self._seen[0]:
            self._seen = (self.sent, now)
        return self.code > 0 or (self.sent > 0 and now - self._seen[1] > 1.5)
