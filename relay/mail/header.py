"""Reads the header at the front of a content: where it ends, and single fields of it.

Looks at octets and never fails, whatever they are. Never follows the header into the body, where
a returned message may hold fields of its own (RFC 5322 2.1).
"""

MAX_HEADER = 256 * 1024
"""Octets looked at: a bound on the work for one message. Postfix keeps 100 KiB of a header."""

MAX_VALUE = 998
"""Characters kept of a field's value: a line's worth (RFC 5322 2.1.1)."""


def end_of_header(content: bytes) -> int:
    """Where the empty line stands that ends the header; the length of `content` if there is none.

    The header is `content[:end]`, the last line end included.
    """
    if content.startswith(b"\r\n"):
        return 0
    at = content.find(b"\r\n\r\n", 0, MAX_HEADER)
    return at + 2 if at >= 0 else len(content)


class Header:
    """The header at the front of a content, or of as much of it as there is.

    Fields are asked for by their name in lower case.
    """

    __slots__ = ("_lower", "octets")

    def __init__(self, content: bytes) -> None:
        self.octets = content[: min(end_of_header(content), MAX_HEADER)]
        self._lower = self.octets.lower()

    def value(self, name: bytes) -> str:
        """Of the first field of that name, unfolded, bounded and printable; "" if none."""
        at = self._find(name + b":")
        if at < 0:
            return ""
        at += len(name) + 1
        raw = self.octets[at : _end_of_field(self.octets, at)][:MAX_VALUE]
        text = " ".join(raw.decode("utf-8", "replace").split())
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else "?" for c in text)

    def count(self, name: bytes) -> int:
        """How many fields of that name there are."""
        start = name + b":"
        return self._lower.count(b"\n" + start) + self._lower.startswith(start)

    def _find(self, start: bytes) -> int:
        if self._lower.startswith(start):
            return 0
        at = self._lower.find(b"\n" + start)
        return at + 1 if at >= 0 else -1


def _end_of_field(header: bytes, at: int) -> int:
    """A field goes on over line ends that are followed by white space (RFC 5322 2.2.3)."""
    while True:
        at = header.find(b"\n", at) + 1
        if at == 0:
            return len(header)
        if header[at : at + 1] not in (b" ", b"\t"):
            return at
