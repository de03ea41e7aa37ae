"""Eight bits into seven: what is read back must be what was sent."""

from binascii import a2b_qp
from email import message_from_bytes
from email.message import Message

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.content import Content, InlineContent
from relay.mail.encoding import base64, has_long_line, quoted_printable
from relay.mail.transcode import MAX_DEPTH, MAX_PARTS, has_8bit_header, is_7bit, to_7bit
from tests.properties import given

TEXT = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
MULTI = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b b"\r\n'
CAFE = "café\r\n".encode()


def converted(octets: bytes) -> bytes:
    content = to_7bit(InlineContent(octets))
    assert content is not None, octets
    result = b"".join(content.chunks())
    assert result.isascii()
    return result


def leaves(message: Message) -> list[tuple[str, bytes]]:
    return [
        (part.get_content_type(), part.get_payload(decode=True))
        for part in message.walk()
        if not part.is_multipart()
    ]


def multi(*parts: bytes, head: bytes = MULTI) -> bytes:
    pieces = [head + b"\r\npreamble"]
    pieces += (b"\r\n--b b\r\n" + part for part in parts)
    return b"".join(pieces) + b"\r\n--b b--\r\nepilogue\r\n"


class LeafTests(SynchronousTestCase):
    def test_text(self) -> None:
        self.assertEqual(
            converted(TEXT + b"Content-Transfer-Encoding: 8bit\r\nX: y\r\n\r\n" + CAFE),
            TEXT + b"Content-Transfer-Encoding: quoted-printable\r\nX: y\r\n\r\ncaf=C3=A9\r\n",
        )

    def test_no_label(self) -> None:
        self.assertEqual(
            converted(TEXT + b"\r\n" + CAFE),
            TEXT + b"Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n",
        )

    def test_not_mime_at_all(self) -> None:
        self.assertEqual(
            converted(b"Subject: x\r\n\r\n" + CAFE),
            b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n"
            b"Content-Type: text/plain; charset=unknown-8bit\r\n\r\ncaf=C3=A9\r\n",
        )

    def test_no_header(self) -> None:
        self.assertTrue(converted(b"\r\n" + CAFE).endswith(b"unknown-8bit\r\n\r\ncaf=C3=A9\r\n"))

    def test_other_kinds_become_base64(self) -> None:
        head = b"MIME-Version: 1.0\r\nContent-Type: image/png\r\n"
        self.assertEqual(
            converted(head + b"content-transfer-encoding:\r\n 8bit\r\n\r\n\xff\xfe\r\n"),
            head + b"content-transfer-encoding: base64\r\n\r\n//4NCg==\r\n",
        )

    def test_long_lines_are_cut(self) -> None:
        result = converted(TEXT + b"\r\n" + b"\xe9" * 5000 + b"\r\n")
        self.assertFalse(has_long_line(result))
        self.assertEqual(leaves(message_from_bytes(result))[0][1], b"\xe9" * 5000 + b"\r\n")


