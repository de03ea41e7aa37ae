"""Smuggling, the engine alone: the whole matrix, cut at every place, by DATA and by BDAT."""

from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.content import ContentEncoder
from tests.attacks.smuggling import DOTS, ENDS, SMUGGLED, Variant, is_canonical, variants
from tests.smtp.shell import Shell, settings

OPENING = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\n"

ANNOUNCED = (
    b"BDAT\t60",
    b" BDAT 60",
    b"\tBDAT 60",
    b"\0BDAT 60",
    b"\xef\xbb\xbfBDAT 60",
    b"BDAT\xc2\xa060",
    b"BDAT\xff60",
    b"BDAT60",
    b"bdat:60",
    b"BDAT 60\tLAST",
    b"BDAT 60" + b" " * 2100,
    b"BDAT" + b" " * 2100 + b"60",
    b"bdat 60 LAST" + b" " * 60000,
    b" " * 3000 + b"BDAT 60",
    b" " * 63 + b"BDAT 60" + b" " * 3000,
)
"""Each tells somebody of octets that follow."""


def on_the_wire(content: bytes, size: int) -> bytes:
    """As the client engine sends it, where it comes from the store in pieces of that size."""
    encoder = ContentEncoder()
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join([*map(encoder.encode, pieces), encoder.finish()])


def told(shell: Shell) -> tuple[list[bytes], list[bytes]]:
    """Which of several faults a refusal names may depend on where the content was cut."""
    return [line[:4] for line in shell.sent.split(b"\r\n")], shell.contents


class _Matrix(SynchronousTestCase):
    bare_newline = ""

    def shell(self) -> Shell:
        return Shell(settings(bare_newline=self.bare_newline, max_errors=100))

    def said(self, *pieces: bytes) -> Shell:
        shell = self.shell()
        shell.say(OPENING, *pieces, b"QUIT\r\n")
        self.assertTrue(shell.is_closed)
        return shell

    def check(self, shell: Shell, variant: Variant) -> None:
        """One message or none, and what goes on has one end, as every server sees it."""
        self.assertLessEqual(len(shell.contents), 1, variant)
        for content in shell.contents:
            for size in (1, 7, len(content)):
                self.assertTrue(is_canonical(on_the_wire(content, size)), variant)

    def assert_not_smuggled(self, shell: Shell, variant: Variant) -> None:
        self.check(shell, variant)
        paths = [getattr(event, "reverse_path", "a@b") for event in shell.events]
        self.assertNotIn(SMUGGLED, paths, variant)


class _Data:
    def test_data_cut_at_every_place(self: _Matrix) -> None:
        count = 0
        for variant in variants():
            if variant.is_end:
                continue
            content = variant.content("example.org")
            start = content.index(b"begin") + 4
            whole = self.said(b"DATA\r\n", content)
            self.assert_not_smuggled(whole, variant)
            count += 1
            if count % 4:  # cut each fourth: the time that all of them take finds nothing more
                continue
            for at in range(start, start + len(variant.octets) + 3):
                cut = self.said(b"DATA\r\n", content[:at], content[at:])
                self.assertEqual(told(whole), told(cut), variant)
        self.assertGreater(count, 2000)

    def test_data_octet_by_octet(self: _Matrix) -> None:
        for variant in variants(ENDS[:9], DOTS[:2]):
            if not variant.is_end:
                content = variant.content("example.org")
                pieces = [content[at : at + 1] for at in range(len(content))]
                self.assert_not_smuggled(self.said(b"DATA\r\n", *pieces), variant)

    def test_at_the_begin_of_content(self: _Matrix) -> None:
        """A dot on the first line is an end only before CRLF."""
        for dot in DOTS:
            for end in ENDS:
                if not (dot + end).startswith(b".\r\n"):
                    variant = Variant(dot + end)
                    bait = b"MAIL FROM:<%s>\r\n\r\n.\r\n" % SMUGGLED.encode()
                    if variant.is_end or b"\r\n.\r\n" in dot + end + bait[:-5]:
                        continue
                    self.assert_not_smuggled(self.said(b"DATA\r\n", dot + end + bait), variant)

    def test_an_end_is_an_end(self: _Matrix) -> None:
        """So that the others prove something: behind CRLF.CRLF comes the next transaction, but
        where the content was refused as it stood the session is over."""
        seen = 0
        for variant in filter(lambda each: each.is_end, variants()):
            shell = self.said(b"DATA\r\n", variant.content("example.org"))
            self.assertNotEqual(1, len(shell.contents) if b"\r\n\r\n" in variant.octets else 0)
            seen += len(shell.contents) == 2
        self.assertGreater(seen, 0)


