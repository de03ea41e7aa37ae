"""Hybrid delivery in a whole relay: what the client hears, what upstreams get, what is on disk."""

import contextlib
import smtplib

from tests.process.child import wait_until
from tests.process.collector import DROP, Collector
from tests.process.relay_process import Fact, RelayProcess, route, upstream
from tests.process.sending import SENDER, Load, content, send
from tests.process.through_relay import ThroughRelay


class HybridTests(ThroughRelay):
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


class CrashTests(ThroughRelay):
    """kill -9: what got a 250 arrives; what did not is the client's still."""

    def test_under_load_nothing_acknowledged_is_lost(self) -> None:
        main = self.collector()
        main.answer("DOT", "451 4.3.0 not now", times=40)  # some of it goes by the store
        relay = self.relay(upstream("main", main.port), routes=[route("main", delivery="hybrid")])
        load = Load(relay.port)
        load.start(3000)
        wait_until(lambda: len(load.accepted) > 300, "300 accepted messages")
        relay.kill()
        load.wait()
        relay.start()
        relay.wait_until_empty()
        arrived = {recipient for kept in main.kept for recipient in kept.recipients}
        self.assertEqual(set(), load.accepted - arrived)

    def test_between_the_upstreams_acceptance_and_our_250(self) -> None:
        """Nobody was told 250, nothing is stored: the client sends again."""
        main = self.collector()
        relay = self.relay(upstream("main", main.port), routes=[route("main", delivery="hybrid")])
        with smtplib.SMTP("127.0.0.1", relay.port, timeout=30) as session:
            session.ehlo()
            session.mail(SENDER)
            session.rcpt("one@example.org")
            session.docmd("DATA")
            session.send(content("one") + b"\r\n.\r\n")
            main.wait_for(1)
            relay.kill()
            with contextlib.suppress(smtplib.SMTPServerDisconnected, OSError):
                session.close()
        relay.start()
        relay.wait_until_empty()
        self.assertEqual(1, len(main.kept))