class StructureTests(SynchronousTestCase):
    def test_only_what_must_changes(self) -> None:
        plain = b"Content-Type:  text/plain ;x=y\r\n\r\nleave me = alone \r\n"
        picture = b"Content-Transfer-Encoding: base64\r\nContent-Type: image/png\r\n\r\n//4=\r\n"
        before = multi(plain, b"\r\n" + CAFE, picture)
        added = (
            b"Content-Transfer-Encoding: quoted-printable\r\n"
            b"Content-Type: text/plain; charset=unknown-8bit\r\n"
        )
        self.assertEqual(converted(before), multi(plain, added + b"\r\ncaf=C3=A9\r\n", picture))

    def test_containers_and_7bit_parts_no_longer_say_8bit(self) -> None:
        label = b"Content-Transfer-Encoding: %b\r\n"
        for claim in (label % b"8bit", label % b"Binary"):
            before = multi(claim + b"\r\nx", claim + b"\r\n" + CAFE, head=MULTI + claim)
            after = message_from_bytes(converted(before))
            labels = [part["Content-Transfer-Encoding"] for part in after.walk()]
            self.assertEqual(labels, ["7bit", "7bit", "quoted-printable"])

    def test_a_message_within(self) -> None:
        inner = b"Subject: in\r\n\r\n" + CAFE
        head = b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        result = converted(multi(head + inner))
        self.assertIn(
            b"message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: in", result
        )
        self.assertEqual(leaves(message_from_bytes(result)), [("text/plain", CAFE)])

    def test_digest(self) -> None:
        head = MULTI.replace(b"mixed", b"digest")
        result = converted(multi(b"\r\nSubject: in\r\n\r\n" + CAFE, head=head))
        self.assertIn(b"\r\n\r\nSubject: in\r\nMIME-Version: 1.0\r\n", result)
        self.assertEqual(leaves(message_from_bytes(result)), [("text/plain", CAFE)])

    def test_nested_with_a_boundary_that_begins_alike(self) -> None:
        inner = (
            b"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n"
            + CAFE
            + b"\r\n--b--"
        )
        result = message_from_bytes(converted(multi(inner, b"\r\nlast")))
        self.assertEqual([octets for _, octets in leaves(result)], [CAFE, b"last"])

    def test_preamble_and_epilogue_are_for_nobody(self) -> None:
        before = multi(b"\r\nx").replace(b"preamble", b"pr\xe9").replace(b"epi", b"\xe9")
        self.assertEqual(
            converted(before), multi(b"\r\nx").replace(b"preamble", b"pr?").replace(b"epi", b"?")
        )

    def test_odd_delimiters(self) -> None:
        """Parts without anything, no closing delimiter, white space behind delimiters."""
        before = MULTI + b"\r\n--b b\r\n--b b  \r\n\r\n--b b\t\r\n\r\n" + CAFE
        result = converted(before)
        self.assertTrue(result.startswith(MULTI + b"\r\n--b b\r\n--b b  \r\n\r\n--b b\t\r\n"))
        self.assertTrue(result.endswith(b"\r\n\r\ncaf=C3=A9\r\n"))

    def test_a_soft_break_makes_no_boundary(self) -> None:
        text = b"\xe9" * 24 + b"--b b"
        for shift in range(20):
            body = b"x" * shift + text + b"\r\n"
            result = message_from_bytes(
                converted(multi(b"Content-Type: text/plain\r\n\r\n" + body))
            )
            self.assertEqual([octets for _, octets in leaves(result)], [body])


class ImpossibleTests(SynchronousTestCase):
    def test_table(self) -> None:
        label = b"Content-Transfer-Encoding: "
        signed = b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\n%b\r\n--s--"
        for octets in (
            "Subject: é\r\n\r\nx\r\n".encode(),
            b"DKIM-Signature: v=1\r\n\r\n" + CAFE,
            b"no header but \xe9\r\n",
            TEXT + label + b"base64\r\n\r\n" + CAFE,
            TEXT + label + b"x-uuencode\r\n\r\n" + CAFE,
            TEXT + label + b"8bit\r\n" + label + b"7bit\r\n\r\n" + CAFE,
            TEXT + TEXT + b"\r\n" + CAFE,
            b"Content-Type: application/pkcs7-mime\r\n\r\n\xff",
            b"Content-Type: multipart/mixed\r\n\r\n" + CAFE,
            MULTI + b"\r\nno parts " + CAFE,
            multi(b"X: \xe9\r\n\r\nx"),
            multi(b"Content-Type: message/partial\r\n\r\n" + CAFE),
            multi(signed % b"\xe9"),
        ):
            self.assertIsNone(to_7bit(InlineContent(octets)), octets)

    def test_seven_bits_signed_beside_eight(self) -> None:
        signed = (
            b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n%b8bit\r\n\r\nx\r\n--s--"
        )
        signed %= b"Content-Transfer-Encoding: "
        self.assertIn(signed, converted(multi(signed, b"\r\n" + CAFE)))

    def test_a_riddle_in_a_7bit_part_is_left_alone(self) -> None:
        riddle = b"Content-Type: a/b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\nx"
        self.assertIn(riddle, converted(multi(riddle, b"\r\n" + CAFE)))

    def test_too_deep(self) -> None:
        octets = CAFE
        for _ in range(MAX_DEPTH + 1):
            octets = b"Content-Type: message/rfc822\r\n\r\n" + octets
        self.assertIsNone(to_7bit(InlineContent(octets)))

    def test_too_many_parts(self) -> None:
        parts = [b"\r\n"] * MAX_PARTS
        self.assertIsNone(to_7bit(InlineContent(multi(*parts, b"\r\n" + CAFE))))

    def test_too_large(self) -> None:
        self.assertIsNone(to_7bit(Huge()))


