"""The header that a proxy puts before a connection, to tell who really opened it.

PROXY protocol, versions 1 (one line of text) and 2 (binary), of HAProxy's specification 2.1 and
2.2, without a socket. Whether the peer may say such a thing is judged elsewhere.
"""

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

from relay.mail.ip_address import unmapped

MAX_TEXT = 107
"""Octets of a version 1 header with its CRLF (2.1: the longest that can be)."""

MAX_BINARY = 536
"""Octets of a version 2 header: what fits into the first segment on every network (2), so that no
sender has reason to go beyond; addresses take 52 of them at most, the rest is for TLVs."""

_TEXT_BEGIN = b"PROXY "
_BINARY_BEGIN = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16  # octets of version 2 before the addresses: the length of the rest stands at 14
_LOCAL, _PROXY = 0x20, 0x21
_WITHOUT_ADDRESS = frozenset({0x00, 0x31})  # unspecified, UNIX stream
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESSES_SIZE = {_TCP4: 12, _TCP6: 36}


class BadHeader(Exception):
    """What came is no header; the text says what it is instead."""


class Header(NamedTuple):
    """`host` is empty where the header names nobody: then the peer itself is the client."""

    host: str
    port: int
    size: int  # octets of the header; what follows it is the client's


def read_header(octets: bytes) -> Header | None:
    """The header at the beginning of what came so far; None: it has not ended yet.

    Raises BadHeader as soon as it can become none any more.
    """
    if octets.startswith(_BINARY_BEGIN):
        return _read_binary(octets)
    if octets.startswith(_TEXT_BEGIN):
        return _read_text(octets)
    if _TEXT_BEGIN.startswith(octets) or _BINARY_BEGIN.startswith(octets):
        return None
    raise BadHeader("the connection began without a PROXY header")


def _read_text(octets: bytes) -> Header | None:
    end = octets.find(b"\r\n", 0, MAX_TEXT)
    if end < 0:
        if len(octets) >= MAX_TEXT:
            raise BadHeader(f"its PROXY line did not end within {MAX_TEXT} octets")
        return None
    words = octets[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return Header("", 0, end + 2)
    if len(words) != 6:
        raise BadHeader("its PROXY line has not six words")
    _, family, source, destination, source_port, destination_port = words
    if family not in (b"TCP4", b"TCP6"):
        raise BadHeader("its PROXY line names another family than TCP4, TCP6 or UNKNOWN")
    host = _text_host(family, source)
    _text_host(family, destination)
    _text_port(destination_port)
    return Header(host, _text_port(source_port), end + 2)


def _text_host(family: bytes, word: bytes) -> str:
    try:
        text = word.decode("ascii")
        address = IPv4Address(text) if family == b"TCP4" else IPv6Address(text)
    except (AddressValueError, UnicodeDecodeError):
        raise BadHeader("its PROXY line holds no address of that family") from None
    if "%" in text:
        raise BadHeader("its PROXY line holds an address with a zone")
    return str(unmapped(str(address)))


def _text_port(word: bytes) -> int:
    is_number = word.isdigit() and len(word) <= 5 and (word == b"0" or word[:1] != b"0")
    if not is_number or int(word) > 65535:
        raise BadHeader("its PROXY line holds no port")
    return int(word)


def _read_binary(octets: bytes) -> Header | None:
    if len(octets) < _FIXED:
        return None
    command, family = octets[12], octets[13]
    size = _FIXED + int.from_bytes(octets[14:16])
    if command not in (_LOCAL, _PROXY):
        raise BadHeader("its PROXY header has another version than 2 or an unknown command")
    if size > MAX_BINARY:
        raise BadHeader(f"its PROXY header is longer than {MAX_BINARY} octets")
    if len(octets) < size:
        return None
    if command == _LOCAL or family in _WITHOUT_ADDRESS:
        return Header("", 0, size)
    return _binary_addresses(family, octets[_FIXED:size], size)


def _binary_addresses(family: int, rest: bytes, size: int) -> Header:
    """What follows the addresses is passed over."""
    needed = _ADDRESSES_SIZE.get(family)
    if needed is None:
        raise BadHeader("its PROXY header names another family than TCP over IPv4 or IPv6")
    if len(rest) < needed:
        raise BadHeader("its PROXY header is too short for its addresses")
    if family == _TCP4:
        return Header(str(IPv4Address(rest[:4])), int.from_bytes(rest[8:10]), size)
    host = str(unmapped(str(IPv6Address(rest[:16]))))
    return Header(host, int.from_bytes(rest[32:34]), size)
