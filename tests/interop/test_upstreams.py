"""Servers of all kinds as upstream: Postfix, aiosmtpd, smtp-sink."""

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from twisted.trial.unittest import SynchronousTestCase

from tests.interop import clients
from tests.interop.greylist import Greylist
from tests.interop.peers import UNCHANGED, Postfix, SmtpSink
from tests.interop.received import without_received
from tests.process.child import free_port, wait_until
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, upstream

_SENDER = "sender@example.net"

_CONTENT = (
    b"From: sender@example.net\r\nSubject: dots and lines\r\nMessage-ID: <1@example.net>\r\n\r\n"
    b".one\r\n..two\r\n\r\n" + b"x" * 900 + b"\r\nGr\xc3\xbc\xc3\x9fe\r\n"
)


class _UpstreamTests(SynchronousTestCase):
    def relay_to(self, port: int) -> RelayProcess:
        relay = RelayProcess([upstream("main", port), upstream("home", port)])
        self.addCleanup(relay.clean_up)
        relay.start()
        return relay

    def send(self, relay: RelayProcess, *recipients: str) -> None:
        clients.by_smtplib(relay.port, _SENDER, recipients, _CONTENT, relay.folder)


class PostfixTests(_UpstreamTests):
    """Postfix forwards to a collector, so that the test sees what it made of the message."""

    def setUp(self) -> None:
        self.collector = Collector()
        self.collector.start()
        self.addCleanup(self.collector.stop)

    def postfix(self, **arguments: object) -> Postfix:
        postfix = Postfix(self.collector.port, **arguments)
        self.addCleanup(postfix.clean_up)
        postfix.start()
        return postfix

    def test_content_and_envelope(self) -> None:
        relay = self.relay_to(self.postfix().port)
        self.send(relay, "one@example.org", "two@example.org")
        (kept,) = self.collector.wait_for(1)
        self.assertEqual(without_received(kept.content, 2), _CONTENT)
        self.assertEqual(kept.recipients, ["one@example.org", "two@example.org"])
        self.assertEqual(len(relay.wait_for(2, "relayed", upstream="main")), 2)

    def test_one_of_three_recipients_refused(self) -> None:
        """The two get it; the sender gets one report, which names the third alone."""
        access = {"bad@example.org": "550 5.1.1 no such user here"}
        relay = self.relay_to(self.postfix(access=access).port)
        self.send(relay, "one@example.org", "bad@example.org", "two@example.org")
        kept = {message.sender: message for message in self.collector.wait_for(2)}
        self.assertEqual(kept[_SENDER].recipients, ["one@example.org", "two@example.org"])
        self.assertEqual(kept[""].recipients, [_SENDER])
        self.assertIn(b"Final-Recipient: rfc822; bad@example.org", kept[""].content)
        self.assertNotIn(b"Final-Recipient: rfc822; one@example.org", kept[""].content)
        (failed,) = relay.wait_for(1, "failed")
        self.assertEqual((failed["recipient"], failed["status"]), ("bad@example.org", "5.1.1"))

    def test_greylisting(self) -> None:
        """450 first, accepted later: no report, each recipient once."""
        greylist = Greylist(refusals=2)
        self.addCleanup(greylist.stop)
        policy = f"check_policy_service inet:127.0.0.1:{greylist.port}, permit_mynetworks, reject"
        relay = self.relay_to(
            self.postfix(settings={**UNCHANGED, "smtpd_recipient_restrictions": policy}).port
        )
        self.send(relay, "one@example.org")
        (kept,) = self.collector.wait_for(1)
        self.assertEqual(kept.recipients, ["one@example.org"])
        self.assertEqual(len(relay.wait_for(2, "delayed")), 2)
        relay.wait_until_empty()
        self.assertEqual(len(self.collector.kept), 1)

    def test_restarted_between_two_messages(self) -> None:
        """The pooled session is dead when the second message comes: nobody notices."""
        postfix = self.postfix()
        relay = self.relay_to(postfix.port)
        self.send(relay, "one@example.org")
        relay.wait_for(1, "relayed")
        postfix.stop()
        postfix.start()
        self.send(relay, "two@example.org")
        self.assertEqual(len(self.collector.wait_for(2)), 2)
        relay.wait_for(2, "relayed")
        self.assertEqual(relay.facts("delayed"), [])


class AiosmtpdTests(_UpstreamTests):
    def setUp(self) -> None:
        self.kept: list[Envelope] = []
        self.controller = Controller(
            self, hostname="127.0.0.1", port=free_port(), enable_SMTPUTF8=True
        )
        self.controller.start()
        self.addCleanup(self.controller.stop)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.kept.append(envelope)
        return "250 2.0.0 kept"

    def test_content_and_envelope(self) -> None:
        relay = self.relay_to(self.controller.port)
        self.send(relay, "one@example.org", "two@example.org")
        relay.wait_for(2, "relayed")
        (envelope,) = self.kept
        self.assertEqual(without_received(envelope.content), _CONTENT)
        self.assertEqual(envelope.rcpt_tos, ["one@example.org", "two@example.org"])
        self.assertEqual(envelope.mail_from, _SENDER)


class SmtpSinkTests(_UpstreamTests):
    def test_content_and_envelope(self) -> None:
        sink = SmtpSink(keep=True)
        self.addCleanup(sink.clean_up)
        sink.start()
        relay = self.relay_to(sink.port)
        self.send(relay, "one@example.org", "two@example.org")
        relay.wait_for(2, "relayed")
        wait_until(lambda: b"two@example.org" in sink.kept, "mail in the file of smtp-sink")
        own, _, content = sink.kept.partition(b"\nReceived: from relay.example.net")
        self.assertIn(b"X-Rcpt-Args: <one@example.org>\nX-Rcpt-Args: <two@example.org>", own)
        self.assertTrue(content.endswith(_CONTENT.replace(b"\r\n", b"\n") + b"\n"))
