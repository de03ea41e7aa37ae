"""xtext (RFC 3461 4), and addresses of other alphabets in ASCII (RFC 6533 3): as parameters of
commands and fields of DSNs have them."""

import re

_ENCODED = re.compile(rb"\+([0-9A-F]{2})")
_TO_EMBED = frozenset(" \\+=")  # of ASCII (RFC 6533 3: no QCHAR)


def octets_of(text: str) -> bytes:
    """What xtext stands for; what is none stays as it is."""
    octets = text.encode("utf-8", "replace")
    return _ENCODED.sub(lambda match: bytes.fromhex(match[1].decode()), octets)


def from_xtext(text: str) -> str:
    """The same to be read by people."""
    return octets_of(text).decode("utf-8", "replace")


def utf8_xtext(path: str) -> str:
    """An address in any alphabet, in ASCII: utf-8-addr-xtext."""
    return "".join(_embedded(c) if c in _TO_EMBED or not c.isascii() else c for c in path)


def in_ascii(orcpt: str) -> str:
    """TYPE;ADDRESS as it came, for where UTF-8 cannot go: what is encoded in it stays so."""
    return orcpt if orcpt.isascii() else "".join(c if c.isascii() else _embedded(c) for c in orcpt)


def _embedded(character: str) -> str:
    return f"\\x{{{ord(character):X}}}"
