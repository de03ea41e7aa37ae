"""Hybrid delivery in a whole relay: what the client hears, what upstreams get, what is on disk."""

import smtplib
import socket

from tests.process.child import wait_until
from tests.process.collector import DROP, HOLD, Collector
from tests.process.relay_process import Fact, RelayProcess, route, upstream
from tests.process.sending import SENDER, Waiting, content, reset, send
from tests.process.through_relay import ThroughRelay


class HybridCase(ThroughRelay):
    def hybrid(
        self, main: Collector, *more: Fact, wait: str = "20s", **tables: Fact
    ) -> RelayProcess:
        return self.relay(
            upstream("main", main.port, idle_timeout="1s"),
            *more,
            routes=[
                *[route(other["name"], f"*@{other['name']}.example") for other in more],
                route("main", delivery="hybrid", hybrid_wait=wait),
            ],
        )


class HybridTests(HybridCase):
    def refused(self, relay: RelayProcess) -> int:
        """The code that the client got for its content."""
        with self.assertRaises(smtplib.SMTPDataError) as caught:
            send(relay.port, ["one@example.org"])
        return caught.exception.smtp_code

    def test_accepted_upstream_and_nothing_in_the_queue(self) -> None:
        main = self.collector()
        relay = self.hybrid(main)
        send(relay.port, ["one@example.org"])
        self.assertEqual(1, len(main.kept))  # before our 250
        (accepted,) = relay.wait_for(1, "accepted")
        self.assertEqual("hybrid", accepted["delivery"])
        relay.wait_for(1, "removed")
        self.assertEqual(
            ["accepted", "relayed", "removed"],
            [f["event"] for f in relay.facts() if f.get("queue_id") == accepted["queue_id"]],
        )

    def test_refused_for_good_at_each_step(self) -> None:
        for step in ("MAIL", "RCPT", "DATA", "DOT"):
            with self.subTest(step):
                main = self.collector()
                main.answer(step, "554 5.7.1 not this one")
                relay = self.hybrid(main)
                self.assertEqual(554, self.refused(relay))
                relay.wait_for(1, "rejected")
                relay.wait_until_empty()
                self.assertEqual([], relay.facts("dsn"))

    def test_not_now_at_each_step_is_stored_and_relayed_once(self) -> None:
        for step in ("CONNECT", "MAIL", "RCPT", "DATA", "DOT"):
            with self.subTest(step):
                main = self.collector()
                main.answer(step, "451 4.3.0 not now", times=1)
                relay = self.hybrid(main)
                send(relay.port, ["one@example.org"])
                main.wait_for(1)
                relay.wait_until_empty()
                self.assertEqual(1, len(main.kept))
                self.assertEqual("store", relay.facts("accepted")[0]["delivery"])

    def test_lost_before_and_after_the_final_dot(self) -> None:
        for step in ("MAIL", "DOT"):
            with self.subTest(step):
                main = self.collector()
                main.answer(step, DROP, times=1)
                relay = self.hybrid(main)
                send(relay.port, ["one@example.org"])
                main.wait_for(1)
                relay.wait_until_empty()

    def test_beside_a_route_that_stores_it_is_store(self) -> None:
        main, other = self.collector(), self.collector()
        relay = self.hybrid(main, upstream("other", other.port))
        send(relay.port, ["one@example.org", "two@other.example"])
        main.wait_for(1)
        other.wait_for(1)
        relay.wait_until_empty()
        self.assertEqual("store", relay.facts("accepted")[0]["delivery"])

    def test_large_content_leaves_no_file(self) -> None:
        main = self.collector()
        relay = self.hybrid(main)
        big = content("big", 3_000_000)
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as session:
            session.sendmail(SENDER, ["one@example.org"], big)
        (kept,) = main.wait_for(1)
        self.assertTrue(kept.content.endswith(big[-1000:]))
        self.assertGreater(len(kept.content), len(big))
        wait_until(lambda: not list(relay.spool.rglob("content/*")), "no content file")


