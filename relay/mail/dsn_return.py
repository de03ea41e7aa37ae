"""What of a message goes back with a DSN: all of it, its header, or nothing that can be read.

Always a body part that fits every path: clean lines, none too long (RFC 6522 3, RFC 3461 6.2).
"""

import re
from dataclasses import dataclass

from relay.mail.content import Content, InlineContent
from relay.mail.encoding import base64, has_clean_lines, has_long_line, quoted_printable
from relay.mail.header import end_of_header
from relay.mail.transcode import to_7bit

MAX_RETURNED = 50_000
"""Octets of a message that go back whole, as Postfix's bounce_size_limit; above: its header."""

MAX_RETURNED_HEADER = 65_536
"""Octets of a header that go back: more is of no use to people."""

_ANY_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Returned:
    """`part` is a body part with its own header; both are empty where nothing could be read."""

    part: bytes
    words: str  # what it is, for people: "the header of your message"


def returned(
    original: Content, is_whole_wanted: bool, smtputf8: bool, has_utf8_path: bool
) -> Returned:
    """`smtputf8`: the original was sent with it; `has_utf8_path`: the DSN has to be, too."""
    is_small = original.size <= MAX_RETURNED
    try:
        octets = _read(original, MAX_RETURNED if is_small else MAX_RETURNED_HEADER)
    except OSError:
        return Returned(b"", "")
    if not is_whole_wanted:
        return Returned(_header_part(octets), "the header of your message")
    if not is_small:
        return Returned(_header_part(octets), "the header of your message (the whole is too large)")
    if not has_clean_lines(octets) or has_long_line(octets):
        return Returned(_header_part(octets), "the header of your message (its lines are too long)")
    part = _whole_part(octets, smtputf8, has_utf8_path)
    if not has_utf8_path and to_7bit(InlineContent(part)) is None:
        # a host without 8BITMIME would refuse the report, and nobody be told
        return Returned(_header_part(octets), "the header of your message")
    return Returned(part, "your message")


def _read(original: Content, enough: int) -> bytes:
    pieces = []
    size = 0
    for chunk in original.chunks():
        pieces.append(chunk)
        size += len(chunk)
        if size >= enough:
            break
    return b"".join(pieces)


def _whole_part(octets: bytes, smtputf8: bool, has_utf8_path: bool) -> bytes:
    """message/rfc822 may not be encoded (RFC 2046 5.2.1), message/global may (RFC 6532 3.7)."""
    if octets.isascii():
        return _part(b"message/rfc822", b"7bit", octets)
    if not smtputf8 or octets[: end_of_header(octets)].isascii():
        return _part(b"message/rfc822", b"8bit", octets)
    if has_utf8_path:
        return _part(b"message/global", b"8bit", octets)
    return _part(b"message/global", b"base64", base64(octets))


def _header_part(octets: bytes) -> bytes:
    """A header of anything but clean seven bits is encoded, and its line ends are mended."""
    header = octets[: end_of_header(octets)][:MAX_RETURNED_HEADER]
    if not has_clean_lines(header):
        header = b"\r\n".join(_ANY_LINE_END.split(header))
    if header.isascii() and b"\0" not in header and not has_long_line(header):
        return _part(b"text/rfc822-headers", b"7bit", header)
    return _part(b"text/rfc822-headers", b"quoted-printable", quoted_printable(header))


def _part(content_type: bytes, encoding: bytes, octets: bytes) -> bytes:
    return b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (
        content_type,
        encoding,
        octets,
    )
