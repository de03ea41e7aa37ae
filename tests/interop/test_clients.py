"""Clients of all kinds send through the relay; the content arrives as they were given it."""

import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop import clients
from tests.interop.peers import Postfix
from tests.interop.received import without_received
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, upstream

_SENDER, _RECIPIENTS = "sender@example.net", ["one@example.org", "two@example.org"]

_CONTENT = (
    b"From: Sender <sender@example.net>\r\nTo: one@example.org\r\nSubject: dots and lines\r\n"
    b"Date: Mon, 2 Mar 2026 12:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n\r\n"
    b".a line that begins with a dot\r\n..two dots\r\n.\tdot and tab\r\n \r\n\r\n"
    + b"x" * 900
    + b"\r\nthe end\r\n"
)

_EIGHT_BIT = _CONTENT.replace(b"the end", "Gr\u00fc\u00dfe, \u65e5\u672c".encode())


class _ThroughRelay:
    """A relay before a collector."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relay-client-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.collector = Collector()
        self.collector.start()
        self.addCleanup(self.collector.stop)
        self.relay = RelayProcess([upstream("main", self.collector.port)])
        self.addCleanup(self.relay.clean_up)
        self.relay.start()


class ClientTests(_ThroughRelay, SynchronousTestCase):
    def check(
        self,
        send: clients.Send,
        content: bytes = _CONTENT,
        recipients: list[str] = _RECIPIENTS,
        adds: bytes = b"",
    ) -> None:
        """`adds`: what the client itself puts behind the content."""
        send(self.relay.port, _SENDER, recipients, content, self.folder)
        (kept,) = self.collector.wait_for(1)
        self.assertEqual((kept.sender, kept.recipients), (_SENDER, recipients))
        self.assertEqual(without_received(kept.content), content + adds)

    def test_smtplib(self) -> None:
        self.check(clients.by_smtplib)

    def test_smtplib_8_bit(self) -> None:
        self.check(clients.by_smtplib, _EIGHT_BIT)
        self.assertIn("BODY=8BITMIME", self.collector.kept[0].mail)

    def test_swaks(self) -> None:
        self.check(clients.by_swaks, adds=b"\r\n")

    def test_curl(self) -> None:
        """It ends lines by LF alone and stuffs no dot behind one: whoever counts LF as the end of a
        line, as Postfix does too, takes such a dot for a stuffed one."""
        understood = _CONTENT.replace(b"\n.", b"\n")
        send = clients.by_curl
        send(self.relay.port, _SENDER, _RECIPIENTS, _CONTENT, self.folder)
        (kept,) = self.collector.wait_for(1)
        self.assertEqual(without_received(kept.content), understood + b"\r\n")

    def test_curl_with_crlf(self) -> None:
        self.check(clients.by_curl_with_crlf)

    def test_msmtp(self) -> None:
        self.check(clients.by_msmtp)

    def test_nodemailer(self) -> None:
        self.check(clients.by_nodemailer)

    def test_smtp_source(self) -> None:
        self.check(clients.by_smtp_source, recipients=_RECIPIENTS[:1], adds=b"\r\n")


class PostfixAsClientTests(_ThroughRelay, SynchronousTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.postfix = Postfix(forward_to=self.relay.port)
        self.addCleanup(self.postfix.clean_up)
        self.postfix.start()

    def test_two_messages(self) -> None:
        """What came in by SMTP and what a local program gave to sendmail."""
        clients.by_smtplib(self.postfix.port, _SENDER, _RECIPIENTS, _CONTENT, self.folder)
        self.postfix.inject(_SENDER, ["three@example.org"], _CONTENT.replace(b"\r\n", b"\n"))
        for kept in self.collector.wait_for(2):
            self.assertEqual(kept.sender, _SENDER)
            self.assertEqual(without_received(kept.content, 2), _CONTENT)
        reached = {path for kept in self.collector.kept for path in kept.recipients}
        self.assertEqual(reached, {*_RECIPIENTS, "three@example.org"})
        self.relay.wait_until_empty()
