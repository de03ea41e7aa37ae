"""The trace field that this relay puts before each message (RFC 5321 4.4).

Nothing that a peer said can end the field or begin another.
"""

import re
import time
from functools import lru_cache
from typing import Final

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

MAX_NAME: Final = 255
"""Octets of a HELO name kept (RFC 5321 4.5.3.1.2)."""

MAX_LINE: Final = 78
"""Characters of a line where folding can do it (RFC 5322 2.1.1)."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,255}|\[[A-Za-z0-9.:]{1,64}\]")
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9._:\[\]-]")
_PATH: Final = re.compile(r"[!#-'*-:=?-\[\]-~\u00a1-\ud7ff\ue000-\U0010ffff]{1,256}")


MAX_RECEIVED = 1024
"""Octets of a `received_field`, and some more."""


def received_field(
    hostname: str,
    helo: str,
    client: str,
    protocol: str,
    queue_id: str,
    at: float,
    for_recipient: str = "",
    tls: str = "",
) -> bytes:
    """The whole field with its last CRLF. `client` is "ip:port", `at` in unix seconds.

    `protocol` is a registered "with" type: SMTP, ESMTPS, UTF8SMTP ... (RFC 3848, RFC 6531 4.3).
    `for_recipient`: only of a message with one, lest others be told of it (RFC 5321 7.2); left out
    where it would need quoting, or a UTF-8 header that the message did not ask for. `tls`: version
    and cipher, told in a comment.
    """
    sender = _from(helo, client.rpartition(":")[0])
    receiver = _by(hostname)
    date = date_of(int(at))
    if tls:
        protocol = f"{protocol}\r\n\t({tls})"
    if for_recipient and _may_be_named(for_recipient, protocol):
        target = f"{protocol} id {queue_id}\r\n\tfor <{for_recipient}>;"
    else:
        target = f"{protocol} id {queue_id};"
    return f"Received: from {sender}\r\n\tby {receiver} with {target}\r\n\t{date}\r\n".encode()


def protocol_word(
    *, is_extended: bool, is_utf8: bool, is_encrypted: bool, is_authenticated: bool
) -> str:
    """The "with" type of a session's mail (RFC 3848, RFC 6531 4.3)."""
    if not (is_extended or is_utf8):
        return "SMTP"
    word = "UTF8SMTP" if is_utf8 else "ESMTP"
    return f"{word}{'S' if is_encrypted else ''}{'A' if is_authenticated else ''}"


def _may_be_named(path: str, protocol: str) -> bool:
    return _PATH.fullmatch(path) is not None and (path.isascii() or protocol.startswith("UTF8"))


@lru_cache(maxsize=8)
def date_of(second: int) -> str:
    """As RFC 5322 3.3, UTC: "Mon, 24 Nov 2025 00:30:00 +0000". Each second is asked for often."""
    t = time.gmtime(second)
    clock = f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"
    return f"{DAYS[t.tm_wday]}, {t.tm_mday:02} {MONTHS[t.tm_mon - 1]} {t.tm_year:04} {clock}"


@lru_cache(maxsize=1024)
def _from(helo: str, ip: str) -> str:
    """The peer by the name it gave and the address it has: clients come back, so it is kept."""
    name = helo if _NAME.fullmatch(helo) else _NOT_IN_NAME.sub("?", helo[:MAX_NAME]) or "unknown"
    address = _NOT_IN_NAME.sub("?", ip.strip("[]")) or "unknown"
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    is_long = len(name) + len(literal) + len("Received: from  ()") > MAX_LINE
    space = "\r\n\t" if is_long else " "
    return f"{name}{space}({literal})"


@lru_cache(maxsize=8)
def _by(hostname: str) -> str:
    return _NOT_IN_NAME.sub("?", hostname) or "unknown"
