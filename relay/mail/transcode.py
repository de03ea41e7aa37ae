"""Makes 7-bit content of 8-bit content, for hosts without 8BITMIME (RFC 6152 3).

Walks the MIME structure over one buffer. Only 8-bit leaves and what names their encoding change,
all else stays octet for octet. Where that cannot be done, or would break a signature, there is
no such content, and the caller decides what that means.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from relay.mail.content import Content, InlineContent
from relay.mail.encoding import base64, has_clean_lines, quoted_printable
from relay.mail.header import MAX_HEADER, Header, end_of_header

MAX_TRANSCODED = 50 * 1024 * 1024
"""Octets of a message that is re-encoded: it is held in memory some three times over."""

MAX_DEPTH = 30
"""Parts within parts: each level costs one more look at the octets inside it. Postfix: 100."""

MAX_PARTS = 5000
"""Parts in all, which bounds the time that hostile content can take."""

_RIDDLE = b"?"  # stands for the value of a field that is there more than once
_OPAQUE = (b"multipart/signed", b"multipart/encrypted", b"application/pkcs7-mime", _RIDDLE)
_MESSAGES = (b"message/rfc822", b"message/global", b"message/news")
_NOT_ENCODED = (b"", b"7bit", b"8bit", b"binary")
_TO_ASCII = bytes(octet if octet < 128 else ord("?") for octet in range(256))

_FIELD = rb"(?im)^%b[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)(?:\r\n|\Z)"
_TYPE_FIELD = re.compile(_FIELD % b"content-type")
_ENCODING_FIELD = re.compile(_FIELD % b"content-transfer-encoding")
_VERSION_FIELD = re.compile(_FIELD % b"mime-version")
_TYPE = re.compile(rb"\s*([^\s;/]+/[^\s;/]+)")
_PARAMETER = re.compile(rb';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', re.S)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.S)


def is_7bit(content: Content) -> bool:
    return all(chunk.isascii() for chunk in content.chunks())


def has_8bit_header(content: Content) -> bool:
    """Such a header needs SMTPUTF8, or a host that does not look (RFC 6531 3.1)."""
    pieces: list[bytes] = []
    size = 0
    for chunk in content.chunks():
        pieces.append(chunk)
        size += len(chunk)
        if b"\r\n\r\n" in chunk or size >= MAX_HEADER:
            break
    octets = b"".join(pieces)
    return not octets[: end_of_header(octets)].isascii()


def to_7bit(content: Content) -> Content | None:
    """The same message in seven bits; `content` itself if it is that already; None if impossible.

    Impossible: signed or encrypted where the 8-bit octets are, a DKIM signature, an 8-bit header,
    an encoding unknown or contrary to its octets, a limit. Raises OSError as `content` does.
    """
    if is_7bit(content):
        return content
    if content.size > MAX_TRANSCODED:
        return None
    octets = b"".join(content.chunks())
    if Header(octets).count(b"dkim-signature"):
        return None
    try:
        return InlineContent(b"".join(_Transcoder(octets).message(0, len(octets), 0)))
    except _Impossible:
        return None


class _Impossible(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Entity:
    """A header and a body within the buffer."""

    header: bytes
    blank: bytes  # the empty line between them, b"" where all is header
    body: int
    end: int
    type: bytes  # lower case
    encoding: bytes  # lower case, "" for none
    depth: int
    is_message: bool
    is_7bit: bool


class _Transcoder:
    """Each method yields the pieces of what stands between two places of the buffer."""

    __slots__ = ("_octets", "_parts")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._parts = 0

    def message(self, start: int, end: int, depth: int) -> Iterator[bytes]:
        return self._entity(start, end, depth, b"text/plain", is_message=True)

    def _entity(
        self, start: int, end: int, depth: int, default: bytes, is_message: bool
    ) -> Iterator[bytes]:
        octets = self._octets
        header_end, body = self._split(start, end)
        header = octets[start:header_end]
        is_7bit = octets[body:end].isascii()
        if not header.isascii() or (depth > MAX_DEPTH and not is_7bit):
            raise _Impossible
        entity = _Entity(
            header,
            octets[header_end:body],
            body,
            end,
            _type_of(header) or default,
            _value(_ENCODING_FIELD, header),
            depth,
            is_message,
            is_7bit,
        )
        pieces = self._converted(entity)
        if pieces is None:
            if not is_7bit:
                raise _Impossible
            pieces = iter((octets[start:end],))
        return pieces

    def _split(self, start: int, end: int) -> tuple[int, int]:
        """Where the header ends and where the body begins."""
        if self._octets.startswith(b"\r\n", start, end):
            return start, start + 2
        at = self._octets.find(b"\r\n\r\n", start, min(end, start + MAX_HEADER))
        return (at + 2, at + 4) if at >= 0 else (end, end)

    def _converted(self, entity: _Entity) -> Iterator[bytes] | None:
        """None: it must stay as it is."""
        kind = entity.type
        if kind in _OPAQUE or entity.encoding not in _NOT_ENCODED or entity.depth > MAX_DEPTH:
            return None
        if kind.startswith(b"multipart/"):
            boundary = _boundary_of(entity.header)
            return self._multipart(entity, boundary) if boundary else None
        if kind in _MESSAGES:
            return self._enclosing(entity)
        if entity.is_7bit:
            return self._relabelled(entity)
        return None if kind.startswith(b"message/") else self._leaf(entity)

    def _leaf(self, entity: _Entity) -> Iterator[bytes]:
        body = self._octets[entity.body : entity.end]
        if entity.type.startswith(b"text/") and has_clean_lines(body):
            encoding, encoded = b"quoted-printable", quoted_printable(body)
        else:
            encoding, encoded = b"base64", base64(body)
            if body.endswith(b"\r\n"):
                encoded += b"\r\n"
        yield _with_encoding(entity, encoding)
        yield encoded

    def _relabelled(self, entity: _Entity) -> Iterator[bytes]:
        yield _relabelled_header(entity)
        yield self._octets[entity.body : entity.end]

    def _enclosing(self, entity: _Entity) -> Iterator[bytes]:
        """A message may not be encoded as a whole, but what it holds may (RFC 2046 5.2.1)."""
        yield _relabelled_header(entity)
        yield from self.message(entity.body, entity.end, entity.depth + 1)

    def _multipart(self, entity: _Entity, boundary: bytes) -> Iterator[bytes]:
        """What stands before the first and behind the last part is for nobody (RFC 2046 5.1.1)."""
        octets, at, end = self._octets, entity.body, entity.end
        default = b"message/rfc822" if entity.type == b"multipart/digest" else b"text/plain"
        delimiters = self._delimiters(boundary, at - len(entity.blank), end)
        if not entity.is_7bit and (not delimiters or delimiters[0][1]):
            raise _Impossible  # no parts: the octets are not for nobody, but of no known kind
        yield _relabelled_header(entity)
        is_part = False
        for delimiter in (*delimiters, None):
            until = delimiter.start() if delimiter else end
            if is_part and at + 2 <= until:
                yield b"\r\n"
                yield from self._entity(at + 2, until, entity.depth + 1, default, is_message=False)
            elif at < until:
                yield octets[at:until].translate(_TO_ASCII)
            if delimiter:
                yield octets[max(at, until) : delimiter.end()]
                at = delimiter.end()
                is_part = not delimiter[1]

    def _delimiters(self, boundary: bytes, start: int, end: int) -> list[re.Match[bytes]]:
        """In order, the closing one last."""
        pattern = re.compile(rb"\r\n--%b(--)?[ \t]*(?=\r\n|\Z)" % re.escape(boundary))
        found: list[re.Match[bytes]] = []
        for delimiter in islice(pattern.finditer(self._octets, start, end), MAX_PARTS):
            found.append(delimiter)
            if delimiter[1]:
                break
        self._parts += len(found)
        if self._parts >= MAX_PARTS:
            raise _Impossible
        return found


# --- fields ---------------------------------------------------------------------------------


def _value(field: re.Pattern[bytes], header: bytes) -> bytes:
    """The one field's value, lower case; b"" for none."""
    values = field.findall(header)
    if len(values) > 1:
        return _RIDDLE
    return values[0].strip().lower() if values else b""


