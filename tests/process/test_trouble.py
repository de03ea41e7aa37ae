"""Upstreams in trouble: what the relay does about it, seen from the upstreams and in the log."""

from tests.process.child import free_port
from tests.process.relay_process import route, upstream
from tests.process.sending import SENDER, send
from tests.process.through_relay import ThroughRelay

_HOME = route("home", SENDER)
_ELSEWHERE = route("main")


class TroubleTests(ThroughRelay):
    def test_away_then_back(self) -> None:
        """Accepted meanwhile, told as delayed, relayed once."""
        collector = self.collector(is_up=False)
        relay = self.relay(upstream("main", collector.port))
        send(relay.port, ["one@example.org"])
        (delayed,) = relay.wait_for(1, "delayed")[:1]
        self.assertEqual((delayed["recipient"], delayed["upstream"]), ("one@example.org", "main"))
        self.assertIsNotNone(delayed["next_attempt_at"])
        collector.start()
        collector.wait_for(1)
        relay.wait_until_empty()
        self.assertEqual(len(collector.kept), 1)
        self.assertEqual(len(relay.facts("relayed")), 1)

    def test_one_of_three_recipients_refused(self) -> None:
        home, main = self.collector(), self.collector()
        main.answer("RCPT", "550 5.1.1 no such user", "*<bad@*")
        relay = self.relay(
            upstream("home", home.port),
            upstream("main", main.port),
            routes=[_HOME, _ELSEWHERE],
        )
        send(relay.port, ["one@example.org", "bad@example.org", "two@example.org"])
        (kept,) = main.wait_for(1)
        self.assertEqual(kept.recipients, ["one@example.org", "two@example.org"])
        (report,) = home.wait_for(1)
        self.assertEqual((report.sender, report.recipients), ("", [SENDER]))
        self.assertIn(b"Final-Recipient: rfc822; bad@example.org\r\n", report.content)
        self.assertIn(b"550 5.1.1 no such user", report.content)
        self.assertNotIn(b"Final-Recipient: rfc822; one@", report.content)
        relay.wait_until_empty()
        self.assertEqual((len(main.kept), len(home.kept)), (1, 1))

    def test_transient_refusal_then_accepted(self) -> None:
        """At each step that can be answered 4xx."""
        for step in ("MAIL", "RCPT", "DATA", "DOT"):
            with self.subTest(step):
                collector = self.collector()
                collector.answer(step, "451 4.3.0 not now", times=1)
                relay = self.relay(upstream("main", collector.port))
                send(relay.port, ["one@example.org"])
                collector.wait_for(1)
                (delayed,) = relay.facts("delayed")
                self.assertEqual(delayed["status"], "4.3.0")
                relay.wait_until_empty()
                self.assertEqual(len(collector.kept), 1)

    def test_lost_after_the_final_dot(self) -> None:
        """It may have been accepted: the log says that nobody knows, and it is sent again."""
        collector = self.collector()
        collector.answer("DOT", "drop", times=1)
        relay = self.relay(upstream("main", collector.port))
        send(relay.port, ["one@example.org"])
        collector.wait_for(1)
        self.assertEqual([fact["outcome"] for fact in relay.facts("delayed")], ["unknown"])

    def test_first_host_down(self) -> None:
        """The second gets it in the same attempt: nobody is told of a delay."""
        collector = self.collector()
        relay = self.relay(upstream("main", free_port(), collector.port))
        send(relay.port, ["one@example.org"])
        collector.wait_for(1)
        (relayed,) = relay.wait_for(1, "relayed")
        self.assertTrue(relayed["host"].endswith(f":{collector.port}"))
        self.assertEqual(relay.facts("delayed"), [])

    def test_first_host_answers_4xx(self) -> None:
        for step, reply in (
            ("CONNECT", "421 4.3.2 too busy"),
            ("EHLO", "421 4.3.2 too busy"),
            ("MAIL", "451 4.3.0 not now"),
            ("RCPT", "451 4.3.0 not now"),
        ):
            with self.subTest(step):
                first, second = self.collector(), self.collector()
                first.answer(step, reply)
                first.answer("HELO", reply)
                relay = self.relay(upstream("main", first.port, second.port))
                send(relay.port, ["one@example.org"])
                second.wait_for(1)
                relay.wait_for(1, "relayed")
                self.assertEqual(relay.facts("delayed"), [])
                self.assertEqual(first.kept, [])

    def test_expiry_with_all_hosts_down(self) -> None:
        """The sender hears of it from the sender's own upstream."""
        home = self.collector()
        relay = self.relay(
            upstream("home", home.port),
            upstream("main", free_port(), free_port()),
            routes=[_HOME, _ELSEWHERE],
            queue={"expire_after": "3s"},
        )
        send(relay.port, ["one@example.org"])
        (report,) = home.wait_for(1)
        self.assertEqual((report.sender, report.recipients), ("", [SENDER]))
        self.assertIn(b"Action: failed", report.content)
        self.assertIn(b"Final-Recipient: rfc822; one@example.org\r\n", report.content)
        relay.wait_until_empty()
        self.assertEqual(len(relay.facts("failed", recipient="one@example.org")), 1)
        self.assertGreaterEqual(len(relay.facts("delayed", recipient="one@example.org")), 1)

    def test_two_next_hops_one_dead(self) -> None:
        """The living one gets its recipients at once, and once; the other's stay owed."""
        living, dead = self.collector(), self.collector(is_up=False)
        relay = self.relay(
            upstream("living", living.port),
            upstream("dead", dead.port),
            routes=[route("living", "*@example.org"), route("dead", "*@example.com")],
        )
        send(relay.port, ["one@example.org", "two@example.com", "three@example.org"])
        (kept,) = living.wait_for(1)
        self.assertEqual(kept.recipients, ["one@example.org", "three@example.org"])
        relay.wait_for(2, "delayed", recipient="two@example.com")
        (waiting,) = relay.queue()
        states = {each["forward_path"]: each["state"] for each in waiting["recipients"]}
        self.assertEqual(states["one@example.org"], "relayed")
        self.assertIn(states["two@example.com"], ("waiting", "in_hand"))
        dead.start()
        (late,) = dead.wait_for(1)
        self.assertEqual(late.recipients, ["two@example.com"])
        relay.wait_until_empty()
        self.assertEqual(len(living.kept), 1)
