"""The content of one transaction on its way in: decoded, counted, and refused where it must be.

Refused content is taken to its end, since closing before would lose the reply to a reset; but no
more of it than `max_swallowed` octets.
"""

from relay.mail.reply import Reply
from relay.smtp import answers
from relay.smtp.content import BareNewline, ChunkDecoder, ContentDecoder


class Incoming:
    """Content by DATA (`take`) or by BDAT (`take_chunked`); none comes out once `refusal` is set.

    `must_close`: octets that are forbidden, or too many of them: the session must not go on.
    """

    __slots__ = ("_chunks", "_dotted", "_max_size", "_may_swallow", "must_close", "refusal", "size")

    def __init__(
        self,
        bare_newline: BareNewline,
        max_size: int,
        max_swallowed: int,
        refusal: Reply | None = None,
    ) -> None:
        self._dotted = ContentDecoder(bare_newline)
        self._chunks = ChunkDecoder(bare_newline)
        self._max_size = max_size
        self._may_swallow = max_swallowed
        self.size = 0  # octets of content so far, as RFC 1870 4 counts them
        self.refusal = refusal
        self.must_close = False

    def take(self, data: bytes) -> tuple[bytes, bool, bytes]:
        """Octets of content, whether the end was seen, and what came behind the end."""
        octets, is_end, rest = self._dotted.feed(data)
        if self._dotted.fault:
            self._refuse_octets(self._dotted.fault)
        return self._counted(octets, 0 if is_end else len(data)), is_end, rest

    def take_chunked(self, data: bytes) -> bytes:
        """Octets of content."""
        octets = self._chunks.feed(data)
        if self._chunks.fault:
            self._refuse_octets(self._chunks.fault)
        return self._counted(octets, len(data))

    def announce(self, size: int) -> None:
        """So many octets come in the next chunk."""
        if self.refusal is None and self.size + size > self._max_size:
            self.refusal = answers.TOO_BIG

    def finish_chunked(self) -> None:
        """The last chunk has come."""
        self._chunks.finish()
        if self._chunks.fault:
            self._refuse_octets(self._chunks.fault)

    def _refuse_octets(self, fault: str) -> None:
        if self.refusal is None or self.refusal is answers.TOO_BIG:
            self.refusal = answers.BAD_CONTENT[fault]
            self.must_close = True

    def _counted(self, octets: bytes, taken: int) -> bytes:
        if self.refusal is None:
            self.size += len(octets)
            if self.size <= self._max_size:
                return octets
            self.refusal = answers.TOO_BIG
        self._may_swallow -= taken
        self.must_close = self.must_close or self._may_swallow < 0
        return b""

    @property
    def is_exhausted(self) -> bool:
        """More was swallowed than is worth it: the end is not waited for any more."""
        return self._may_swallow < 0
