"""Hybrid and proxy delivery before a real Postfix: each outcome, in its own words."""

import re
import smtplib

from twisted.trial.unittest import SynchronousTestCase

from relay.mail.trace import MAX_RECEIVED
from tests.interop.greylist import Greylist
from tests.interop.peers import UNCHANGED, Postfix
from tests.interop.received import without_received
from tests.process.child import wait_until
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.sending import SENDER, content

_UNKNOWN = {"bad@example.org": "550 5.1.1 no such user here"}


class _BeforePostfix(SynchronousTestCase):
    delivery = ""

    def setUp(self) -> None:
        self.collector = Collector()
        self.collector.start()
        self.addCleanup(self.collector.stop)

    def relay(self, **arguments: object) -> RelayProcess:
        """Before a Postfix that forwards to the collector."""
        postfix = Postfix(self.collector.port, **arguments)  # type: ignore[arg-type]
        self.addCleanup(postfix.clean_up)
        postfix.start()
        relay = RelayProcess(
            [upstream("main", postfix.port)], [route("main", delivery=self.delivery)]
        )
        self.addCleanup(relay.clean_up)
        relay.start()
        return relay

    def greylisting(self, refusals: int) -> RelayProcess:
        greylist = Greylist(refusals=refusals)
        self.addCleanup(greylist.stop)
        policy = f"check_policy_service inet:127.0.0.1:{greylist.port}, permit_mynetworks, reject"
        return self.relay(settings={**UNCHANGED, "smtpd_recipient_restrictions": policy})

    def session(self, relay: RelayProcess) -> smtplib.SMTP:
        session = smtplib.SMTP("127.0.0.1", relay.port, timeout=30)
        self.addCleanup(session.close)
        session.ehlo()
        return session

    def said(self, answer: tuple[int, bytes]) -> str:
        return f"{answer[0]} {answer[1].decode()}"

    def send(self, session: smtplib.SMTP, *recipients: str) -> str:
        """The last answer, after all recipients were taken."""
        session.mail(SENDER)
        for recipient in recipients:
            self.assertEqual(250, session.rcpt(recipient)[0])
        return self.said(session.data(content("x")))

    def assert_arrived(self, *recipients: str) -> None:
        (kept,) = self.collector.wait_for(1)
        self.assertEqual(list(recipients), kept.recipients)
        self.assertEqual(content("x"), without_received(kept.content, 2))


class HybridTests(_BeforePostfix):
    delivery = "hybrid"

    def test_accepted(self) -> None:
        relay = self.relay()
        answer = self.send(self.session(relay), "one@example.org", "two@example.org")
        self.assertRegex(answer, r"^250 2\.0\.0 queued as ")
        self.assertEqual("hybrid", relay.wait_for(1, "accepted")[0]["delivery"])
        self.assertIn("queued as", relay.wait_for(2, "relayed")[0]["reply"])
        self.assert_arrived("one@example.org", "two@example.org")

    def test_refused_for_good(self) -> None:
        relay = self.relay(access=_UNKNOWN)
        answer = self.send(self.session(relay), "bad@example.org")
        self.assertRegex(answer, r"^550 5\.1\.1 <bad@example\.org>: .*no such user here$")
        self.assertEqual(([], []), (relay.queue(), relay.facts("dsn")))

    def test_one_of_two_refused_for_good(self) -> None:
        relay = self.relay(access=_UNKNOWN)
        answer = self.send(self.session(relay), "one@example.org", "bad@example.org")
        self.assertEqual("250", answer[:3])
        kept = {message.sender: message for message in self.collector.wait_for(2)}
        self.assertEqual(["one@example.org"], kept[SENDER].recipients)
        self.assertIn(b"Final-Recipient: rfc822; bad@example.org", kept[""].content)

    def test_refused_for_now(self) -> None:
        """Stored, then relayed once Postfix takes it."""
        relay = self.greylisting(refusals=1)
        self.assertEqual("250", self.send(self.session(relay), "one@example.org")[:3])
        self.assertEqual("store", relay.wait_for(1, "accepted")[0]["delivery"])
        self.assert_arrived("one@example.org")
        relay.wait_until_empty()


class ProxyTests(_BeforePostfix):
    delivery = "proxy"

    def test_accepted_in_its_own_words(self) -> None:
        relay = self.relay()
        session = self.session(relay)
        for _ in range(2):  # the same session with Postfix serves both
            answer = self.send(session, "one@example.org")
            self.assertRegex(answer, r"^250 2\.0\.0 Ok: queued as \S+ \[[0-9A-V]{13} via main\]$")
        self.assertEqual(2, len(self.collector.wait_for(2)))
        queued = re.search(r"queued as (\S+) \[", answer)
        assert queued is not None
        self.assertIn(queued[1], relay.wait_for(2, "relayed")[1]["reply"])

    def test_unknown_recipient_beside_a_known_one(self) -> None:
        relay = self.relay(access=_UNKNOWN)
        session = self.session(relay)
        self.assertEqual("250 2.1.0 Ok", self.said(session.mail(SENDER)))
        refusal = self.said(session.rcpt("bad@example.org"))
        self.assertRegex(refusal, r"^550 5\.1\.1 <bad@example\.org>: .*no such user here$")
        self.assertEqual("250 2.1.5 Ok", self.said(session.rcpt("one@example.org")))
        self.assertEqual(250, session.data(content("x"))[0])
        self.assert_arrived("one@example.org")
        (rejected,) = relay.facts("rejected")
        self.assertEqual("bad@example.org", rejected["recipient"])

    def test_no_recipient_at_all(self) -> None:
        session = self.session(self.relay(access=_UNKNOWN))
        session.mail(SENDER)
        session.rcpt("bad@example.org")
        self.assertEqual(554, session.docmd("DATA")[0])
        self.assertEqual([], self.collector.kept)

    def test_refused_for_now_and_nothing_stored(self) -> None:
        relay = self.greylisting(refusals=1)
        session = self.session(relay)
        session.mail(SENDER)
        refusal = self.said(session.rcpt("one@example.org"))
        self.assertRegex(refusal, r"^450 4\.\d+\.\d+ <one@example\.org>: ")
        session.rset()
        self.assertEqual([], relay.queue())
        self.assertEqual("250", self.send(session, "one@example.org")[:3])
        self.assert_arrived("one@example.org")

    def test_too_large_for_postfix(self) -> None:
        """Its SIZE becomes ours, with room for our trace field, and who does not say a size hears
        Postfix's own 552."""
        relay = self.relay(settings={**UNCHANGED, "message_size_limit": "100000"})
        size = lambda: self.session(relay).esmtp_features["size"]  # noqa: E731
        wait_until(lambda: size() == str(100_000 - MAX_RECEIVED), "what Postfix offers")
        session = self.session(relay)
        session.mail(SENDER)
        session.rcpt("one@example.org")
        self.assertRegex(self.said(session.data(content("x", 300_000))), r"^552 5\.3\.4 ")
        self.assertEqual([], self.collector.kept)
