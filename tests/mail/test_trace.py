"""The Received field that goes before each message."""

from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.mail.header import Header
from relay.mail.trace import date_of, received_field
from tests.properties import given

AT = 1763944200.75
TEXT = st.text() | st.text("a\r\n\t :;()<>[]\x00\x85\u2028\udc80é", max_size=20)


def field(
    helo: str = "client.example.org",
    client: str = "192.0.2.1:54321",
    protocol: str = "ESMTP",
    for_recipient: str = "",
    tls: str = "",
) -> bytes:
    return received_field(
        "relay.example.net", helo, client, protocol, "0ABC1", AT, for_recipient, tls
    )


class ReceivedTests(SynchronousTestCase):
    def test_whole(self) -> None:
        self.assertEqual(
            field(for_recipient="bob@example.org"),
            b"Received: from client.example.org ([192.0.2.1])\r\n"
            b"\tby relay.example.net with ESMTP id 0ABC1\r\n"
            b"\tfor <bob@example.org>;\r\n"
            b"\tMon, 24 Nov 2025 00:30:00 +0000\r\n",
        )

    def test_of_many_recipients_none_is_named(self) -> None:
        self.assertNotIn(b"for", field())
        self.assertIn(b"id 0ABC1;\r\n\tMon, ", field())

    def test_tls_in_a_comment(self) -> None:
        told = field(protocol="ESMTPS", for_recipient="bob@example.org", tls="TLSv1.3 TLS_X")
        self.assertIn(b" with ESMTPS\r\n\t(TLSv1.3 TLS_X) id 0ABC1\r\n\tfor <bob@", told)

    def test_ipv6(self) -> None:
        for client in ("2001:db8::1:25", "[2001:db8::1]:25"):
            self.assertIn(b" ([IPv6:2001:db8::1])\r\n", field(client=client))

    def test_helo_with_an_address_literal(self) -> None:
        self.assertIn(b"from [192.0.2.1] ([192.0.2.1])", field("[192.0.2.1]"))
        self.assertIn(b"from [IPv6:::1] ([", field("[IPv6:::1]"))

    def test_what_is_no_name_is_made_harmless(self) -> None:
        self.assertIn(b"from a??b??c? ([192", field("a\r\nb (c)"))
        self.assertIn(b"from unknown ([", field(""))
        self.assertIn(b"([unknown])", field(client=""))

    def test_a_long_name_is_folded_and_cut(self) -> None:
        lines = field("x" * 1000).split(b"\r\n")
        self.assertEqual(lines[0], b"Received: from " + b"x" * 255)
        self.assertEqual(lines[1], b"\t([192.0.2.1])")

    def test_a_utf8_recipient_only_where_the_header_may_hold_one(self) -> None:
        named = field(protocol="UTF8SMTP", for_recipient="bö@example.org")
        self.assertIn("\tfor <bö@example.org>;".encode(), named)
        self.assertTrue(field(for_recipient="bö@example.org").isascii())

    @given(TEXT, TEXT, TEXT)
    def test_nothing_a_peer_says_breaks_out(self, helo: str, client: str, path: str) -> None:
        octets = field(helo, client, "UTF8SMTP", path)
        fields = message_from_bytes(octets + b"\r\n", policy=policy.SMTP).keys()
        self.assertEqual(fields, ["Received"])
        first, *others = octets.removesuffix(b"\r\n").split(b"\r\n")
        self.assertTrue(first.startswith(b"Received: from "))
        for line in others:
            self.assertRegex(line, rb"\A\t[^\r\n\x00]+\Z")
        octets.decode()
        self.assertEqual(octets.count(b";"), 1)
        self.assertLess(max(map(len, octets.split(b"\r\n"))), 998)

    def test_date(self) -> None:
        for second in (0, 951782400, int(AT), 4102444799):
            self.assertEqual(parsedate_to_datetime(date_of(second)).timestamp(), second)


class ReadingTests(SynchronousTestCase):
    def test_what_it_wrote(self) -> None:
        content = field() + field() + b"Message-ID: <x@y>\r\n\r\nReceived: no\r\n"
        self.assertEqual(Header(content).count(b"received"), 2)
