"""An SMTP reply as a value: code, enhanced status code, lines of text (RFC 5321 4.2, RFC 3463).

Knows nothing of the wire; `relay.smtp.wire` writes and reads it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """`code` 200-599; `status` is "x.y.z" or "" where there is none; `lines` hold no line ends."""

    code: int
    status: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        """One line for people and logs: "550 5.1.1 No such user"."""
        text = " ".join(self.lines)
        return f"{self.code} {self.status} {text}".replace("  ", " ").rstrip()


def reply(code: int, status: str, *lines: str) -> Reply:
    """The short way to write a Reply constant."""
    return Reply(code, status, lines)
