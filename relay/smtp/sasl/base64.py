"""The Base64 of SASL in SMTP: one line, no white space, strictly read (RFC 4954 4, RFC 4648 4)."""

import binascii


class NotBase64(ValueError):
    """Octets that are no Base64. Says nothing of them: they may be half a password."""


def encode(octets: bytes) -> str:
    """In one line, whatever its length."""
    return binascii.b2a_base64(octets, newline=False).decode("ascii")


def decode(line: bytes) -> bytes:
    """Raises NotBase64."""
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except ValueError:
        raise NotBase64 from None
