"""The content codecs, at every split; the smuggling matrix."""

from itertools import product

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.content import (
    BARE_CR,
    BARE_LF,
    NUL,
    ChunkDecoder,
    ContentDecoder,
    ContentEncoder,
)
from tests.properties import given


def decode(pieces, bare_newline="normalise"):
    """Content (None: a fault), whether it ended, the rest."""
    decoder = ContentDecoder(bare_newline)
    out = []
    for number, piece in enumerate(pieces):
        octets, is_end, rest = decoder.feed(piece)
        out.append(octets)
        if is_end:
            rest += b"".join(pieces[number + 1 :])
            return (None if decoder.fault else b"".join(out)), True, rest
    return (None if decoder.fault else b"".join(out)), False, b""


def splits(octets):
    """Whole, octet by octet, and cut in two at every place."""
    yield [octets]
    yield [octets[i : i + 1] for i in range(len(octets))]
    for at in range(1, len(octets)):
        yield [octets[:at], octets[at:]]


def reference(octets, bare_newline):
    """What RFC 5321 4.5.2 and the rule for bare LF say, one line after the other."""
    content, is_faulty, was_crlf = [], False, True
    while True:
        end = octets.find(b"\n")
        if end < 0:
            return None, False, b""
        line, octets = octets[: end + 1], octets[end + 1 :]
        is_crlf = line.endswith(b"\r\n")
        text = line[:-2] if is_crlf else line[:-1]
        if text == b"." and is_crlf and was_crlf:
            return (None if is_faulty else b"".join(content)), True, octets
        is_faulty |= b"\r" in text or b"\0" in text or (bare_newline == "reject" and not is_crlf)
        if text.startswith(b".") and text != b".":
            text = text[1:]
        content.append(text + b"\r\n")
        was_crlf = is_crlf


class DecoderTests(SynchronousTestCase):
    def check(self, octets, content, rest=b"", bare_newline="normalise"):
        for pieces in splits(octets + rest):
            self.assertEqual(
                decode(pieces, bare_newline), (content, True, rest), (pieces, bare_newline)
            )

    def test_ends(self):
        self.check(b".\r\n", b"")
        self.check(b".\r\n", b"", b"NOOP\r\n")
        self.check(b"a\r\n.\r\n", b"a\r\n", b"QUIT\r\n")
        self.check(b"\r\n.\r\n", b"\r\n", b".\r\n")
        self.check(b"a\r\n\r\n.\r\n", b"a\r\n\r\n", b"\r\n.\r\n")

    def test_stuffing(self):
        self.check(b"..\r\n.\r\n", b".\r\n")
        self.check(b"...\r\n..a\r\n.b\r\nc.\r\n.\r\n", b"..\r\n.a\r\nb\r\nc.\r\n")
        self.check(b"a\r\n..\r\n..\r\n.\r\n", b"a\r\n.\r\n.\r\n")

    def test_bare_lf_counts_as_a_line_end(self):
        self.check(b"a\nb\r\n.\r\n", b"a\r\nb\r\n")
        self.check(b"\n\n\r\n.\r\n", b"\r\n\r\n\r\n")
        self.check(b"a\n..b\n.c\r\n.\r\n", b"a\r\n.b\r\nc\r\n")

    def test_a_lone_dot_beside_a_bare_lf_is_content(self):
        self.check(b".\nx\r\n.\r\n", b".\r\nx\r\n")
        self.check(b"a\n.\nx\r\n.\r\n", b"a\r\n.\r\nx\r\n")
        self.check(b"a\r\n.\nx\r\n.\r\n", b"a\r\n.\r\nx\r\n")
        self.check(b"a\n.\r\nx\r\n.\r\n", b"a\r\n.\r\nx\r\n")
        self.check(b"a\n.\r\n.\r\n", b"a\r\n.\r\n", b"x")

    def test_faults(self):
        for octets, fault in (
            (b"a\rb\r\n.\r\n", BARE_CR),
            (b"a\r\r\n.\r\n", BARE_CR),
            (b"a\r\n.\rb\r\n.\r\n", BARE_CR),
            (b"\r.\r\n\r\n.\r\n", BARE_CR),
            (b"a\0\r\n.\r\n", NUL),
        ):
            for setting in ("normalise", "reject"):
                self.check(octets, None, b"QUIT\r\n", setting)
            decoder = ContentDecoder("normalise")
            decoder.feed(octets)
            self.assertEqual(decoder.fault, fault)
        self.check(b"a\n\r\n.\r\n", None, b"QUIT\r\n", "reject")
        decoder = ContentDecoder("reject")
        decoder.feed(b"a\nb\r\n")
        self.assertEqual(decoder.fault, BARE_LF)

    def test_a_fault_lets_nothing_out_that_follows(self):
        decoder = ContentDecoder("normalise")
        self.assertEqual(decoder.feed(b"a\rb\r\n"), (b"", False, b""))
        self.assertEqual(decoder.feed(b"c\r\n"), (b"", False, b""))
        self.assertEqual(decoder.feed(b".\r\nx"), (b"", True, b"x"))

    def test_smuggling_matrix(self):
        """Whatever stands around a lone dot: only CRLF.CRLF ends content, at every split."""
        around = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\0", b"\n\r", b" \r\n", b"\r\n ", b"")
        dots = (b".", b" .", b". ", b"..", b"\0.", b".\0")
        for before, dot, after, setting in product(around, dots, around, ("normalise", "reject")):
            octets = b"a" + before + dot + after + b"MAIL FROM:<x@y>\r\nb\r\n.\r\n"
            expected = reference(octets, setting)
            is_end_inside = before.endswith(b"\r\n") and dot == b"." and after.startswith(b"\r\n")
            self.assertEqual(expected[2] != b"", is_end_inside, octets)
            for pieces in splits(octets):
                self.assertEqual(decode(pieces, setting), expected, (pieces, setting))

    @given(
        st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"..", b"a", b"\0"]), max_size=12),
        st.lists(st.integers(1, 4), min_size=1, max_size=8),
        st.sampled_from(["normalise", "reject"]),
    )
    def test_is_what_the_reference_says(self, parts, cuts, setting):
        octets = b"".join(parts) + b"\r\n.\r\n"
        pieces, at = [], 0
        for cut in cuts * len(octets):
            pieces.append(octets[at : at + cut])
            at += cut
        self.assertEqual(decode(pieces, setting), reference(octets, setting))

    def test_clean_chunks_are_not_copied(self):
        chunk = b"a line\r\n" * 100
        self.assertIs(ContentDecoder("reject").feed(chunk)[0], chunk)


