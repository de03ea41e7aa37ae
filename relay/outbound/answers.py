"""What a host said in one transaction, and how a session broke: what the attempt then judges."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from relay.mail.reply import Reply


class Cause(Enum):
    """Who ended a session before its time."""

    HOST = "host"  # 421, EOF, reset
    FAULT = "fault"  # silence, or an impossible code: we ended it
    LOCAL = "local"  # trouble here, or our stop


@dataclass(frozen=True, slots=True)
class Broken:
    """`reply` is the host's last word, or ours where it said nothing."""

    cause: Cause
    reply: Reply


class Answers:
    """Gathered as the replies come in. Only what is not a plain success takes room.

    421 stands here only for the content; else it is told by how the session broke.
    """

    __slots__ = (
        "_accepted",
        "_dots_owed",
        "_rcpts_owed",
        "by_recipient",
        "content",
        "data",
        "is_content_ended",
        "mail",
        "rcpts",
    )

    def __init__(self, recipients: int) -> None:
        self.mail: Reply | None = None  # a refusal: what was said to RCPT and DATA means nothing
        self.rcpts: dict[int, Reply] = {}  # refusals, by recipient id
        self.data: Reply | None = None  # a refusal of DATA, or of a BDAT before the last
        self.content: Reply | None = None  # to the final dot
        self.by_recipient: dict[int, Reply] = {}  # the same from LMTP
        self.is_content_ended = False  # the final dot was written
        self._rcpts_owed = recipients
        self._accepted = 0
        self._dots_owed = 1

    def take(self, command: str, reply: Reply, recipient_id: int | None) -> str:
        """A reply came. Returns what is waited for next, as in the config's timeouts, "": as is."""
        taker = _TAKERS.get(command)
        return "" if taker is None else taker(self, reply, recipient_id)

    def _take_mail(self, reply: Reply, _: int | None) -> str:
        if reply.code >= 400:
            self.mail = reply
        return "rcpt"

    def _take_rcpt(self, reply: Reply, recipient_id: int | None) -> str:
        self._rcpts_owed -= 1
        if reply.code < 300:
            self._accepted += 1
        elif recipient_id is not None:
            self.rcpts[recipient_id] = reply
        return "rcpt" if self._rcpts_owed else "data"

    def _take_data(self, reply: Reply, _: int | None) -> str:
        if reply.code >= 400 and self.data is None:
            self.data = reply
        return "" if self.is_content_ended else "block"

    def _take_dot(self, reply: Reply, recipient_id: int | None) -> str:
        """Also of the engine's own lone dot (RFC 2920 3.1), which ended no content of ours."""
        if self.is_content_ended:
            self.note_content(reply, recipient_id)
        return ""

    def note_content(self, reply: Reply, recipient_id: int | None = None) -> None:
        """An answer to the content: to all of it, or for one recipient (RFC 2033 4.2)."""
        self._dots_owed -= 1
        if recipient_id is None:
            self.content = reply
        else:
            self.by_recipient[recipient_id] = reply

    def end_content(self, is_lmtp: bool) -> None:
        """The final dot is being written."""
        self.is_content_ended = True
        if is_lmtp:
            self._dots_owed = self._accepted

    @property
    def is_complete(self) -> bool:
        """Nothing more can come that matters."""
        return not self._dots_owed

    @property
    def is_clean(self) -> bool:
        """Everything was accepted, by one reply."""
        content = self.content
        if content is None or content.code >= 300:
            return False
        return not (self.rcpts or self.data or self.mail)


_TAKERS: Mapping[str, Callable[[Answers, Reply, int | None], str]] = {
    "MAIL": Answers._take_mail,
    "RCPT": Answers._take_rcpt,
    "DATA": Answers._take_data,
    "BDAT": Answers._take_data,
    "DOT": Answers._take_dot,
}
