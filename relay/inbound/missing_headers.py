"""Adds the header fields that a message lacks, where its header ends (RFC 6409 8.1-8.3).

Holds the header back until its end is there, and passes on the rest as it comes. What the client
sent is never changed, only added to. A header that is longer than MAX_HEADER goes on as it is.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from relay.mail.envelope import Origin
from relay.mail.reply import Reply
from relay.mail.trace import date_of

MAX_HEADER = 64 * 1024
"""Octets held back for one message at the most."""

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:")


def usual_fields(
    reverse_path: str, hostname: str, queue_id: str, at: float
) -> Mapping[bytes, bytes]:
    """Name, lower case, to the whole field. A null reverse-path is nobody's address."""
    fields = {
        b"date": f"Date: {date_of(int(at))}\r\n".encode(),
        b"message-id": f"Message-ID: <{queue_id}@{hostname}>\r\n".encode(),
    }
    if reverse_path:
        fields[b"from"] = f"From: <{reverse_path}>\r\n".encode()
    return fields


class HeaderCompletion:
    """Give it the content by `feed`, then call `finish`; what they return goes on."""

    __slots__ = ("_at", "_field_at", "_held", "_is_open", "_missing")

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        self._missing = dict(fields)
        self._held = bytearray()
        self._at = 0  # where the line begins that is looked at
        self._field_at = 0  # where the last field began
        self._is_open = True

    def feed(self, octets: bytes) -> bytes:
        if not self._is_open:
            return octets
        held = self._held
        held += octets
        while True:
            end = held.find(b"\n", self._at)
            if end >= MAX_HEADER or (end < 0 and len(held) >= MAX_HEADER):
                return self._close()
            if end < 0:
                return b""
            if held[self._at : end] == b"\r":
                return self._close(self._at)
            if not self._take_line():
                return self._close(self._at, b"\r\n")
            self._at = end + 1

    def finish(self) -> bytes:
        """The content was a header alone, or had not even that."""
        if not self._is_open:
            return b""
        if self._at == len(self._held):
            return self._close(self._at)
        is_field = self._take_line()  # without its end, as BDAT may bring it
        return self._close(self._field_at) if is_field else self._close(self._at, b"\r\n")

    def _take_line(self) -> bool:
        """Whether the line at hand belongs to the header."""
        held, at = self._held, self._at
        if at and held[at] in b" \t":
            return True
        match = _FIELD.match(held, at)
        if match is None:
            return False
        self._field_at = at
        self._missing.pop(bytes(match[1]).lower(), None)
        return True

    def _close(self, at: int | None = None, separator: bytes = b"") -> bytes:
        """All that was held, with what is missing at `at`; None: as it is.

        `separator`: text follows that is no field, and the empty line between them is missing too.
        """
        self._is_open = False
        held, self._held = bytes(self._held), bytearray()
        if at is None or not self._missing:
            return held
        return b"".join((held[:at], *self._missing.values(), separator, held[at:]))


class Content(Protocol):
    """A message on its way in, or through."""

    @property
    def queue_id(self) -> str: ...

    def write(self, octets: bytes) -> None: ...

    def discard(self) -> None: ...

    def client_left(self) -> None: ...

    def finish(self, transaction: Any, origin: Origin, answer: Callable[[Reply], None]) -> None: ...


class Completed:
    """Such a message, its header completed on the way."""

    __slots__ = ("_completion", "_content", "client_left", "discard", "queue_id")

    def __init__(self, content: Content, fields: Mapping[bytes, bytes]) -> None:
        self._content = content
        self._completion = HeaderCompletion(fields)
        self.queue_id = content.queue_id
        self.discard = content.discard
        self.client_left = content.client_left

    def write(self, octets: bytes) -> None:
        if octets := self._completion.feed(octets):
            self._content.write(octets)

    def finish(self, transaction: Any, origin: Origin, answer: Callable[[Reply], None]) -> None:
        if octets := self._completion.finish():
            self._content.write(octets)
        self._content.finish(transaction, origin, answer)
