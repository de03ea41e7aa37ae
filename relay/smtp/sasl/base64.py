"""The Base64 of SASL in SMTP: one line, no white space, strictly read (RFC 4954 4, RFC 4648 4)."""

import binascii
import re

_BASE64 = re.compile(  # Python's own strict mode takes an "=" too many
    rb"(?:[A-Za-z0-9+/]{4})*+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
)


class NotBase64(ValueError):
    """Octets that are no Base64. Says nothing of them: they may be half a password."""


def encode(octets: bytes) -> str:
    """In one line, whatever its length."""
    return binascii.b2a_base64(octets, newline=False).decode("ascii")


def decode(line: bytes) -> bytes:
    """Raises NotBase64."""
    if not _BASE64.fullmatch(line):
        raise NotBase64
    return binascii.a2b_base64(line)
