"""What the engines tell their shells: plain values, made on the hot path, never changed.

A server event marked (answer) stands for a command that the shell must answer with `reply()`
before the engine yields the next event; until then `next_event()` returns PAUSED.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from relay.mail.reply import Reply


class Signal(Enum):
    """What `next_event` returns when there is no event."""

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA = Signal.NEED_DATA
PAUSED = Signal.PAUSED


class RemoteProtocolError(Exception):
    """The peer broke the protocol so that the session cannot go on. The one error that escapes."""


class LocalProtocolError(Exception):
    """Our own shell called the engine out of turn: a defect."""


# --- server ---------------------------------------------------------------------------------


@dataclass(slots=True, init=False)
class Hello:
    """(answer) EHLO or HELO; it also ends a transaction. Answer with `engine.hello_reply()`."""

    verb: str  # "EHLO" | "HELO"
    name: str  # as given: not trusted, may be anything printable

    def __init__(
        self,
        verb: str,
        name: str,
    ) -> None:
        self.verb = verb
        self.name = name


@dataclass(slots=True)
class Xclient:
    """(answer) XCLIENT from a peer that may. Answer with `engine.greeting()`: the session begins
    anew, as that of the client told of."""

    attributes: dict[str, str]  # upper-case name -> decoded value, "": not available


@dataclass(slots=True)
class Auth:
    """(answer) AUTH: allowed here and now, a mechanism that is offered. RFC 4954 4.

    Answer 334 (`sasl.commands.challenge`), 235, or a refusal, which ends the exchange.
    """

    mechanism: str
    response: bytes | None = field(repr=False)  # the initial one; None: there was none


@dataclass(slots=True)
class AuthResponse:
    """(answer, as to Auth) The response to a challenge."""

    octets: bytes = field(repr=False)


@dataclass(slots=True, init=False)
class Mail:
    """(answer) MAIL FROM, well-formed, in sequence, SIZE within the limit."""

    reverse_path: Final[str]
    size: Final[int]  # announced, 0: not
    body: Final[str]  # "", "7BIT", "8BITMIME"
    smtputf8: Final[bool]
    ret: Final[str]
    envid: Final[str]
    requires_tls: Final[bool]

    def __init__(
        self,
        reverse_path: str,
        size: int,
        body: str,
        smtputf8: bool,
        ret: str,
        envid: str,
        requires_tls: bool = False,
    ) -> None:
        self.reverse_path = reverse_path
        self.size = size
        self.body = body
        self.smtputf8 = smtputf8
        self.ret = ret
        self.envid = envid
        self.requires_tls = requires_tls


@dataclass(slots=True, init=False)
class Rcpt:
    """(answer) RCPT TO, well-formed, in sequence, within max_recipients."""

    forward_path: Final[str]
    notify: Final[str]
    orcpt: Final[str]

    def __init__(
        self,
        forward_path: str,
        notify: str,
        orcpt: str,
    ) -> None:
        self.forward_path = forward_path
        self.notify = notify
        self.orcpt = orcpt


@dataclass(slots=True, init=False)
class ContentBegin:
    """(answer) DATA with at least one accepted recipient, or the first BDAT (`is_chunked`).

    Answer 354 or a refusal. For BDAT 354 means "take it" and is not sent; a refusal is sent for
    every chunk, whose octets are swallowed.
    """

    is_chunked: bool

    def __init__(
        self,
        is_chunked: bool,
    ) -> None:
        self.is_chunked = is_chunked


@dataclass(slots=True, init=False)
class ContentChunk:
    """Octets of content: unstuffed, line ends normalised. Never empty. No answer."""

    octets: bytes

    def __init__(
        self,
        octets: bytes,
    ) -> None:
        self.octets = octets


@dataclass(slots=True, init=False)
class ContentEnd:
    """(answer) End of content. With `refusal` set the content must not go on: answer with it.

    `must_close`: close the session after the reply.
    """

    size: int
    refusal: Reply | None
    must_close: bool

    def __init__(
        self,
        size: int,
        refusal: Reply | None = None,
        must_close: bool = False,
    ) -> None:
        self.size = size
        self.refusal = refusal
        self.must_close = must_close


@dataclass(slots=True, init=False)
class Answered:
    """(answer with `reply`) A command that the engine judged itself: NOOP, HELP, VRFY, RSET, every
    syntax or sequence error, a limit. `resets`: the transaction, if any, is over."""

    command: str  # the verb as far as it was known: "RSET", "MAIL", "?"
    reply: Reply
    resets: bool
    must_close: bool

    def __init__(
        self,
        command: str,
        reply: Reply,
        resets: bool = False,
        must_close: bool = False,
    ) -> None:
        self.command = command
        self.reply = reply
        self.resets = resets
        self.must_close = must_close


@dataclass(slots=True)
class StartTls:
    """(answer) STARTTLS (RFC 3207): after 220 call `engine.tls_started()`, and shake hands."""


@dataclass(slots=True)
class Quit:
    """(answer) QUIT: answer 221 and close."""


@dataclass(slots=True)
class Closed:
    """The peer is gone (EOF), whatever was under way."""


# --- client ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Greeted:
    """The server's greeting: 220 means welcome."""

    reply: Reply


@dataclass(slots=True)
class HelloReplied:
    """The reply to EHLO, or to HELO where EHLO was refused with 5xx (RFC 5321 3.2)."""

    reply: Reply


@dataclass(slots=True)
class StartTlsReplied:
    """The reply to STARTTLS. 2xx: the shell starts TLS on the connection now, within the event, and
    calls `engine.tls_started()` once the handshake is done. Else the session goes on in plain."""

    reply: Reply


@dataclass(slots=True)
class AuthReplied:
    """How AUTH ended. Not 2xx: the session is of no use, and is to be ended."""

    reply: Reply
    mechanism: str


@dataclass(slots=True, init=False)
class Replied:
    """The reply to one command of a transaction, in order.

    `recipient_id` is set for RCPT, and for LMTP's replies to the final dot.
    """

    command: str  # MAIL, RCPT, DATA, BDAT, DOT, RSET, QUIT
    reply: Reply
    recipient_id: int | None

    def __init__(
        self,
        command: str,
        reply: Reply,
        recipient_id: int | None = None,
    ) -> None:
        self.command = command
        self.reply = reply
        self.recipient_id = recipient_id


@dataclass(slots=True)
class Unsolicited:
    """A reply while none was awaited: typically 421 before the server closes."""

    reply: Reply


ServerEvent = (
    Hello
    | Xclient
    | Auth
    | AuthResponse
    | Mail
    | Rcpt
    | ContentBegin
    | ContentChunk
    | ContentEnd
    | Answered
    | StartTls
    | Quit
    | Closed
)
ClientEvent = (
    Greeted | HelloReplied | StartTlsReplied | AuthReplied | Replied | Unsolicited | Closed
)
