"""Addresses of other kinds and alphabets, as DSN parameters and fields have them (RFC 3461 4, RFC
6533 3)."""

import re

_XTEXT = re.compile(rb"\+([0-9A-F]{2})")
_TO_ENCODE = frozenset(" \\+=")  # of ASCII (RFC 6533 3: no QCHAR)


def utf8_xtext(path: str) -> str:
    """An address in any alphabet, in ASCII: utf-8-addr-xtext."""
    return "".join(_embedded(c) if c in _TO_ENCODE or not c.isascii() else c for c in path)


def in_ascii(orcpt: str) -> str:
    """TYPE;ADDRESS as it came, for where UTF-8 cannot go: what is encoded in it stays so."""
    return orcpt if orcpt.isascii() else "".join(c if c.isascii() else _embedded(c) for c in orcpt)


def _embedded(character: str) -> str:
    return f"\\x{{{ord(character):X}}}"


def from_xtext(text: str) -> str:
    """RFC 3461 4."""
    octets = text.encode("utf-8", "replace")
    return _XTEXT.sub(lambda m: bytes.fromhex(m[1].decode()), octets).decode("utf-8", "replace")
