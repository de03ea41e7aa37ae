"""An SMTP reply as a value: code, enhanced status code, lines of text (RFC 5321 4.2, RFC 3463).

Knows nothing of the wire; `relay.smtp.wire` writes and reads it.

Values made for each message or command have an `__init__` of their own, here and elsewhere: the one
that dataclass writes for frozen ones takes three times as long, and cannot be compiled. `Final` has
the type checker see to it that they never change.
"""

from dataclasses import dataclass, field
from typing import Final

MAX_BRIEF: Final = 1000
"""Characters. A peer that says more for each of a thousand recipients would fill the disk."""


@dataclass(slots=True, init=False, unsafe_hash=True)
class Reply:
    """`code` 200-599; `status` is "x.y.z" or "" where there is none; `lines` hold no line ends."""

    code: Final[int]
    status: Final[str]
    lines: Final[tuple[str, ...]]
    octets: bytes | None = field(init=False, repr=False, compare=False)  # on the wire, once written

    def __init__(
        self,
        code: int,
        status: str,
        lines: tuple[str, ...],
    ) -> None:
        self.code = code
        self.status = status
        self.lines = lines
        self.octets = None

    def __str__(self) -> str:
        """One line for people and logs: "550 5.1.1 No such user"."""
        text = " ".join(self.lines)
        return f"{self.code} {self.status} {text}".replace("  ", " ").rstrip()

    def brief(self) -> str:
        """The same, of bounded length: what a log or the queue keeps of it."""
        return str(self)[:MAX_BRIEF]


def reply(code: int, status: str, *lines: str) -> Reply:
    """The short way to write a Reply constant."""
    return Reply(code, status, lines)
