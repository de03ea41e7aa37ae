"""The AUTH command and the lines of its exchange, as the server reads them (RFC 4954 4).

Refusals hold nothing of what was sent: it may be half a password.
"""

from collections.abc import Container

from relay.mail.reply import Reply, reply
from relay.smtp.grammar import Malformed
from relay.smtp.sasl import base64

MAX_RESPONSE_LINE = 12288
"""Octets of a line of the exchange, CRLF included (RFC 4954 4). AUTH itself is a command line."""

NOT_NOW = reply(503, "5.5.1", "No AUTH within a mail transaction")
EHLO_FIRST = reply(503, "5.5.1", "Send EHLO first")
ALREADY = reply(503, "5.5.1", "Already authenticated")
ENCRYPT_FIRST = reply(538, "5.7.11", "Encryption required: send STARTTLS first")
SYNTAX = reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
UNKNOWN_MECHANISM = reply(504, "5.5.4", "Mechanism not supported")
BAD_BASE64 = reply(501, "5.5.2", "Not Base64")
CANCELLED = reply(501, "5.0.0", "Authentication cancelled")
LINE_TOO_LONG = reply(500, "5.5.6", "Authentication exchange line is too long")


def parse_auth(argument: str, offered: Container[str]) -> tuple[str, bytes | None]:
    """Mechanism and initial response; None: there is none, b"": it is empty, written "="."""
    words = argument.split()
    if not 1 <= len(words) <= 2:
        raise Malformed(SYNTAX)
    mechanism = words[0].upper()
    if mechanism not in offered:
        raise Malformed(UNKNOWN_MECHANISM)
    if len(words) == 1:
        return mechanism, None
    if words[1] == "=":
        return mechanism, b""
    return mechanism, _decoded(words[1].encode())


def read_response(line: bytes) -> bytes:
    """One line of the exchange. Raises Malformed, for a cancellation too."""
    if line == b"*":
        raise Malformed(CANCELLED)
    return _decoded(line)


def challenge(octets: bytes) -> Reply:
    """334 with the octets in Base64; "334 " and nothing more where there are none."""
    return reply(334, "", base64.encode(octets))


def _decoded(octets: bytes) -> bytes:
    try:
        return base64.decode(octets)
    except base64.NotBase64:
        raise Malformed(BAD_BASE64) from None
