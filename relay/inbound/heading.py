"""The header of a message on its way in, kept as far as loop count, log and lane need it."""

from typing import Final

from relay.mail.header import Header

MAX_LOOKED_AT: Final = 64 * 1024
"""Octets of content kept to count Received fields in: trace fields stand first (RFC 5321 4.4)."""


class Heading:
    """Give it the content with `add`, all of it or as it comes; then ask."""

    __slots__ = ("_header", "_is_open", "_octets")

    def __init__(self) -> None:
        self._octets = b""
        self._is_open = True
        self._header: Header | None = None

    def add(self, octets: bytes) -> None:
        if not self._is_open:
            return
        before = max(0, len(self._octets) - 3)  # the empty line may come in pieces
        kept = self._octets + octets
        end = kept.find(b"\r\n\r\n", before)
        self._octets = kept if end < 0 else kept[: end + 4]
        self._is_open = end < 0 and len(kept) < MAX_LOOKED_AT

    def _read(self) -> Header:
        if self._header is None:
            self._header = Header(self._octets)
        return self._header

    @property
    def received_count(self) -> int:
        """How many relays the message came through, by its own account: a loop shows in it."""
        return self._read().count(b"received")

    @property
    def message_id(self) -> str:
        """For the log; "" if there is none."""
        return self._read().value(b"message-id")

    @property
    def waives_tls(self) -> bool:
        """It says TLS-Required: No (RFC 8689 3), once: what is in doubt waives nothing."""
        header = self._read()
        return header.count(b"tls-required") == 1 and header.value(b"tls-required").lower() == "no"
