"""Reads SMTP replies off a stream of octets that nobody vouches for (RFC 5321 4.2, RFC 2034).

Takes what real servers send: lines ended by LF alone, longer than 512 octets, in any charset.
Whatever cannot be told apart for certain is a RemoteProtocolError with a one-line reason: a reply
that is guessed may turn a refusal into a delivery.
"""

import re
from collections import deque
from functools import lru_cache
from typing import Final

from relay.mail.reply import Reply
from relay.smtp.events import RemoteProtocolError

MAX_LINE: Final = 2048  # octets with the line end; RFC 5321 4.5.3.1.5 says 512, real ones send more
MAX_LINES: Final = 300  # of one reply; long EHLO replies and terms of use stay far below
MAX_REPLY: Final = 16384  # octets of one reply, all its lines together
MAX_BUFFERED: Final = 262144  # octets received and not read yet: a window of replies fits

_SHAPE: Final = re.compile(rb"([2-5][0-9][0-9])([ -]|$)(?:([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$))?")

_Line = tuple[Reply, bool]  # a reply of that line alone, and whether it is the last line


class ReplyReader:
    """`receive` octets, then take `next_reply` until it says None."""

    __slots__ = ("_buffered", "_code", "_fault", "_lines", "_octets", "_status", "_tail", "_texts")

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()  # whole lines without LF, not read yet
        self._tail = b""  # the beginning of a line; never longer than MAX_LINE
        self._buffered = 0
        self._fault = ""
        self._begin_reply()

    def _begin_reply(self) -> None:
        self._code = 0  # of the multi-line reply that is being read, 0: none
        self._status = ""
        self._texts: list[str] = []
        self._octets = 0

    def receive(self, data: bytes) -> None:
        """Take what came. Trouble with it is raised by `next_reply`, in its turn."""
        if self._fault:
            return
        lines = (self._tail + data).split(b"\n")
        self._tail = lines.pop()
        self._lines.extend(lines)
        self._buffered += len(data)
        if self._buffered > MAX_BUFFERED:
            self._fault = f"more than {MAX_BUFFERED} octets of replies that nothing asked for"
            self._forget()

    def _forget(self) -> None:
        self._lines.clear()
        self._tail = b""
        self._buffered = 0

    @property
    def buffered(self) -> int:
        """Octets that no reply was made of yet."""
        return self._buffered + self._octets

    def next_reply(self) -> Reply | None:
        """The next whole reply, None if there is none yet. Raises RemoteProtocolError, and then
        always again."""
        lines = self._lines
        while lines and not self._fault:
            line = lines.popleft()
            self._buffered -= len(line) + 1
            if len(line) >= MAX_LINE:
                self._fault = f"a reply line longer than {MAX_LINE} octets"
                break
            parsed = _parse_line(line)
            if parsed is None:
                self._fault = f"{line[:60]!r} is not a reply"
            elif parsed[1] and not self._code:
                return parsed[0]
            elif self._continue(parsed, len(line) + 1):
                return self._end_reply()
        if not self._fault and len(self._tail) >= MAX_LINE:
            self._fault = f"a reply line longer than {MAX_LINE} octets"
        if self._fault:
            self._forget()
            raise RemoteProtocolError(self._fault)
        return None

    def _continue(self, parsed: _Line, octets: int) -> bool:
        """Add a line to a reply of many; True after its last one, False too where it is faulty."""
        line, is_last = parsed
        code, status, text = line.code, line.status, line.lines[0]
        if self._code and code != self._code:
            self._fault = f"a reply that begins with {self._code} goes on with {code}"
            return False
        self._code = code
        self._octets += octets
        if len(self._texts) == MAX_LINES or self._octets > MAX_REPLY:
            self._fault = f"a reply of more than {MAX_LINES} lines or {MAX_REPLY} octets"
            return False
        self._status = self._status or status
        if status and status != self._status:
            text = f"{status} {text}"  # not the status of the whole: keep it readable
        self._texts.append(text)
        return is_last

    def _end_reply(self) -> Reply:
        whole = Reply(self._code, self._status, tuple(self._texts))
        self._begin_reply()
        return whole

    def __repr__(self) -> str:
        state = self._fault or (f"in a {self._code} reply" if self._code else "between replies")
        return f"<ReplyReader {state}, {self.buffered} octets buffered>"


@lru_cache(maxsize=512)  # a server says "250 2.1.5 Ok" a million times
def _parse_line(line: bytes) -> _Line | None:
    """One line without its LF, None where it is not the line of a reply. What is made of it is
    shared, and so are the octets that it is passed on as."""
    line = line.rstrip(b"\r")
    shape = _SHAPE.match(line)
    if shape is None:
        return None
    code, separator, status = shape.groups()
    start = shape.end()
    if status is not None and status[0] != code[0]:  # a class that contradicts the code: plain text
        start, status = shape.end(2), None
    text = line[start:].decode("utf-8", "replace")
    one = Reply(int(code), status.decode() if status else "", (_as_printable(text),))
    return one, separator != b"-"


def _as_printable(text: str) -> str:
    """For logs and terminals: nothing in it controls anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