class DisagreeTests(ThroughRelay):
    """Two next hops, both tried while the client waits."""

    def setUp(self) -> None:
        self.one, self.other = self.collector(), self.collector()

    def run_relay(self) -> RelayProcess:
        return self.relay(
            upstream("one", self.one.port),
            upstream("other", self.other.port),
            routes=[
                route("one", "*@one.example", "sender@*", delivery="hybrid"),
                route("other", delivery="hybrid"),
            ],
        )

    def send(self, relay: RelayProcess) -> int:
        return Waiting(relay.port, "a@one.example", "b@other.example").answer()

    def test_both_accept_before_the_250(self) -> None:
        relay = self.run_relay()
        self.assertEqual(250, self.send(relay))
        self.assertEqual((1, 1), (len(self.one.kept), len(self.other.kept)))
        self.assertEqual("hybrid", relay.wait_for(1, "accepted")[0]["delivery"])

    def test_both_refuse_for_good(self) -> None:
        self.one.answer("RCPT", "550 5.1.1 no")
        self.other.answer("DOT", "554 5.7.1 no")
        relay = self.run_relay()
        self.assertIn(self.send(relay), (550, 554))
        self.assertEqual([], relay.queue())
        self.assertEqual([], relay.facts("dsn"))

    def test_one_accepts_the_other_refuses_for_good(self) -> None:
        self.other.answer("RCPT", "550 5.1.1 no such user")
        relay = self.run_relay()
        self.assertEqual(250, self.send(relay))
        _, report = self.one.wait_for(2)
        self.assertEqual(("", [SENDER]), (report.sender, report.recipients))
        self.assertIn(b"Final-Recipient: rfc822; b@other.example", report.content)
        self.assertNotIn(b"Final-Recipient: rfc822; a@", report.content)
        relay.wait_until_empty()
        self.assertEqual((2, 0), (len(self.one.kept), len(self.other.kept)))

    def test_one_accepts_the_other_not_now(self) -> None:
        self.other.answer("DOT", "451 4.3.0 not now", times=1)
        relay = self.run_relay()
        self.assertEqual(250, self.send(relay))
        self.other.wait_for(1)
        relay.wait_until_empty()
        self.assertEqual((1, 1), (len(self.one.kept), len(self.other.kept)))

    def test_one_refuses_for_good_the_other_not_now(self) -> None:
        self.one.answer("RCPT", "550 5.1.1 no such user", argument="*a@*")
        self.other.answer("MAIL", "451 4.3.0 not now", times=1)
        relay = self.run_relay()
        self.assertEqual(250, self.send(relay))
        (late,) = self.other.wait_for(1)
        (report,) = self.one.wait_for(1)
        self.assertEqual(["b@other.example"], late.recipients)
        self.assertIn(b"Final-Recipient: rfc822; a@one.example", report.content)
        relay.wait_until_empty()


class LeavingTests(HybridCase):
    """A client that breaks off: nothing is stored, and nothing goes on but what was on its way."""

    def test_before_its_content_is_whole(self) -> None:
        main = self.collector()
        relay = self.hybrid(main)
        commands = ["EHLO x", f"MAIL FROM:<{SENDER}>", "RCPT TO:<one@example.org>", "DATA"]
        for steps in range(1, len(commands) + 1):
            session = smtplib.SMTP("127.0.0.1", relay.port, timeout=30)
            for command in commands[:steps]:
                session.docmd(command)
            if steps == len(commands):
                session.send(b"half a mess\r\n")
            reset(session)
        relay.wait_for(len(commands), "disconnected")
        send(relay.port, ["two@example.org"])
        self.assertEqual([["two@example.org"]], [kept.recipients for kept in main.kept])
        relay.wait_until_empty()
        self.assertEqual(1, len(relay.facts("accepted")))

    def test_while_it_waits_and_the_upstream_accepts(self) -> None:
        main = self.collector()
        main.answer("DOT", HOLD)
        relay = self.hybrid(main)
        client = Waiting(relay.port, "one@example.org")
        main.wait_until_held()
        client.leave()
        relay.wait_for(1, "disconnected")
        main.release()
        (relayed,) = relay.wait_for(1, "relayed")
        self.assertEqual([], relay.facts("accepted", queue_id=relayed["queue_id"]))
        self.assertEqual(([], 1), (relay.queue(), len(main.kept)))

    def test_while_it_waits_and_the_upstream_does_not_take_it(self) -> None:
        for answer in ("451 4.3.0 not now", "554 5.7.1 no", DROP):
            with self.subTest(answer):
                main = self.collector()
                main.answer("DATA", HOLD, times=1)
                main.answer("DOT", answer)
                relay = self.hybrid(main)
                client = Waiting(relay.port, "one@example.org")
                main.wait_until_held()
                client.leave()
                relay.wait_for(1, "disconnected")
                main.release()
                wait_until(lambda main=main: not main.open_sessions, "the attempt's end")
                self.assertEqual(([], []), (relay.queue(), main.kept))
                self.assertEqual(
                    [], [f for f in relay.facts() if f["event"] in ("accepted", "dsn")]
                )

    def test_one_that_only_says_no_more_still_gets_its_answer(self) -> None:
        main = self.collector()
        main.answer("DOT", HOLD)
        relay = self.hybrid(main)
        client = Waiting(relay.port, "one@example.org")
        main.wait_until_held()
        assert client.session.sock is not None
        client.session.sock.shutdown(socket.SHUT_WR)
        main.release()
        self.assertEqual(250, client.answer())
