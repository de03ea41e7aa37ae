"""DSNs, read back with Python's own email package as a stranger would."""

import re
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.message import Message

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.content import InlineContent
from relay.mail.dsn import NOT_YET, Report, ReportedRecipient, compose
from relay.mail.dsn_return import MAX_RETURNED
from relay.mail.encoding import has_clean_lines, has_long_line
from relay.mail.reply import Reply, reply
from relay.mail.transcode import to_7bit
from tests.properties import given, settings

HEADER = b"Message-ID: <1@example.org>\r\nSubject: hello\r\n"
ORIGINAL = HEADER + b"\r\nthe text\r\n"
NO_SUCH_USER = reply(550, "5.1.1", "No such user", "Really")
BOB = ReportedRecipient(
    "bob@example.com",
    "failed",
    NO_SUCH_USER,
    "mx.example.com[192.0.2.1]:25",
    orcpt="rfc822;bob+2Bx@example.com",
    last_attempt_at=1763944800.0,
)
FAILED = Report(
    kind="failed",
    hostname="relay.example.net",
    reverse_path="ann@example.org",
    accepted_at=1763944200.0,
    made_at=1763944260.0,
    dsn_queue_id="0DSN",
    original_queue_id="0ORIG",
    recipients=(BOB,),
    original=InlineContent(ORIGINAL),
    envid="QQ+2B1",
)


def parts_of(content: bytes) -> list[Message]:
    message = message_from_bytes(content)
    parts = message.get_payload()
    assert isinstance(parts, list)
    return parts


def words_of(content: bytes) -> str:
    return parts_of(content)[0].get_payload(decode=True).decode()


def groups_of(content: bytes) -> list[Message]:
    """The message's fields, then each recipient's."""
    groups = parts_of(content)[1].get_payload()
    assert isinstance(groups, list)
    return [group for group in groups if group.keys()]


def returned_octets(content: bytes) -> bytes:
    """The last part as it stands."""
    boundary = message_from_bytes(content).get_boundary().encode()
    last = content.split(b"\r\n--" + boundary)[-2]
    return last.partition(b"\r\n\r\n")[2]