def _type_of(header: bytes) -> bytes:
    """b"" where none is given, or none that can be read (RFC 2045 5.2)."""
    value = _value(_TYPE_FIELD, header)
    match = _TYPE.match(value)
    return match[1] if match else value if value is _RIDDLE else b""


def _boundary_of(header: bytes) -> bytes:
    match = _TYPE_FIELD.search(header)
    for name, quoted, token in _PARAMETER.findall(match[1]) if match else ():
        if name.lower() == b"boundary":
            return (_QUOTED_PAIR.sub(rb"\1", quoted) or token).rstrip()
    return b""


def _with_encoding(entity: _Entity, encoding: bytes) -> bytes:
    """The header of a leaf that is encoded now, and the empty line."""
    header, is_named = _named(entity.header, encoding)
    added = b"" if is_named else b"Content-Transfer-Encoding: %b\r\n" % encoding
    if not _TYPE_FIELD.search(header):
        added += b"Content-Type: text/plain; charset=unknown-8bit\r\n"  # RFC 1428 3
    return header + _version(entity) + added + entity.blank


def _relabelled_header(entity: _Entity) -> bytes:
    """What holds no 8-bit octets any more does not claim to; and the empty line."""
    header = entity.header
    if entity.encoding in (b"8bit", b"binary"):
        header, _ = _named(header, b"7bit")
    return header + _version(entity) + entity.blank


def _named(header: bytes, encoding: bytes) -> tuple[bytes, bool]:
    """The header with its encoding field's value replaced, and whether it has that field."""
    match = _ENCODING_FIELD.search(header)
    if match is None:
        return header, False
    return header[: match.start(1)] + b" " + encoding + header[match.end(1) :], True


def _version(entity: _Entity) -> bytes:
    """A message needs the field for its encoding to count (RFC 2045 4)."""
    if entity.is_7bit or not entity.is_message or _VERSION_FIELD.search(entity.header):
        return b""
    return b"MIME-Version: 1.0\r\n"