class _Bdat:
    def test_bdat_cut_at_every_place(self: _Matrix) -> None:
        """Two chunks, the second one LAST, and the same ended by an empty one."""
        for variant in variants(ENDS, DOTS[:1]):
            content = variant.content("example.org")
            start = content.index(b"begin") + 5
            for at in range(start, start + len(variant.octets) + 1):
                one, other = content[:at], content[at:]
                sized = b"BDAT %d\r\n%b" % (len(one), one)
                last = b"BDAT %d LAST\r\n%b" % (len(other), other)
                first = self.said(sized, last)
                self.assert_not_smuggled(first, variant)
                more = b"BDAT %d\r\n%bBDAT 0 LAST\r\n" % (len(other), other)
                second = self.said(sized + more)
                self.assertEqual(first.contents, second.contents, variant)

    def test_bdat_then_data(self: _Matrix) -> None:
        """RFC 3030 2: no mixing. DATA after a chunk begins no content."""
        for variant in variants(ENDS[:6], DOTS[:2]):
            content = variant.content("example.org")
            sized = b"BDAT 5\r\nbegin"
            shell = self.said(sized, b"DATA\r\n", content)
            self.assert_no_second(shell, variant)
            shell = self.said(sized + b"DATA\r\n" + content)
            self.assert_no_second(shell, variant)

    def assert_no_second(self: _Matrix, shell: Shell, variant: Variant) -> None:
        """The content's lines were commands, and refused as such; MAIL among them was nested."""
        self.assertEqual([], shell.contents, variant)
        self.assertIn(b"503 5.5.1", shell.sent)

    def test_a_wrong_size_closes(self: _Matrix) -> None:
        for size in (b"-1", b"+5", b"5.", b"0x5", b"1e1", b"9" * 21, b"5 5", b"", b"5\0"):
            shell = self.said(b"BDAT " + size + b"\r\nMAIL FROM:<x@y>\r\n")
            self.assertEqual([], shell.contents)
            self.assertNotIn(b"503", shell.sent)


class _Announced:
    """A chunk is on its way behind a line that was not understood: it is nobody's commands."""

    def test_no_chunk_is_read_as_commands(self: _Matrix) -> None:
        chunk = b"RSET\r\nMAIL FROM:<%b>\r\n" % SMUGGLED.encode()
        for line in ANNOUNCED:
            for opening in (b"", b"EHLO c\r\n", OPENING):
                for size in (1, 7, 1000, len(line) + len(chunk)):
                    octets = opening + line + b"\r\n" + chunk
                    shell = self.shell()
                    shell.say(*[octets[at : at + size] for at in range(0, len(octets), size)])
                    self.assertTrue(shell.is_closed, (line[:80], opening, size))
                    paths = [getattr(event, "reverse_path", "") for event in shell.events]
                    self.assertNotIn(SMUGGLED, paths, line[:80])

    def test_other_mistakes_close_nothing(self: _Matrix) -> None:
        for line in (b"XYZZY", b"", b" ", b" NOOP", b"DBAT 5", b"MAIL BDAT", b"x" * 3000):
            shell = self.shell()
            shell.say(b"EHLO c\r\n" + line + b"\r\n")
            self.assertFalse(shell.is_closed, line[:80])

    def test_in_the_place_of_a_response_to_a_challenge(self: _Matrix) -> None:
        shell = Shell(
            settings(bare_newline=self.bare_newline, auth="offered", auth_without_tls=True)
        )
        shell.say(b"EHLO c\r\nAUTH PLAIN\r\nBDAT 6\r\nQUIT\r\n")
        self.assertTrue(shell.is_closed)
        self.assertNotIn(b"221", shell.sent)


class NormaliseTests(_Announced, _Data, _Bdat, _Matrix):
    bare_newline = "normalise"


class RejectTests(_Announced, _Data, _Bdat, _Matrix):
    bare_newline = "reject"

    def test_a_chunk_announced_by_a_line_that_ends_in_a_bare_lf(self) -> None:
        shell = self.said(b"BDAT 12\nMAIL FROM:<x@y>\r\n")
        self.assertNotIn(b"503", shell.sent)

    def test_nothing_but_canonical_lines_is_taken(self) -> None:
        for variant in variants():
            if any(octets in variant.octets for octets in (b"\0", b"\r\r", b"\n\r")):
                shell = self.said(b"DATA\r\n", variant.content("example.org"))
                if not variant.is_end:
                    self.assertEqual([], shell.contents, variant)
