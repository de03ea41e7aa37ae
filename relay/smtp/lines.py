"""What a client sent and the engine has not yet used: read off by lines or by octets, bounded.

Octets that arrive while nobody reads are only put aside, and joined when somebody does: no buffer
grows octet by octet. Command lines: RFC 5321 2.3.8, 4.5.3.1.4.
"""

import re
from typing import Final

MAX_COMMAND_LINE: Final = 2048
"""Octets, CRLF included. RFC 5321 4.5.3.1.4 asks for 512; our extensions add to MAIL 26 (SIZE, RFC
1870), 17 (BODY, 6152), 10 (SMTPUTF8, 6531), 116 (RET and ENVID, 3461), to RCPT 529 (NOTIFY and
ORCPT, 3461); AUTH adds 500 to MAIL (RFC 4954 3). More leaves room for what old clients send, and
gets a reply in place of a reset."""

MAX_SWALLOWED_LINE: Final = 65536
"""Octets of an over-long line that are read for the sake of its reply; then the session ends."""

BEGINNING: Final = 68
"""Octets of an over-long line that are kept to see what it was: what `_CHUNK` looks at."""

_CHUNK: Final = re.compile(rb"[^!-~]{64}|[^!-~]*+BDAT", re.IGNORECASE)


def announces_chunk(line: bytes) -> bool:
    """Whether a line that was not understood may have announced octets: its client will send them,
    and who went on reading would take them for commands (RFC 3030 2). More is taken for BDAT than
    is, and so is a line with nothing to be read at its beginning."""
    return _CHUNK.match(line) is not None


class LineFault(Exception):
    """A line that cannot be a command. It has been read off, but for its `beginning`."""

    def __init__(self, beginning: bytes = b"") -> None:
        super().__init__()
        self.beginning = beginning


class LineTooLong(LineFault):
    """Longer than the limit. Raised at its end."""


class LineEndless(LineFault):
    """Longer than MAX_SWALLOWED_LINE: the session must end, its next octets are no command."""


class LineBare(LineFault):
    """Ended by LF without CR."""


class InputBuffer:
    """Octets received and not yet used."""

    __slots__ = ("_aside", "_at", "_beginning", "_may_end_bare", "_octets", "_size", "_swallowed")

    def __init__(self, *, may_end_bare: bool) -> None:
        self._octets = b""  # used up to `_at`
        self._at = 0
        self._aside: list[bytes] = []  # what came since, in order
        self._size = 0  # of what is aside
        self._swallowed = 0  # octets of an over-long line so far
        self._beginning = b""  # of that line
        self._may_end_bare = may_end_bare

    def __len__(self) -> int:
        return len(self._octets) - self._at + self._size

    @property
    def is_midway(self) -> bool:
        """Something has come that is not used yet, or the beginning of an over-long line."""
        return bool(self._swallowed or len(self))

    def add(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._at == len(self._octets) and not self._aside:
            self._octets = data
            self._at = 0
        else:
            self._aside.append(data)
            self._size += len(data)

    def _join(self) -> None:
        if self._aside:
            self._octets = b"".join((self._octets[self._at :], *self._aside))
            self._at = self._size = 0
            self._aside.clear()

    def read_line(self, limit: int = MAX_COMMAND_LINE) -> bytes | None:
        """The next line without its end, of less than `limit` octets with it; None: it has not
        ended yet. Raises LineFault."""
        if self._at == len(self._octets) and not self._aside:
            return None
        end = self._octets.find(b"\n", self._at)
        if end < 0:
            self._join()
            end = self._octets.find(b"\n", self._at)
            if end < 0:
                self._check_unended(limit)
                return None
        at = self._at
        self._at = end + 1
        if self._swallowed or end - at >= limit:
            size = self._swallowed + end - at
            beginning = self._beginning if self._swallowed else self._octets[at : at + BEGINNING]
            self._swallowed = 0
            raise (LineEndless if size > MAX_SWALLOWED_LINE else LineTooLong)(beginning)
        if end > at and self._octets[end - 1] == 13:
            return self._octets[at : end - 1]
        if not self._may_end_bare:
            raise LineBare(self._octets[at : min(end, at + BEGINNING)])
        return self._octets[at:end]

    def _check_unended(self, limit: int) -> None:
        """Forget what an over-long line has brought so far."""
        size = len(self._octets) - self._at
        if self._swallowed or size >= limit:
            if not self._swallowed:
                self._beginning = self._octets[self._at : self._at + BEGINNING]
            self._swallowed += size
            self._octets, self._at = b"", 0
            if self._swallowed > MAX_SWALLOWED_LINE:
                raise LineEndless

    def take(self, limit: int | None = None) -> bytes:
        """Up to `limit` of the octets that are there: all, if None."""
        self._join()
        octets, at = self._octets, self._at
        if limit is None or at + limit >= len(octets):
            self._octets, self._at = b"", 0
            return octets[at:]
        self._at = at + limit
        return octets[at : at + limit]

    def put_back(self, rest: bytes) -> None:
        """Give back the last octets of what `take` without limit gave."""
        self._octets = rest

    def clear(self) -> None:
        """Forget it all."""
        self._octets, self._at, self._size = b"", 0, 0
        self._aside.clear()


_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def command_text(line: bytes) -> str | None:
    """The line as text without the white space at its end; None: not to be read."""
    text = line.decode("utf-8", "replace").rstrip(" \t")
    if text.isascii() and text.isprintable():
        return text
    if text[:5].upper() in ("EHLO ", "HELO "):
        # a name in some 8-bit charset proves as little as any other (RFC 5321 4.1.4)
        text = text.encode("ascii", "replace").decode("ascii")
    elif "\ufffd" in text:
        return None
    return None if _CONTROLS.search(text) else text