class FormTests(SynchronousTestCase):
    def test_header(self) -> None:
        message = message_from_bytes(compose(FAILED))
        self.assertEqual(
            message.items(),
            [
                ("From", "Mail Delivery System <MAILER-DAEMON@relay.example.net>"),
                ("To", "<ann@example.org>"),
                ("Subject", "Your message could not be delivered"),
                ("Date", "Mon, 24 Nov 2025 00:31:00 +0000"),
                ("Message-ID", "<0DSN.1763944260@relay.example.net>"),
                ("In-Reply-To", "<1@example.org>"),
                ("References", "<1@example.org>"),
                ("Auto-Submitted", "auto-replied"),
                ("MIME-Version", "1.0"),
                ("Content-Type", message["Content-Type"]),
            ],
        )
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message.get_param("report-type"), "delivery-status")
        self.assertEqual(message.defects, [])

    def test_parts(self) -> None:
        types = [part.get_content_type() for part in parts_of(compose(FAILED))]
        self.assertEqual(types, ["text/plain", "message/delivery-status", "message/rfc822"])

    def test_fields_of_the_message(self) -> None:
        self.assertEqual(
            groups_of(compose(FAILED))[0].items(),
            [
                ("Reporting-MTA", "dns; relay.example.net"),
                ("X-Relay-Queue-ID", "0ORIG"),
                ("Original-Envelope-Id", "QQ+1"),
                ("Arrival-Date", "Mon, 24 Nov 2025 00:30:00 +0000"),
            ],
        )

    def test_fields_of_a_recipient(self) -> None:
        self.assertEqual(
            groups_of(compose(FAILED))[1].items(),
            [
                ("Original-Recipient", "rfc822; bob+x@example.com"),
                ("Final-Recipient", "rfc822; bob@example.com"),
                ("Action", "failed"),
                ("Status", "5.1.1"),
                ("Remote-MTA", "dns; mx.example.com"),
                ("Diagnostic-Code", "smtp; 550 5.1.1 No such user Really"),
                ("Last-Attempt-Date", "Mon, 24 Nov 2025 00:40:00 +0000"),
            ],
        )

    def test_delay(self) -> None:
        waiting = ReportedRecipient(
            "bob@example.com", "delayed", NOT_YET, will_retry_until=1764376200.0
        )
        content = compose(replace(FAILED, kind="delayed", recipients=(waiting,)))
        group = groups_of(content)[1]
        self.assertEqual(group["Will-Retry-Until"], "Sat, 29 Nov 2025 00:30:00 +0000")
        self.assertEqual((group["Action"], group["Status"]), ("delayed", "4.0.0"))
        self.assertNotIn("Diagnostic-Code", group)
        self.assertIn("until Sat, 29 Nov 2025 00:30:00 +0000", words_of(content).replace("\n", " "))
        self.assertEqual(parts_of(content)[2].get_content_type(), "text/rfc822-headers")

    def test_success(self) -> None:
        done = replace(BOB, action="relayed", reply=reply(250, "", "ok"))
        content = compose(replace(FAILED, kind="relayed", ret="FULL", recipients=(done,)))
        group = groups_of(content)[1]
        self.assertEqual((group["Action"], group["Status"]), ("relayed", "2.0.0"))
        self.assertIn("passed on", words_of(content))
        self.assertEqual(parts_of(content)[2].get_content_type(), "text/rfc822-headers")

    def test_our_own_reply_is_no_smtp_diagnosis(self) -> None:
        content = compose(replace(FAILED, recipients=(replace(BOB, host=""),)))
        group = groups_of(content)[1]
        self.assertNotIn("Remote-MTA", group)
        self.assertTrue(group["Diagnostic-Code"].startswith("x-relay; 550 "))

    def test_host_without_a_name(self) -> None:
        for host, name in {
            "192.0.2.1[192.0.2.1]:25": "[192.0.2.1]",
            "[::1]:25": "[IPv6:::1]",
        }.items():
            content = compose(replace(FAILED, recipients=(replace(BOB, host=host),)))
            self.assertEqual(groups_of(content)[1]["Remote-MTA"], f"dns; {name}")

    def test_status_where_the_host_gave_none(self) -> None:
        for code, status in {550: "5.0.0", 451: "4.0.0", 354: "5.0.0"}.items():
            content = compose(replace(FAILED, recipients=(replace(BOB, reply=reply(code, "")),)))
            self.assertEqual(groups_of(content)[1]["Status"], status)

    def test_utf8_recipient(self) -> None:
        named = replace(BOB, forward_path="bö@example.com", orcpt="utf-8;b\\x{F6}@example.com")
        content = compose(replace(FAILED, recipients=(named,)))
        self.assertTrue(content.isascii())
        group = groups_of(content)[1]
        self.assertEqual(group["Final-Recipient"], "utf-8; b\\x{F6}@example.com")
        self.assertEqual(group["Original-Recipient"], "utf-8; b\\x{F6}@example.com")
        self.assertIn("<bö@example.com>", words_of(content))

    def test_an_address_of_another_alphabet_is_whole_in_ascii(self) -> None:
        """RFC 6533 3: neither a backslash nor a space, "+" or "=" stands for itself."""
        named = replace(BOB, forward_path='"ü +\\"@ö.example')
        group = groups_of(compose(replace(FAILED, recipients=(named,))))[1]
        expected = 'utf-8; "\\x{FC}\\x{20}\\x{2B}\\x{5C}"@\\x{F6}.example'
        self.assertEqual(expected, group["Final-Recipient"])

    def test_an_original_recipient_of_any_type_was_xtext(self) -> None:
        for orcpt, told in {
            "rfc822;a+2Bb@c": "rfc822; a+b@c",
            "x400;/C+3DUS/": "x400; /C=US/",
            "utf-8;a+2Bb\\x{F6}": "utf-8; a+2Bb\\x{F6}",
            "utf-8;bö": "utf-8; b\\x{F6}",
        }.items():
            content = compose(replace(FAILED, recipients=(replace(BOB, orcpt=orcpt),)))
            self.assertEqual(told, groups_of(content)[1]["Original-Recipient"])

    def test_utf8_sender(self) -> None:
        content = compose(replace(FAILED, reverse_path="änn@example.org"))
        self.assertIn("\r\nTo: <änn@example.org>\r\n".encode(), content)