class Huge:
    size = 1 << 40

    def chunks(self, size: int = 65536) -> list[bytes]:
        return [b"\xe9"]


class QuestionTests(SynchronousTestCase):
    def test_is_7bit(self) -> None:
        self.assertTrue(is_7bit(InlineContent(b"")))
        self.assertTrue(is_7bit(InlineContent(b"x" * 200_000)))
        self.assertFalse(is_7bit(InlineContent(b"x" * 200_000 + b"\x80")))

    def test_has_8bit_header(self) -> None:
        self.assertFalse(has_8bit_header(InlineContent(TEXT + b"\r\n" + CAFE)))
        self.assertTrue(has_8bit_header(InlineContent(b"A: \xe9\r\n\r\n")))
        spread: Content = InlineContent(b"A: b\r\n" * 20_000 + b"C: \xe9\r\n\r\nx")
        self.assertTrue(has_8bit_header(spread))

    def test_seven_bits_stay_the_same_object(self) -> None:
        content = InlineContent(b"DKIM-Signature: x\r\n\r\nx\r\n")
        self.assertIs(to_7bit(content), content)


CLEAN = st.lists(st.binary(max_size=90).map(lambda b: b.translate(None, b"\r\n\0"))).map(
    b"\r\n".join
)
LABEL = st.sampled_from([b"", b"Content-Transfer-Encoding: 8bit\r\n"])
LEAF = st.builds(
    lambda kind, label, body: b"Content-Type: " + kind + b"\r\n" + label + b"\r\n" + body,
    st.sampled_from([b"text/plain", b"text/html; charset=latin1", b"image/png"]),
    LABEL,
    CLEAN,
)


def _nested(number: int, label: bytes, parts: list[bytes]) -> bytes:
    delimiter = b"\r\n--=_%d" % number
    head = b'Content-Type: multipart/mixed; boundary="=_%d"\r\n%b\r\n' % (number, label)
    return head + b"".join(delimiter + b"\r\n" + part for part in parts) + delimiter + b"--\r\n"


TREES = st.recursive(
    LEAF,
    lambda inner: st.builds(
        _nested, st.integers(10, 10**9), LABEL, st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


HEADERS = (
    MULTI,
    TEXT,
    b"Content-Type: ",
    b"message/rfc822",
    b"Content-Transfer-Encoding: 8bit\r\n",
)
OTHERS = (
    CAFE,
    b"\r\n",
    b"\r\n\r\n",
    b"--b b",
    b"--",
    b"\r\n--b b\r\n",
    b"\xff",
    b";",
    b"\n",
    b"\0",
)
PIECES = st.lists(st.sampled_from(HEADERS + OTHERS)).map(b"".join)


class PropertyTests(SynchronousTestCase):
    @given(TREES)
    def test_what_is_read_back_is_what_was_sent(self, octets: bytes) -> None:
        sent = leaves(message_from_bytes(octets))
        self.assertEqual(leaves(message_from_bytes(converted(octets))), sent)

    def test_a_space_at_the_end_of_a_full_line(self) -> None:
        """Encoded it would be the line's 75th to 77th."""
        for blank in (b" ", b"\t"):
            for length in range(70, 80):
                line = b"a" * length + blank
                encoded = quoted_printable(line + b"\r\n" + line + b"\r\n")
                self.assertLessEqual(max(map(len, encoded.split(b"\r\n"))), 76)
                self.assertEqual(line + b"\r\n" + line + b"\r\n", a2b_qp(encoded))

    @given(CLEAN)
    def test_encodings(self, octets: bytes) -> None:
        head = b"Content-Transfer-Encoding: %b\r\n\r\n%b"
        for name, encode in ((b"quoted-printable", quoted_printable), (b"base64", base64)):
            encoded = encode(octets)
            self.assertTrue(encoded.isascii())
            self.assertLessEqual(max(map(len, encoded.split(b"\r\n"))), 76)
            read = message_from_bytes(head % (name, encoded)).get_payload(decode=True)
            self.assertEqual(read, octets)

    @given(st.binary() | PIECES)
    def test_whatever_comes_it_is_seven_bits_or_none(self, octets: bytes) -> None:
        content = InlineContent(octets)
        has_8bit_header(content)
        result = to_7bit(content)
        self.assertTrue(result is None or is_7bit(result))
