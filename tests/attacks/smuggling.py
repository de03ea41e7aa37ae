"""The matrix of smuggling: every line end before and behind every kind of lone dot.

What stands around the dot is no CRLF.CRLF, so nothing behind it may become a second message; the
few variants that are one are told apart (`is_end`) and must be ends for everybody.
"""

from collections.abc import Iterator
from dataclasses import dataclass

ENDS = (
    *(b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\n\n", b"\r\r", b"\r\n\r", b"\r\n\n"),
    *(b"\0\r\n", b"\r\0\n", b"\r\n\0", b" \r\n", b"\r\n ", b"\t\r\n", b"\x0b\r\n", b"\xc2\x85"),
)
"""What some server somewhere has taken for the end of a line."""

DOTS = (b".", b"..", b" .", b". ", b"\0.", b".\0", b".\r", b"=2E")
"""What some server somewhere has taken for a lone dot."""

END_OF_CONTENT = b"\r\n.\r\n"

INNOCENT = "innocent@example.net"
SMUGGLED = "smuggled@example.net"


@dataclass(frozen=True, slots=True)
class Variant:
    octets: bytes

    @property
    def is_end(self) -> bool:
        return END_OF_CONTENT in self.octets

    def content(self, domain: str, marker: str = "marker") -> bytes:
        """To be sent after 354: a message, the variant, and a second transaction behind it."""
        return b"".join(
            (
                b"From: <%s>\r\nSubject: %s\r\n\r\nbegin" % (INNOCENT.encode(), marker.encode()),
                self.octets,
                b"MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\n" % (SMUGGLED.encode(), at(domain).encode()),
                b"DATA\r\nSubject: smuggled\r\n\r\nbait",
                END_OF_CONTENT,
            )
        )


def at(domain: str) -> str:
    return f"someone@{domain}"


def variants(ends: tuple[bytes, ...] = ENDS, dots: tuple[bytes, ...] = DOTS) -> Iterator[Variant]:
    for before in ends:
        for dot in dots:
            for behind in ends:
                yield Variant(before + dot + behind)


def is_canonical(wire: bytes) -> bool:
    """Lines end in CRLF, there is no other CR, LF or NUL, and no lone dot before the last one."""
    lines = wire.split(b"\r\n")
    return (
        lines[-1] == b""
        and lines[-2] == b"."
        and not any(octet in line for line in lines for octet in (b"\r", b"\n", b"\0"))
        and all(line.startswith(b"..") for line in lines[:-2] if line.startswith(b"."))
    )
