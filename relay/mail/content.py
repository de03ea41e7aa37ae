"""The content of a message as something that can be read in chunks, wherever it lies.

Content is what stood between DATA and the final dot, unstuffed, every line ended by CRLF; only
content that came by BDAT may lack the last CRLF.
"""

from collections.abc import Iterator
from typing import Protocol


class Content(Protocol):
    """Readable any number of times."""

    @property
    def size(self) -> int:
        """In octets."""

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        """The octets in order, in pieces of at most `size` (a store may block on its disk here).

        Raises OSError where the octets cannot be read.
        """


class InlineContent:
    """Content held in memory."""

    __slots__ = ("octets",)

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    @property
    def size(self) -> int:
        return len(self.octets)

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        octets = self.octets
        if len(octets) <= size:
            if octets:
                yield octets
            return
        for start in range(0, len(octets), size):
            yield octets[start : start + size]

    def __repr__(self) -> str:
        return f"<InlineContent {len(self.octets)} octets>"
