"""PROXY headers: every one whole, cut at each octet and with what follows; all that is none."""

from twisted.trial.unittest import SynchronousTestCase

from relay.inbound.proxy_header import MAX_BINARY, MAX_TEXT, BadHeader, Header, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + (4711).to_bytes(2) + (25).to_bytes(2)
V6 = bytes.fromhex("20010db8" + "00" * 11 + "07") + bytes(16) + b"\xff\xff\x00\x19"
MAPPED = bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 7)) + bytes(16) + b"\x00\x01\x00\x19"


def binary(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(rest).to_bytes(2) + rest


LONGEST = b"PROXY UNKNOWN " + b"f" * (MAX_TEXT - 16) + b"\r\n"

GOOD = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n": ("192.0.2.7", 4711),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ("255.255.255.255", 65535),
    b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n": ("2001:db8::7", 4711),
    b"PROXY TCP6 2001:0DB8:0000::0007 ::1 0 25\r\n": ("2001:db8::7", 0),
    b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n": ("192.0.2.7", 1),
    b"PROXY UNKNOWN\r\n": ("", 0),
    b"PROXY UNKNOWN ffff:f...f:ffff any thing\r\n": ("", 0),
    LONGEST: ("", 0),
    binary(0x21, 0x11, V4): ("192.0.2.7", 4711),
    binary(0x21, 0x11, V4 + b"\x03\x00\x04abcd"): ("192.0.2.7", 4711),
    binary(0x21, 0x21, V6): ("2001:db8::7", 65535),
    binary(0x21, 0x21, MAPPED): ("192.0.2.7", 1),
    binary(0x21, 0x11, V4.ljust(MAX_BINARY - 16, b"x")): ("192.0.2.7", 4711),
    binary(0x21, 0x00, b""): ("", 0),
    binary(0x21, 0x31, bytes(216)): ("", 0),
    binary(0x20, 0x00, b""): ("", 0),
    binary(0x20, 0x11, V4): ("", 0),
    binary(0x20, 0xFF, b"whatever"): ("", 0),
}

BAD = (
    b"EHLO client.example\r\n",
    b"proxy TCP4 192.0.2.7 198.51.100.1 4711 25\r\n",
    b"PROXY\r\n",
    b"PROXX",
    b"\x16\x03\x01",
    b"\n",
    b"\r\nQUIT\r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25 26\r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 4711 25\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 25\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 192.0.2.7 nowhere 4711 25\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 4711 25\r\n",
    b"PROXY TCP4 192.0.2.\xb2 198.51.100.1 4711 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 65536\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 +4711 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1  25\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\n".ljust(MAX_TEXT, b" "),
    b"PROXY UNKNOWN".ljust(MAX_TEXT, b" "),
    b"PROXY UNKNOWN ".ljust(MAX_TEXT - 1, b" ") + b"\r\n",
    binary(0x11, 0x11, V4),
    binary(0x31, 0x11, V4),
    binary(0x22, 0x11, V4),
    binary(0x21, 0x12, V4),
    binary(0x21, 0x22, V6),
    binary(0x21, 0x32, bytes(216)),
    binary(0x21, 0x13, V4),
    binary(0x21, 0x41, V4),
    binary(0x21, 0x11, V4[:11]),
    binary(0x21, 0x21, V6[:35]),
    SIGNATURE + b"\x21\x11" + (MAX_BINARY - 15).to_bytes(2),
    SIGNATURE + b"\x20\x00\xff\xff",
)


class ReadTests(SynchronousTestCase):
    def test_whole_and_with_what_follows(self) -> None:
        for octets, (host, port) in GOOD.items():
            for rest in (b"", b"E", b"EHLO client\r\n", octets, b"\r\n"):
                with self.subTest(octets, rest=rest):
                    self.assertEqual(Header(host, port, len(octets)), read_header(octets + rest))

    def test_cut_at_each_octet(self) -> None:
        for octets in GOOD:
            for size in range(len(octets)):
                self.assertIsNone(read_header(octets[:size]), octets[:size])

    def test_no_header(self) -> None:
        for octets in BAD:
            with self.subTest(octets):
                self.assertRaises(BadHeader, read_header, octets)

    def test_what_is_none_stays_none(self) -> None:
        """However it comes in, it is refused by its last octet, and never taken before that."""
        for octets in BAD:
            for size in range(len(octets)):
                try:
                    self.assertIsNone(read_header(octets[:size]), octets[:size])
                except BadHeader:
                    break

    def test_bounds(self) -> None:
        self.assertEqual(MAX_TEXT, len(LONGEST))
        self.assertEqual("", read_header(LONGEST + b"x" * 9999).host)  # type: ignore[union-attr]
