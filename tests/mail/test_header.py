"""The reading of headers."""

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.header import MAX_HEADER, MAX_VALUE, count_fields, end_of_header, header_value
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
        self.assertEqual(header_value(SIMPLE, b"MESSAGE-ID"), "<a@b>")
        self.assertEqual(header_value(SIMPLE, b"subject"), "one")
        self.assertEqual(header_value(SIMPLE, b"X"), "y")

    def test_absent(self) -> None:
        for content in (b"", SIMPLE, b"\r\nAbsent: in the body\r\n", b"A: Absent: x\r\n\r\n"):
            self.assertEqual(header_value(content, b"Absent"), "")

    def test_a_field_that_the_content_ends_in(self) -> None:
        self.assertEqual(header_value(b"A: b\r\n c", b"A"), "b c")

    def test_it_is_bounded(self) -> None:
        self.assertEqual(len(header_value(b"A:" + b"x" * 5000, b"A")), MAX_VALUE)
        far = b"X: y\r\n" * (MAX_HEADER // 6 + 1) + b"A: b\r\n"
        self.assertEqual(header_value(far, b"A"), "")

    @given(st.binary(max_size=60))
    def test_whatever_it_holds_it_can_be_logged(self, octets: bytes) -> None:
        value = header_value(b"A: " + octets, b"A")
        self.assertTrue(value.isprintable())
        value.encode()


class CountTests(SynchronousTestCase):
    def test_only_at_line_starts_of_the_header(self) -> None:
        content = (
            b"Received: a\r\nRECEIVED: b\r\n\tReceived: folded\r\nX-Received: no\r\n"
            b"received:c\r\nSubject: Received:\r\n\r\nReceived: body\r\n\r\nReceived: body\r\n"
        )
        self.assertEqual(count_fields(content, b"Received"), 3)

    def test_none_without_a_header(self) -> None:
        self.assertEqual(count_fields(b"\r\nReceived: body\r\n", b"Received"), 0)
        self.assertEqual(count_fields(b"", b"Received"), 0)

    @given(st.binary())
    def test_nothing_escapes(self, octets: bytes) -> None:
        self.assertLessEqual(end_of_header(octets), len(octets))
        self.assertGreaterEqual(count_fields(octets, b"a"), 0)
