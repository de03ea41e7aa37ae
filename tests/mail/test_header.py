"""The reading of headers."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.header import MAX_HEADER, MAX_VALUE, Header, end_of_header
from tests.properties import given

SIMPLE = b"Subject: one\r\nMessage-Id:\r\n <a@b>\r\nX: y\r\n\r\nSubject: body\r\n"


class EndTests(SynchronousTestCase):
    def test_the_empty_line_ends_it(self) -> None:
        self.assertEqual(SIMPLE[end_of_header(SIMPLE) :], b"\r\nSubject: body\r\n")

    def test_no_header_at_all(self) -> None:
        self.assertEqual(end_of_header(b"\r\nbody\r\n"), 0)

    def test_no_empty_line(self) -> None:
        self.assertEqual(end_of_header(b"A: b\r\nC: d\r\n"), 12)
        self.assertEqual(end_of_header(b""), 0)


class ValueTests(SynchronousTestCase):
    def test_first_of_its_name_unfolded_in_any_case(self) -> None:
        self.assertEqual(Header(SIMPLE).value(b"message-id"), "<a@b>")
        self.assertEqual(Header(SIMPLE).value(b"subject"), "one")
        self.assertEqual(Header(SIMPLE).value(b"x"), "y")

    def test_absent(self) -> None:
        for content in (b"", SIMPLE, b"\r\nAbsent: in the body\r\n", b"A: Absent: x\r\n\r\n"):
            self.assertEqual(Header(content).value(b"absent"), "")

    def test_a_field_that_the_content_ends_in(self) -> None:
        self.assertEqual(Header(b"A: b\r\n c").value(b"a"), "b c")

    def test_it_is_bounded(self) -> None:
        self.assertEqual(len(Header(b"A:" + b"x" * 5000).value(b"a")), MAX_VALUE)
        far = b"X: y\r\n" * (MAX_HEADER // 6 + 1) + b"A: b\r\n"
        self.assertEqual(Header(far).value(b"a"), "")

    @given(st.binary(max_size=60))
    def test_whatever_it_holds_it_can_be_logged(self, octets: bytes) -> None:
        value = Header(b"A: " + octets).value(b"a")
        self.assertTrue(value.isprintable())
        value.encode()


class CountTests(SynchronousTestCase):
    def test_only_at_line_starts_of_the_header(self) -> None:
        content = (
            b"Received: a\r\nRECEIVED: b\r\n\tReceived: folded\r\nX-Received: no\r\n"
            b"received:c\r\nSubject: Received:\r\n\r\nReceived: body\r\n\r\nReceived: body\r\n"
        )
        self.assertEqual(Header(content).count(b"received"), 3)

    def test_none_without_a_header(self) -> None:
        self.assertEqual(Header(b"\r\nReceived: body\r\n").count(b"received"), 0)
        self.assertEqual(Header(b"").count(b"received"), 0)

    @given(st.binary())
    def test_nothing_escapes(self, octets: bytes) -> None:
        self.assertLessEqual(end_of_header(octets), len(octets))
        self.assertGreaterEqual(Header(octets).count(b"a"), 0)
