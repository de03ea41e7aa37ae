"""Content on the wire: dot-ended (DATA) both ways, and the octets of BDAT chunks.

The codecs are incremental, work on whole chunks and hold back only the few octets whose meaning
the next ones decide. End of content is CRLF.CRLF and nothing else (RFC 5321 4.1.1.4, 4.5.2). A
bare CR, a NUL and, with "reject", a bare LF (2.3.8) are faults: nothing more comes out, but the
end is still looked for. With "normalise" a bare LF begins a line like any other, whose first dot
is stuffing, unless the dot is alone: then it can be no end, and is kept as content.
"""

import re
from typing import Final, Literal

BareNewline = Literal["normalise", "reject"]

BARE_CR: Final = "bare CR"
BARE_LF: Final = "bare LF"
NUL: Final = "NUL"

# A dot that stands alone on its line, with a bare LF on at least one side, is content. So is one
# after CRLF that a bare LF follows. Every other dot at the begin of a line is stuffing.
_STUFFED: Final = re.compile(rb"(?<=\n)\.(?!\r?\n)")


_DOT_WORTH_FINDING: Final = 64
"""Octets for each dot, from which on going from dot to dot takes less time than looking for a line
that begins with one, octet by octet. Base64 has none, most text few enough."""

_DOTS_AT_ONCE: Final = 8
"""So many may stand closer together."""


def _stuffed(octets: bytes) -> int:
    """Where the first dot behind an LF stands, from the second octet on; -1: nowhere."""
    at = 0
    wanted = -_DOTS_AT_ONCE * _DOT_WORTH_FINDING
    while at > wanted:
        at = octets.find(b".", at + 1)
        if at < 0 or octets[at - 1] == 10:
            return at
        wanted += _DOT_WORTH_FINDING
    behind = octets.find(b"\n.", at)
    return behind + 1 if behind >= 0 else -1


def _is_clean(octets: bytes) -> bool:
    """Every CR stands before an LF, every LF behind a CR, and there is no NUL."""
    mended = octets.replace(b"\r", b"").replace(b"\n", b"\r\n")
    return mended == octets and octets.find(b"\0") < 0  # `in` raises and catches a TypeError first


def _fault(octets: bytes, may_hold_bare_lf: bool) -> str:
    """What is wrong with octets that do not end in CR."""
    if b"\0" in octets:
        return NUL
    pairs = octets.count(b"\r\n")
    if octets.count(b"\r") != pairs:
        return BARE_CR
    if not may_hold_bare_lf and octets.count(b"\n") != pairs:
        return BARE_LF
    return ""


def _normalised(octets: bytes) -> bytes:
    """Every LF preceded by a CR; the octets hold no bare CR."""
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class ContentDecoder:
    """Takes what came after 354 and gives the content, unstuffed, its line ends normalised.

    `fault` is "" until something forbidden was seen.
    """

    __slots__ = ("_begins_line", "_held", "_is_after_crlf", "_normalises", "fault")

    def __init__(self, bare_newline: BareNewline) -> None:
        self._normalises = bare_newline == "normalise"
        self._held = b""  # "\r", or at the begin of a line "." or ".\r"
        self._begins_line = True  # the octets to come (those held too) begin a line,
        self._is_after_crlf = True  # which CRLF, or 354 itself, set off
        self.fault = ""

    def feed(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """Octets of content, whether the end was seen, and what came behind the end."""
        raw = self._held + data if self._held else data
        if self._is_after_crlf and raw.startswith(b".\r\n"):
            return b"", True, raw[3:]
        dot = _stuffed(raw)
        if dot >= 0:
            end = raw.find(b"\r\n.\r\n", max(dot - 2, 0))
            if end >= 0:
                return self._decode(raw[: end + 2], dot != end + 2), True, raw[end + 5 :]
        if raw.endswith((b".", b"\r")):
            return self._decode(self._hold_back(raw), dot >= 0), False, b""
        self._held = b""
        return self._decode(raw, dot >= 0), False, b""

    def _hold_back(self, raw: bytes) -> bytes:
        """Keep an undecided end for the next time; what remains is decided."""
        decided = len(raw) - 1 if raw.endswith(b"\r") else len(raw)
        dot = decided - 1
        if raw[dot:decided] == b".":
            begins_line = raw[dot - 1] == 10 if dot else self._begins_line
            decided -= begins_line
        self._held = raw[decided:]
        return raw[:decided]

    def _decode(self, octets: bytes, has_dots: bool) -> bytes:
        """The octets are never cut between a dot at the begin of a line and what follows it.

        `has_dots`: a dot stands in them behind an LF.
        """
        if not octets:
            return b""
        begins_line = self._begins_line
        self._begins_line = octets.endswith(b"\n")
        self._is_after_crlf = octets.endswith(b"\r\n")
        if self.fault:
            return b""
        is_clean = _is_clean(octets)
        if begins_line and octets.startswith(b".") and not octets.startswith((b".\n", b".\r\n")):
            octets = octets[1:]
        if is_clean:
            return octets.replace(b"\r\n.", b"\r\n") if has_dots else octets
        self.fault = _fault(octets, self._normalises)
        return b"" if self.fault else _normalised(_STUFFED.sub(b"", octets))


class ChunkDecoder:
    """Takes the octets of a transaction's BDAT chunks: no stuffing and no end of their own."""

    __slots__ = ("_held", "_normalises", "fault")

    def __init__(self, bare_newline: BareNewline) -> None:
        self._normalises = bare_newline == "normalise"
        self._held = b""  # a CR whose LF may come with the next octets
        self.fault = ""

    def feed(self, data: bytes) -> bytes:
        """Octets of content, line ends normalised."""
        raw = self._held + data if self._held else data
        self._held = b""
        if raw.endswith(b"\r"):
            self._held = b"\r"
            raw = raw[:-1]
        if self.fault:
            return b""
        if _is_clean(raw):
            return raw
        self.fault = _fault(raw, self._normalises)
        return b"" if self.fault else _normalised(raw)

    def finish(self) -> None:
        """The last chunk has ended: a CR still held is bare."""
        if self._held and not self.fault:
            self.fault = BARE_CR


class ContentEncoder:
    """Takes content in chunks cut anywhere and gives the octets that go out after 354.

    A dot is stuffed after any LF, so that not even a bare one, should a content hold it, could
    look like the end to a careless reader.
    """

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # the last two octets that went out

    def encode(self, chunk: bytes) -> bytes:
        """The chunk, stuffed."""
        if not chunk:
            return b""
        stuffed = chunk.replace(b"\n.", b"\n..") if _stuffed(chunk) >= 0 else chunk
        if chunk[:1] == b"." and self._tail.endswith(b"\n"):
            stuffed = b"." + stuffed
        self._tail = chunk[-2:] if len(chunk) > 1 else self._tail[-1:] + chunk
        return stuffed

    def finish(self) -> bytes:
        """The final dot, after the line end that the content may lack."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