class WordsTests(SynchronousTestCase):
    def test_failed(self) -> None:
        words = words_of(compose(FAILED))
        for said in (
            "This is the mail system at relay.example.net.",
            "could not be delivered to:",
            "<bob@example.com>",
            "at mx.example.com[192.0.2.1]:25:",
            "550 5.1.1 No such user Really",
            "It will not be tried again.",
            "0ORIG",
        ):
            self.assertIn(said, words)

    def test_expired(self) -> None:
        late = replace(BOB, reply=reply(451, "4.4.7", "delivery time expired"))
        words = words_of(
            compose(replace(FAILED, made_at=1763944200.0 + 5 * 86400, recipients=(late,)))
        )
        self.assertIn("It was tried for 5 days, and will not be tried again.", words)

    def test_each_recipient_under_what_became_of_it(self) -> None:
        carl = replace(
            BOB, forward_path="carl@example.com", action="relayed", reply=reply(250, "2.0.0")
        )
        words = words_of(compose(replace(FAILED, recipients=(carl, BOB))))
        order = [words.index(said) for said in ("could not", "<bob@", "passed on", "<carl@")]
        self.assertEqual(order, sorted(order))


class ReturnedTests(SynchronousTestCase):
    def test_whole_unless_told_otherwise(self) -> None:
        for ret in ("", "FULL"):
            content = compose(replace(FAILED, ret=ret))
            self.assertEqual(returned_octets(content), ORIGINAL)
            self.assertTrue(content.isascii())

    def test_header_only(self) -> None:
        content = compose(replace(FAILED, ret="HDRS"))
        self.assertEqual(parts_of(content)[2].get_content_type(), "text/rfc822-headers")
        self.assertEqual(returned_octets(content), HEADER)
        self.assertIn("the header of your message.", words_of(content).replace("\r\n", " "))

    def test_too_large(self) -> None:
        fits = HEADER + b"\r\n" + b"x\r\n" * ((MAX_RETURNED - len(HEADER) - 2) // 3)
        self.assertEqual(self._goes_back(fits), fits)
        content = self._content(fits + b"xx\r\n")
        self.assertEqual(returned_octets(content), HEADER)
        self.assertIn("the whole is too large", words_of(content).replace("\r\n", " "))

    def test_lines_too_long(self) -> None:
        self.assertEqual(self._goes_back(HEADER + b"\r\n" + b"x" * 999), HEADER)
        self.assertEqual(len(self._goes_back(HEADER + b"\r\n" + b"x" * 998)), len(HEADER) + 1000)

    def test_8bit(self) -> None:
        original = HEADER + "\r\ncafé\r\n".encode()
        content = self._content(original)
        self.assertEqual(returned_octets(content), original)
        self.assertEqual(parts_of(content)[2]["Content-Transfer-Encoding"], "8bit")

    def test_8bit_goes_on_to_a_host_without_8bitmime(self) -> None:
        content = to_7bit(InlineContent(self._content(HEADER + "\r\ncafé\r\n".encode())))
        assert content is not None
        last = parts_of(b"".join(content.chunks()))[2].get_payload()[0]
        self.assertEqual(last.get_payload(decode=True), "café\r\n".encode())

    def test_8bit_that_would_go_nowhere_else_stays_behind(self) -> None:
        """Else a host without 8BITMIME would refuse the report, and nobody be told."""
        signed = b"Content-Type: multipart/signed; boundary=b\r\n\r\n"
        part = b"Content-Type: text/plain; charset=utf-8\r\n\r\ngr\xc3\xbc\xc3\x9fe\r\n"
        originals = (
            HEADER + signed + b"--b\r\n" + part + b"--b--\r\n",
            b"Subject: gr\xfc\xdfe\r\n\r\nthe text\r\n",
        )
        for original in originals:
            content = compose(replace(FAILED, original=InlineContent(original)))
            self.assertTrue(content.isascii())
            self.assertEqual(parts_of(content)[2].get_content_type(), "text/rfc822-headers")

    def test_utf8_header(self) -> None:
        original = "Subject: café\r\n\r\nx\r\n".encode()
        plain = parts_of(compose(replace(FAILED, original=InlineContent(original), smtputf8=True)))[
            2
        ]
        self.assertEqual(plain.get_content_type(), "message/global")
        self.assertEqual(plain["Content-Transfer-Encoding"], "base64")
        utf8 = replace(FAILED, original=InlineContent(original), smtputf8=True, reverse_path="ä@x")
        self.assertEqual(returned_octets(compose(utf8)), original)

    def test_8bit_header_alone_is_encoded(self) -> None:
        original = InlineContent("Subject: café\r\n\r\nx\r\n".encode())
        content = compose(replace(FAILED, original=original, ret="HDRS"))
        self.assertTrue(content.isascii())
        last = parts_of(content)[2]
        self.assertEqual(last.get_payload(decode=True), "Subject: café\r\n".encode())

    def test_unreadable(self) -> None:
        content = compose(replace(FAILED, original=Unreadable()))
        types = [part.get_content_type() for part in parts_of(content)]
        self.assertEqual(types, ["text/plain", "message/delivery-status"])

    def test_the_boundary_stands_nowhere_else(self) -> None:
        fake = HEADER + b"\r\n--=_0DSN_0--\r\n--=_0DSN_1\r\n\r\nfake\r\n"
        content = self._content(fake)
        self.assertEqual(message_from_bytes(content).get_boundary(), "=_0DSN_2")
        self.assertEqual(returned_octets(content), fake)

    def _content(self, original: bytes) -> bytes:
        return compose(replace(FAILED, original=InlineContent(original)))

    def _goes_back(self, original: bytes) -> bytes:
        return returned_octets(self._content(original))


class Unreadable:
    size = 10

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        raise OSError("gone")


HOSTILE = st.text(max_size=40) | st.sampled_from(
    [
        "\r\nBcc: x@example.org\r\n\r\n",
        "\n--=_0DSN_0--\n",
        "--=_0DSN_0",
        "x" * 3000,
        "é" * 900,
        "word " * 600,
        "\udc80\x00\x85\u2028é",
        "+0D+0A+00Evil: x+",
        "utf-8;\r\n\r\nFinal-Recipient: rfc822; x",
    ]
)
REPLIES = st.builds(Reply, st.integers(200, 599), HOSTILE, st.lists(HOSTILE).map(tuple))
RECIPIENTS = st.builds(
    ReportedRecipient,
    HOSTILE,
    st.sampled_from(["failed", "delayed", "relayed"]),
    REPLIES,
    HOSTILE,
    HOSTILE,
    st.none() | st.floats(0, 4e9),
    st.none() | st.floats(0, 4e9),
)
REPORTS = st.builds(
    Report,
    kind=st.sampled_from(["failed", "delayed", "relayed"]),
    hostname=st.just("relay.example.net"),
    reverse_path=HOSTILE,
    accepted_at=st.floats(0, 4e9),
    made_at=st.floats(0, 4e9),
    dsn_queue_id=st.just("0DSN"),
    original_queue_id=HOSTILE,
    recipients=st.lists(RECIPIENTS, min_size=1, max_size=3).map(tuple),
    original=(st.binary() | HOSTILE.map(lambda t: t.encode("utf-8", "replace"))).map(InlineContent),
    envid=HOSTILE,
    ret=st.sampled_from(["", "FULL", "HDRS"]),
    smtputf8=st.booleans(),
)


class HostileTests(SynchronousTestCase):
    @settings(max_examples=200)
    @given(REPORTS)
    def test_nothing_breaks_out_of_its_place(self, report: Report) -> None:
        content = compose(report)
        self.assertTrue(has_clean_lines(content))
        self.assertFalse(has_long_line(content))
        boundary = message_from_bytes(content).get_boundary().encode()
        header, *parts = content.split(b"\r\n--" + boundary)
        self.assertEqual(parts.pop(), b"--\r\n")
        self.assertEqual(len(parts), 3)
        names = re.findall(rb"^([A-Za-z-]+):", header.partition(b"\r\n\r\n")[0], re.M)
        is_7bit = all(part.isascii() for part in parts)
        self.assertEqual(not is_7bit, b"Content-Transfer-Encoding" in names)
        self.assertIn(len(names) - (not is_7bit), (8, 10))  # 10: with the original's Message-ID
        self.assertEqual(len(set(names)), len(names))
        self._check_status(report, parts[1])

    def _check_status(self, report: Report, part: bytes) -> None:
        self.assertTrue(part.isascii())
        groups = part.removesuffix(b"\r\n").split(b"\r\n\r\n")[1:]
        self.assertEqual(len(groups), 1 + len(report.recipients))
        allowed = rb"\A(?:[A-Z][A-Za-z-]+:| )[ -~]*\Z"
        for line in b"\r\n".join(groups).split(b"\r\n"):
            self.assertRegex(line, allowed)
        for group in groups[1:]:
            for name in (b"Final-Recipient:", b"Action:", b"Status:"):
                self.assertEqual((b"\r\n" + group).count(b"\r\n" + name), 1)