class ManyDotsTests(SynchronousTestCase):
    """So many that they are not gone along one by one."""

    def test_a_line_that_begins_with_one_is_found_behind_them(self) -> None:
        for count in (1, 7, 8, 9, 100, 3000):
            dots = b"a." * count + b"\r\n"
            stuffed = ContentEncoder().encode(dots + b".x\r\n")
            self.assertEqual(stuffed, dots + b"..x\r\n")
            found = ContentDecoder("normalise").feed(stuffed + b".\r\nNOOP\r\n")
            self.assertEqual(found, (dots + b".x\r\n", True, b"NOOP\r\n"))

    def test_and_none_where_there_is_none(self) -> None:
        dots = b"a." * 3000 + b"\r\n"
        self.assertEqual(ContentEncoder().encode(dots), dots)
        self.assertEqual(ContentDecoder("normalise").feed(dots), (dots, False, b""))


class ChunkDecoderTests(SynchronousTestCase):
    def decode(self, pieces, setting="normalise"):
        decoder = ChunkDecoder(setting)
        octets = b"".join([decoder.feed(piece) for piece in pieces])
        decoder.finish()
        return octets, decoder.fault

    def test_no_stuffing_no_end(self):
        octets = b".\r\n..\r\n.\r\n\r\n.\r\n"
        for pieces in splits(octets):
            self.assertEqual(self.decode(pieces), (octets, ""))

    def test_line_ends(self):
        for pieces in splits(b"a\nb\r\n\nc"):
            self.assertEqual(self.decode(pieces), (b"a\r\nb\r\n\r\nc", ""))
            self.assertEqual(self.decode(pieces, "reject")[1], BARE_LF)

    def test_faults(self):
        for octets, fault in ((b"a\r", BARE_CR), (b"a\rb", BARE_CR), (b"\0", NUL)):
            for pieces in splits(octets):
                self.assertEqual(self.decode(pieces)[1], fault, pieces)


class EncoderTests(SynchronousTestCase):
    def encode(self, pieces):
        encoder = ContentEncoder()
        return b"".join([*map(encoder.encode, pieces), encoder.finish()])

    def test_every_split(self):
        for content, wire in (
            (b"a\r\n", b"a\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"a\r\n.b\r\n..\r\n", b"a\r\n..b\r\n...\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n.", b"a\r\n..\r\n.\r\n"),
            (b"\r\n.\r\n", b"\r\n..\r\n.\r\n"),
        ):
            for pieces in splits(content):
                self.assertEqual(self.encode(pieces), wire, pieces)

    def test_empty(self):
        self.assertEqual(self.encode([]), b".\r\n")
        self.assertEqual(self.encode([b"", b""]), b".\r\n")

    def test_a_bare_lf_cannot_make_an_end(self):
        self.assertEqual(self.encode([b"a\n.\r\n"]), b"a\n..\r\n.\r\n")
        self.assertEqual(self.encode([b"a\n", b".\n"]), b"a\n..\n\r\n.\r\n")

    @given(
        st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\xff", b"..", b"\r\n.\r\n"])),
        st.integers(1, 5),
        st.integers(1, 5),
    )
    def test_there_and_back(self, parts, cut, other_cut):
        content = b"".join(parts)
        if content:
            content += b"\r\n"
        wire = self.encode([content[i : i + cut] for i in range(0, len(content), cut)])
        pieces = [wire[i : i + other_cut] for i in range(0, len(wire), other_cut)]
        self.assertEqual(decode(pieces, "reject"), (content, True, b""))
