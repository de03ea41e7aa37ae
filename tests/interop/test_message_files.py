"""Every file of Python's own email tests goes through the relay, byte for byte.

The messages, and the pictures and sounds beside them: as content those hold bare CR and NUL.
"""

import re
import smtplib

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.received import without_received
from tests.interop.tools import need_email_data
from tests.process.collector import Collector
from tests.process.relay_process import RelayProcess, upstream

_LINE_FEED = re.compile(rb"(?<!\r)\n")
_FORBIDDEN = re.compile(rb"\r(?!\n)|\0")


def normalised(octets: bytes) -> bytes:
    """As a client must send it: each line ends in CRLF."""
    content = _LINE_FEED.sub(b"\r\n", octets)
    return content if content.endswith(b"\r\n") else content + b"\r\n"


class MessageFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = need_email_data()
        files = sorted(path for path in folder.iterdir() if path.is_file())
        self.messages = {path.name: normalised(path.read_bytes()) for path in files}
        self.collector = Collector()
        self.collector.start()
        self.addCleanup(self.collector.stop)
        self.relay = RelayProcess([upstream("main", self.collector.port)])
        self.addCleanup(self.relay.clean_up)
        self.relay.start()

    def send(self, name: str, content: bytes) -> int:
        """The code of the reply to it."""
        options = [] if content.isascii() else ["BODY=8BITMIME"]
        with smtplib.SMTP("127.0.0.1", self.relay.port, timeout=20) as session:
            try:
                session.sendmail(
                    "sender@example.net", f"{name}@example.org", content, mail_options=options
                )
            except smtplib.SMTPDataError as error:
                self.assertIn(b"5.6.11", error.smtp_error)
                return error.smtp_code
        return 250

    def test_byte_for_byte(self) -> None:
        """Those with a bare CR or NUL are refused; all the others arrive."""
        self.assertGreater(len(self.messages), 40)
        expected = {
            name: 550 if _FORBIDDEN.search(content) else 250
            for name, content in self.messages.items()
        }
        replies = {name: self.send(name, content) for name, content in self.messages.items()}
        self.assertEqual(replies, expected)
        self.assertEqual(set(replies.values()), {250, 550})
        self.assertEqual(replies["msg_26.txt"], 250)
        accepted = [name for name, code in replies.items() if code == 250]
        kept = self.collector.wait_for(len(accepted))
        arrived = {each.recipients[0].removesuffix("@example.org"): each.content for each in kept}
        self.assertEqual(sorted(arrived), accepted)
        for name, content in arrived.items():
            self.assertEqual(without_received(content), self.messages[name], name)
