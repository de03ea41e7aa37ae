"""The plain values: content, envelope, reply."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.content import InlineContent
from relay.mail.envelope import Recipient
from relay.mail.reply import MAX_BRIEF, reply
from tests.properties import given


class ContentTests(SynchronousTestCase):
    @given(st.binary(max_size=50), st.integers(1, 60))
    def test_chunks_are_the_octets_in_order_and_bounded(self, octets: bytes, size: int) -> None:
        content = InlineContent(octets)
        for _ in range(2):
            chunks = list(content.chunks(size))
            self.assertEqual(b"".join(chunks), octets)
            self.assertTrue(all(0 < len(chunk) <= size for chunk in chunks))
        self.assertEqual(content.size, len(octets))


class RecipientTests(SynchronousTestCase):
    def test_which_reports_it_wants(self) -> None:
        """NOTIFY -> failure, delay, success (RFC 3461 4.1)."""
        for notify, wanted in {
            "": (True, True, False),
            "NEVER": (False, False, False),
            "FAILURE": (True, False, False),
            "SUCCESS,DELAY": (False, True, True),
            "SUCCESS,FAILURE,DELAY": (True, True, True),
        }.items():
            recipient = Recipient(1, "a@b", notify)
            wants = (recipient.wants_failure, recipient.wants_delay, recipient.wants_success)
            self.assertEqual(wants, wanted, notify)


class ReplyTests(SynchronousTestCase):
    def test_as_one_line(self) -> None:
        self.assertEqual(str(reply(550, "5.1.1", "No", "such user")), "550 5.1.1 No such user")
        self.assertEqual(str(reply(250, "", "ok")), "250 ok")
        self.assertEqual(str(reply(250, "2.0.0")), "250 2.0.0")

    def test_what_is_kept_of_it_is_bounded(self) -> None:
        endless = reply(450, "", *["x" * 2000] * 30)
        self.assertEqual("450 " + "x" * (MAX_BRIEF - 4), endless.brief())
        self.assertEqual("250 ok", reply(250, "", "ok").brief())
