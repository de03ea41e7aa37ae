"""The header of a message on its way in, kept as far as loop count, log and lane need it."""

from typing import Final

from relay.mail.header import count_fields, header_value
from relay.mail.trace import message_id_of, received_count

MAX_LOOKED_AT: Final = 64 * 1024
"""Octets of content kept to count Received fields in: trace fields stand first (RFC 5321 4.4)."""


class Heading:
    """Give it the content with `add`, all of it or as it comes."""

    __slots__ = ("_is_open", "_octets")

    def __init__(self) -> None:
        self._octets = bytearray()
        self._is_open = True

    def add(self, octets: bytes) -> None:
        if self._is_open:
            kept = self._octets
            before = max(0, len(kept) - 3)  # the empty line may come in pieces
            kept += octets
            end = kept.find(b"\r\n\r\n", before)
            if end >= 0:
                del kept[end + 4 :]
            self._is_open = end < 0 and len(kept) < MAX_LOOKED_AT

    @property
    def received_count(self) -> int:
        return received_count(bytes(self._octets))

    @property
    def message_id(self) -> str:
        return message_id_of(bytes(self._octets))

    @property
    def waives_tls(self) -> bool:
        """It says TLS-Required: No (RFC 8689 3), once: what is in doubt waives nothing."""
        if b"-required:" not in self._octets.lower():
            return False
        octets = bytes(self._octets)
        value = header_value(octets, b"TLS-Required")
        return value.lower() == "no" and count_fields(octets, b"TLS-Required") == 1
