"""The collector that judges the relay: it keeps what came, and answers as told."""

import smtplib
import socket

from tests.process.child import wait_until
from tests.process.collector import DROP, Kept
from tests.process.through_relay import ThroughRelay


class CollectorTests(ThroughRelay):
    def test_content_byte_for_byte(self) -> None:
        """Dots at line starts, empty content, and several transactions in one session."""
        contents = (
            b"a\r\n.b\r\n..\r\n.\r\n",
            b".\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"x" * 300000 + b"\r\n",
        )
        collector = self.collector()
        with smtplib.SMTP("127.0.0.1", collector.port, timeout=20) as session:
            for content in contents:
                session.sendmail("a@example.net", ["b@example.org"], content)
        self.assertEqual([kept.content for kept in collector.kept], list(contents))
        self.assertEqual(collector.sessions, 1)

    def test_pipelined_and_no_content(self) -> None:
        collector = self.collector()
        with socket.create_connection(("127.0.0.1", collector.port), timeout=20) as client:
            client.sendall(
                b"EHLO x\r\nMAIL FROM:<> SIZE=0\r\nRCPT TO:<b@example.org>\r\nDATA\r\n.\r\nQUIT\r\n"
            )
            wait_until(lambda: b"221" in client.recv(65536), "221")
        expected = Kept("FROM:<> SIZE=0", ["TO:<b@example.org>"], b"", "ESMTP")
        self.assertEqual(collector.kept, [expected])
        self.assertEqual((expected.sender, expected.recipients), ("", ["b@example.org"]))

    def test_only_crlf_dot_crlf_ends_content(self) -> None:
        collector = self.collector()
        with socket.create_connection(("127.0.0.1", collector.port), timeout=20) as client:
            client.sendall(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
            client.sendall(b"a\n.\nb\r\n.\nc\r.\r\n\r\n.\r\n")
            collector.wait_for(1)
        self.assertEqual(collector.kept[0].content, b"a\n.\nb\r\n\nc\r.\r\n\r\n")

    def test_scripted_answers(self) -> None:
        """By step and argument, for so many times; what is refused is not kept."""
        collector = self.collector()
        collector.answer("RCPT", "550 5.1.1 no", "*<bad@*")
        collector.answer("DOT", "451 4.3.0 later", times=1)
        with smtplib.SMTP("127.0.0.1", collector.port, timeout=20) as session:
            self.assertRaises(smtplib.SMTPDataError, session.sendmail, "a@x.org", ["b@x.org"], b"1")
            refused = session.sendmail("a@x.org", ["b@x.org", "bad@x.org"], b"2\r\n")
        self.assertEqual(list(refused), ["bad@x.org"])
        self.assertEqual([kept.content for kept in collector.kept], [b"2\r\n"])
        self.assertEqual(collector.kept[0].recipients, ["b@x.org"])

    def test_drop_and_away(self) -> None:
        collector = self.collector()
        collector.answer("MAIL", DROP, times=1)
        with smtplib.SMTP("127.0.0.1", collector.port, timeout=20) as session:
            session.ehlo()
            self.assertRaises(smtplib.SMTPServerDisconnected, session.mail, "a@x.org")
        collector.stop()
        with self.assertRaises(ConnectionRefusedError):
            smtplib.SMTP("127.0.0.1", collector.port, timeout=20)
        collector.start()
        smtplib.SMTP("127.0.0.1", collector.port, timeout=20).close()
