"""What holds for the server engine whatever a client sends and however the network cuts it."""

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.smtp.content import ContentEncoder
from relay.smtp.events import ContentEnd, RemoteProtocolError
from tests.properties import given
from tests.smtp.shell import Shell, settings

PARTS = [
    *(b"EHLO c\r\n", b"HELO c\r\n", b"MAIL FROM:<a@b>\r\n", b"MAIL FROM:<>\n"),
    *(b"RCPT TO:<c@example.org>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n", b"BDAT 6\r\n"),
    *(b"BDAT 3 LAST\r\n", b"BDAT 0 LAST\r\n", b"BDAT x\r\n", b"RSET\r\n", b"NOOP\r\n"),
    *(b"VRFY x\r\n", b"QUIT\r\n", b"GET /\r\n", b"MAIL FROM:<\xc3\xbc@b> SMTPUTF8\r\n"),
    *(b"AUTH PLAIN\r\n", b"AUTH LOGIN dXNlcg==\r\n", b"AUTH PLAIN AHVzZXIAcGVuY2ls\r\n", b"*\r\n"),
    *(b"AHVzZXIAcGVuY2ls\r\n", b"cGVuY2ls\r\n", b"AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9Yw==\r\n"),
    *(b"text\r\n", b"\n", b"\r", b".", b"..", b"\r\n.\r\n", b".\r\n", b"\0", b"\xff", b"x" * 3000),
]

AUTH_PARTS = [
    part for part in PARTS if part[:4] == b"AUTH" or part in (b"*\r\n", b"MAIL FROM:<a@b>\r\n")
] + [b"AHVzZXIAcGVuY2ls\r\n", b"cGVuY2ls\r\n", b"AHVzZXIAd3Jvbmc=\r\n", b"\r\n", b"d3Jvbmc=\r\n"]

OPENING = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@example.org>\r\n"


def cut(octets, cuts):
    pieces, at = [], 0
    for size in cuts:
        if size:
            pieces.append(octets[at : at + size])
            at += size
    return [*filter(None, [*pieces, octets[at:]])]


conversations = st.one_of(
    st.lists(st.sampled_from(PARTS), max_size=20).map(b"".join),
    st.lists(st.sampled_from(PARTS), max_size=12).map(lambda parts: OPENING + b"".join(parts)),
)


class PropertyTests(SynchronousTestCase):
    @hypothesis_settings(max_examples=400)
    @given(
        conversations,
        st.lists(st.integers(1, 40), max_size=60),
        st.sampled_from(["normalise", "reject"]),
        st.sampled_from(["none", "offered"]),
    )
    def test_any_split_gives_the_same(self, octets, cuts, bare_newline, auth):
        config = settings(
            bare_newline=bare_newline,
            max_message_size=50,
            max_errors=5,
            auth=auth,
            auth_without_tls=True,
        )
        whole, split = Shell(config), Shell(config)
        whole.say(*cut(octets, []))
        split.say(*cut(octets, cuts))
        self.assertEqual(split.sent, whole.sent)
        self.assertEqual(split.contents, whole.contents)
        if not whole.engine.has_content_pending:  # of unfinished content more or less may be out
            self.assertEqual(split.events, whole.events)

    @given(st.lists(st.sampled_from(AUTH_PARTS), max_size=8))
    def test_only_the_password_authenticates(self, parts):
        """Whatever stands around it, and nothing of what was sent comes back."""
        shell = Shell(settings(auth="offered", auth_without_tls=True, max_errors=99))
        said = shell.say(b"EHLO c\r\n" + b"".join(parts) + b"\r\n")
        self.assertEqual(b"235 " in said, shell.engine.is_authenticated)
        if not any(b"cGVuY2ls" in part or b"AHVzZXIAcGVuY2ls" in part for part in parts):
            self.assertFalse(shell.engine.is_authenticated)
        self.assertNotIn(b"cGVuY2ls", said)

    def test_octet_by_octet(self):
        octets = (
            OPENING
            + b"DATA\r\n.a\r\n..\r\n\n.\r\nb\r\n.\r\n"
            + OPENING
            + b"BDAT 2\r\na\nBDAT 1 LAST\r\n\nQUIT\r\n"
        )
        whole, split = Shell(settings()), Shell(settings())
        whole.say(octets)
        split.say(*(bytes([octet]) for octet in octets))
        self.assertEqual(split.events, whole.events)
        self.assertEqual(split.sent, whole.sent)
        self.assertEqual(whole.contents, [b"a\r\n.\r\n\r\n.\r\nb\r\n", b"a\r\n\r\n"])

    @given(st.lists(st.binary(min_size=1, max_size=200), max_size=10), st.booleans())
    def test_only_remote_protocol_error_escapes(self, pieces, is_open):
        shell = Shell(settings())
        try:
            if is_open:
                shell.say(OPENING + b"DATA\r\n")
            shell.say(*pieces, b"")
        except RemoteProtocolError:
            pass
        self.assertTrue(shell.is_closed)

    @given(
        st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\xff", b"..", b"DATA\r\n", b"\r\n.\r\n"])),
        st.integers(1, 7),
        st.lists(st.integers(1, 9), max_size=30),
    )
    def test_content_in_is_content_out(self, parts, size, cuts):
        content = b"".join(parts)
        content += b"\r\n" if content else b""
        encoder = ContentEncoder()
        chunks = [content[i : i + size] for i in range(0, len(content), size)]
        wire = b"".join([*map(encoder.encode, chunks), encoder.finish()])
        shell = Shell(settings(bare_newline="reject"))
        shell.say(OPENING + b"DATA\r\n")
        shell.say(*cut(wire + b"NOOP\r\n", cuts))
        self.assertEqual(shell.contents, [content])
        ends = [event for event in shell.events if type(event) is ContentEnd]
        self.assertEqual(ends, [ContentEnd(len(content))])
        self.assertTrue(shell.sent.endswith(b"queued as ID\r\n250 2.0.0 Ok\r\n"))

    @given(st.lists(st.binary(max_size=20).map(lambda b: b.translate(None, b"\r\n\0")), max_size=8))
    def test_chunks_in_are_content_out(self, chunks):
        shell = Shell(settings())
        shell.say(OPENING)
        wire = [b"BDAT %d\r\n%b\r\n" % (len(chunk) + 2, chunk) for chunk in chunks]
        shell.say(b"".join(wire) + b"BDAT 0 LAST\r\n")
        self.assertEqual(shell.contents, [b"".join(chunk + b"\r\n" for chunk in chunks)])
