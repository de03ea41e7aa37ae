"""Replies and commands as octets that are safe to send: no text of anybody's can begin a new line.

Reading is elsewhere: `lines` and `grammar` read commands, `replies` reads replies.
"""

import re
from typing import Final

from relay.mail.reply import Reply
from relay.smtp.events import LocalProtocolError

MAX_REPLY_LINE: Final = 512  # RFC 5321 4.5.3.1.5, with CRLF; a challenge may be longer (RFC 4954 4)

_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def reply_octets(reply: Reply) -> bytes:
    """The reply with its status on every line (RFC 2034 4); unprintable text is escaped.

    Most replies are constants: what they look like is kept.
    """
    octets = reply.octets
    if octets is None:
        reply.octets = octets = _lines(reply)
    return octets


def _lines(reply: Reply) -> bytes:
    code = reply.code
    status = f"{reply.status} " if reply.status else ""
    lines = reply.lines or ("",)
    if len(lines) == 1:
        return _line(f"{code} {status}{lines[0]}")
    rows = [_line(f"{code}-{status}{text}") for text in lines[:-1]]
    rows.append(_line(f"{code} {status}{lines[-1]}"))
    return b"".join(rows)


def _line(text: str) -> bytes:
    if not (text.isascii() and text.isprintable()):
        text = _UNPRINTABLE.sub(_escaped, text)
    if len(text) > MAX_REPLY_LINE - 2 and not text.startswith("334 "):
        text = text[: MAX_REPLY_LINE - 2]
    return f"{text}\r\n".encode("ascii")


def _escaped(match: re.Match[str]) -> str:
    """As RFC 6533 3 writes such characters in texts for ASCII readers."""
    return f"\\x{{{ord(match[0]):X}}}"


def command_octets(line: str) -> bytes:
    """One command line. Raises LocalProtocolError where it holds a control character."""
    if not (line.isascii() and line.isprintable()) and _CONTROLS.search(line):
        raise LocalProtocolError(f"control character in a command: {line!r}")
    return f"{line}\r\n".encode()
