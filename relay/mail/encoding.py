"""Transfer encodings of octets for paths of seven bits (RFC 2045 6), whole octets at a time."""

import binascii
import re

MAX_LINE = 998
"""Octets of a line without its CRLF (RFC 5322 2.1.1, RFC 5321 4.5.3.1.6)."""

_LONG_LINE = re.compile(rb"[^\r\n]{%d}" % (MAX_LINE + 1))
_TOO_LONG = re.compile(rb"(?m)^([^\r\n]{74,})(=(?:20|09))(?=\r\n)")
_BASE64_LINES = re.compile(rb".{1,76}")


def has_clean_lines(octets: bytes) -> bool:
    """Whether all line ends are CRLF and no NUL is among them, as 7bit and 8bit promise."""
    ends = octets.count(b"\r\n")
    return octets.count(b"\r") == ends == octets.count(b"\n") and b"\0" not in octets


def has_long_line(octets: bytes) -> bool:
    """Whether a line is longer than any relay must pass on."""
    return _LONG_LINE.search(octets) is not None


def quoted_printable(octets: bytes) -> bytes:
    """Lines of at most 76; line ends stay as they are, so they must be CRLF.

    No line begins with "--" that did not before: a soft break must not make a boundary.
    """
    if b"\n" not in octets:  # b2a_qp takes the line end of its soft breaks from the text
        return quoted_printable(octets + b"\r\n")[:-2] if octets else b""
    encoded = binascii.b2a_qp(octets, quotetabs=False, istext=True, header=False)
    if _TOO_LONG.search(encoded):  # by the encoded space at the end of a full line
        encoded = _TOO_LONG.sub(rb"\1=\r\n\2", encoded)
    if b"=\r\n--" in encoded:
        encoded = encoded.replace(b"=\r\n--", b"=\r\n=2D=\r\n-")
    return encoded


def base64(octets: bytes) -> bytes:
    """Lines of 76, without a last line end."""
    return b"\r\n".join(_BASE64_LINES.findall(binascii.b2a_base64(octets, newline=False)))
