"""The client's side of a session, without a socket: octets and requests in, events and octets out.

Runs one mail transaction after the other (RFC 5321, 2920, 3030; LMTP: RFC 2033), after STARTTLS
where that is wanted and offered (RFC 3207), and AUTH where that is wanted (RFC 4954). Whether mail
may go to a server that lacks an extension it wants is the caller's decision, and so is what a reply
means for the message: here replies are told apart and kept in order, no more.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Final, NoReturn

from relay.mail.envelope import Envelope, Recipient
from relay.mail.reply import Reply
from relay.smtp.content import ContentEncoder
from relay.smtp.dialogue import BDAT_LAST, DOT, GREETING, RESPONSE, State, next_state
from relay.smtp.events import (
    NEED_DATA,
    AuthReplied,
    ClientEvent,
    Closed,
    Greeted,
    HelloReplied,
    LocalProtocolError,
    RemoteProtocolError,
    Replied,
    Signal,
    StartTlsReplied,
    Unsolicited,
)
from relay.smtp.offers import Offers
from relay.smtp.replies import ReplyReader
from relay.smtp.sasl import base64
from relay.smtp.sasl.client import Distrusted, Exchange
from relay.smtp.wire import command_octets

MAX_FAULT: Final = 200  # characters of a RemoteProtocolError's text, which may quote the server

MAX_AUTH_LINE: Final = (
    510  # octets without CRLF: a longer initial response goes in a line of its own
)

Lines = Sequence[str]
"""Commands as `conveying` writes them."""

_Command = tuple[str, int | None, bytes]  # command, recipient id, octets


class _Phase(Enum):
    OPENING = "opening"  # greeting and hello
    SECURING = "securing"  # the server waits for TLS to begin
    LOCKED = "locked"  # the session is to be authenticated first
    IDLE = "idle"
    BUSY = "busy"  # replies are awaited; nothing is asked of the caller
    CONTENT = "ready for content"
    CHUNKS = "ready for chunks"  # the content goes by BDAT
    OVER = "over"


_OPENING, _SECURING, _LOCKED, _IDLE, _BUSY, _CONTENT, _CHUNKS, _OVER = _Phase


class ClientEngine(Offers):
    """Take events after each `receive` until NEED_DATA, and `data_to_send` after those events and
    after each request. A request out of turn raises LocalProtocolError and changes nothing.

    The end of the content is reported as Replied("DOT"), also where it went as BDAT LAST.
    """

    __slots__ = (
        "_accepted",
        "_awaited",
        "_encoder",
        "_exchange",
        "_fault",
        "_held_back",
        "_held_response",
        "_hello_name",
        "_ignored",
        "_is_chunked",
        "_is_closed",
        "_is_eof",
        "_is_lmtp",
        "_is_spent",
        "_out",
        "_phase",
        "_rcpts_owed",
        "_reader",
        "_state",
        "_wants_auth",
        "_wants_tls",
    )

    def __init__(
        self,
        hello_name: str,
        *,
        is_lmtp: bool = False,
        ignored_keywords: frozenset[str] = frozenset(),
        wants_tls: bool = False,
        wants_auth: bool = False,
    ) -> None:
        super().__init__()
        self._hello_name = hello_name
        self._is_lmtp = is_lmtp
        self._ignored = frozenset(keyword.upper() for keyword in ignored_keywords)
        self._wants_tls = wants_tls  # STARTTLS is to be sent where it is offered
        self._wants_auth = wants_auth  # nothing else is done before `authenticate`
        self._exchange: Exchange | None = None
        self._held_response = b""  # the initial one, where AUTH has no room for it
        self._reader = ReplyReader()
        self._out: list[bytes] = []
        self._awaited: deque[tuple[str, int | None]] = deque([(GREETING, None)])
        self._held_back: deque[_Command] = deque()  # in lock-step: not sent yet
        self._phase = _OPENING
        self._state = State.CONNECTED  # the server's, as its replies tell it
        self._fault = ""
        self._is_eof = self._is_closed = False
        self._is_spent = False  # no further transaction: the server closes, or talks out of turn
        self._is_chunked = False
        self._rcpts_owed = 0
        self._accepted: list[int] = []
        self._encoder = ContentEncoder()

    # --- what comes in ---

    def receive(self, data: bytes) -> None:
        """Take octets from the server; b"" says that no more will come."""
        if data:
            self._reader.receive(data)
        else:
            self._is_eof = True

    def next_event(self) -> ClientEvent | Signal:
        """The next thing that happened, or NEED_DATA.

        Raises RemoteProtocolError, and from then on always: the session is to be closed.
        """
        while True:
            if self._fault:
                raise RemoteProtocolError(self._fault)
            reply = self._next_reply()
            if reply is None:
                return self._end_of_events()
            if not self._awaited:
                if self._phase is _SECURING:
                    self._fail("plain text came before TLS began")
                self._is_spent = True
                return Unsolicited(reply)
            event = self._take(reply)
            if event is not None:
                return event

    def _next_reply(self) -> Reply | None:
        try:
            return self._reader.next_reply()
        except RemoteProtocolError as error:
            self._fail(str(error))

    def _fail(self, fault: str) -> NoReturn:
        self._fault = fault[:MAX_FAULT]
        raise RemoteProtocolError(self._fault)

    def _end_of_events(self) -> ClientEvent | Signal:
        if self._is_eof and not self._is_closed:
            self._is_closed = True
            return Closed()
        return NEED_DATA

    def _take(self, reply: Reply) -> ClientEvent | None:
        """Hand a reply to whoever awaits it, then go on with what waited for that."""
        command, recipient_id = self._awaited.popleft()
        state = next_state(self._state, command, reply.code) or self._excused(command, reply)
        if not (self._is_lmtp and self._awaited and command in (DOT, BDAT_LAST)):
            self._state = state  # LMTP: the end of content leads on with its last reply
        if reply.code == 421:  # RFC 5321 3.8: the server closes
            self._is_spent = True
            self._held_back.clear()
        event = _HANDLERS[command](self, reply, recipient_id)
        if not self._awaited:
            self._go_on()
        return event

    def _excused(self, command: str, reply: Reply) -> State:
        """A code that has no place here: the state stays where nothing hangs on it, else fail."""
        if command == "QUIT":
            return self._state
        if command == "RCPT" and self._state is State.READY and reply.code < 300:
            return self._state  # after MAIL was refused it means nothing
        self._fail(f"an impossible code in answer to {command}: {reply}")

    def _go_on(self) -> None:
        """All that was sent is answered: send what was held back, else all is done."""
        if self._held_back:
            self._send(*self._held_back.popleft())
        elif self._phase is _BUSY:
            self._phase = _IDLE

    # --- replies, by the command they answer ---

    def _on_greeting(self, reply: Reply, _: int | None) -> ClientEvent:
        if reply.code < 300:
            self._send_hello("LHLO" if self._is_lmtp else "EHLO")
        else:
            self._end_session()
        return Greeted(reply)

    def _send_hello(self, verb: str) -> None:
        self._send(verb, None, command_octets(f"{verb} {self._hello_name}"))

    def _on_extended_hello(self, reply: Reply, _: int | None) -> ClientEvent | None:
        if reply.code >= 500 and not self._is_lmtp:  # RFC 5321 3.2
            self._send_hello("HELO")
            return None
        if reply.code < 300:
            self._set_offers(reply.lines[1:], self._ignored)
        return self._on_hello(reply, _)

    def _on_hello(self, reply: Reply, _: int | None) -> ClientEvent:
        wants_tls, self._wants_tls = self._wants_tls, False  # no more once the session is open
        if reply.code >= 300:
            self._end_session()
        elif wants_tls and "STARTTLS" in self.extensions:
            self._send("STARTTLS", None, b"STARTTLS\r\n")
        else:
            self._open()
        return HelloReplied(reply)

    def _open(self) -> None:
        """Greeted, and as safe as it gets."""
        self._phase = _LOCKED if self._wants_auth else _IDLE
        self._wants_auth = False

    def _on_starttls(self, reply: Reply, _: int | None) -> ClientEvent:
        if reply.code >= 300:
            self._open()
        elif self._reader.buffered:  # what an attacker put there would be read as if under TLS
            self._fail("plain text came behind its answer to STARTTLS")
        else:
            self._phase = _SECURING
        return StartTlsReplied(reply)

    def tls_started(self) -> None:
        """The handshake is done: all that was said before counts for nothing (RFC 3207 4.2)."""
        self._require(self._phase is _SECURING, "tls_started")
        self._set_offers((), self._ignored)
        self._phase = _OPENING
        self._send_hello("LHLO" if self._is_lmtp else "EHLO")

    def _end_session(self) -> None:
        self._is_spent = True
        self._phase = _OVER

    def _on_auth(self, reply: Reply, _: int | None) -> ClientEvent | None:
        exchange = self._exchange
        assert exchange is not None
        if 300 <= reply.code < 400:
            self._respond(exchange, reply)
            return None
        if reply.code >= 400:
            self._phase = _LOCKED
        elif not exchange.is_settled:
            self._fail("it ended AUTH before it proved that it knows the password")
        self._exchange = None
        return AuthReplied(reply, exchange.name)

    def _respond(self, exchange: Exchange, reply: Reply) -> None:
        if reply.code != 334:
            self._fail(f"an impossible code in answer to AUTH: {reply.code}")
        try:
            challenge = base64.decode("".join(reply.lines).strip().encode())
            response = self._held_response or exchange.respond(challenge)
        except (base64.NotBase64, Distrusted) as error:
            self._fail(f"AUTH {exchange.name}: {error or 'a challenge that is no Base64'}")
        self._held_response = b""
        self._send(RESPONSE, None, f"{base64.encode(response)}\r\n".encode())

    def _on_introduction(self, reply: Reply, _: int | None) -> ClientEvent:
        if reply.code >= 400:
            self._held_back.clear()
            self._end_session()
        return Replied("XCLIENT", reply)

    def _on_forwarding(self, reply: Reply, _: int | None) -> ClientEvent:
        return Replied("XFORWARD", reply)  # refused, it is less for the server's log, no more

    def _on_mail(self, reply: Reply, _: int | None) -> ClientEvent:
        if reply.code >= 400:
            self._held_back.clear()
        return Replied("MAIL", reply)

    def _on_rcpt(self, reply: Reply, recipient_id: int | None) -> ClientEvent:
        self._rcpts_owed -= 1
        if reply.code < 300 and recipient_id is not None:
            self._accepted.append(recipient_id)
        if not self._rcpts_owed:
            self._end_recipients()
        return Replied("RCPT", reply, recipient_id)

    def _end_recipients(self) -> None:
        if self._state is not State.RCPT:  # none accepted
            self._held_back.clear()
        elif self._is_chunked:
            self._phase = _CHUNKS

    def _on_data(self, reply: Reply, _: int | None) -> ClientEvent:
        if self._state is State.CONTENT:
            self._phase = _CONTENT
        elif self._state is State.UNWANTED:
            if self._is_lmtp:  # RFC 2033 4.2 forbids it: no recipient, so no reply to any dot
                self._fail(f"an impossible code in answer to DATA without recipients: {reply}")
            self._send(DOT, None, b".\r\n")  # RFC 2920 3.1
        return Replied("DATA", reply)

    def _on_chunk(self, reply: Reply, _: int | None) -> ClientEvent:
        if reply.code >= 400:  # RFC 3030 2: no more of them may follow
            self._phase = _BUSY
        return Replied("BDAT", reply)

    def _on_dot(self, reply: Reply, recipient_id: int | None) -> ClientEvent:
        return Replied("DOT", reply, recipient_id)

    def _on_reset(self, reply: Reply, _: int | None) -> ClientEvent:
        if reply.code >= 400 and reply.code != 421:  # what follows would join the old transaction
            self._fail(f"RSET was refused: {reply}")
        return Replied("RSET", reply)

    def _on_quit(self, reply: Reply, _: int | None) -> ClientEvent:
        self._end_session()
        return Replied("QUIT", reply)

    # --- what goes out ---

    def data_to_send(self) -> bytes:
        """What is to be written now, b"" if nothing is."""
        out = self._out
        if not out:
            return b""
        octets = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return octets

    def _send(self, command: str, recipient_id: int | None, octets: bytes) -> None:
        self._await(command, recipient_id)
        self._out.append(octets)

    def _await(self, command: str, recipient_id: int | None) -> None:
        if not self._awaited and self._reader.buffered:  # whoever guesses may confirm what is not
            self._fault = f"a reply began before {command}, which it would have answered, was sent"
        self._awaited.append((command, recipient_id))

    def authenticate(self, exchange: Exchange) -> None:
        """Where `needs_auth`: AuthReplied follows."""
        self._require(self.needs_auth and self._may_speak, "authenticate")
        self._phase = _BUSY
        self._exchange = exchange
        line = f"AUTH {exchange.name}"
        initial = exchange.begin()
        if initial is not None:
            encoded = base64.encode(initial) or "="
            if len(line) + 1 + len(encoded) <= MAX_AUTH_LINE:  # RFC 4954 4
                line += f" {encoded}"
            else:
                self._held_response = initial
        self._send("AUTH", None, command_octets(line))

    def introduce(self, lines: Sequence[str], hello_name: str) -> None:
        """Say by XCLIENT in whose name the session is from now on, and greet anew: HelloReplied
        follows. A refusal ends the session."""
        self._require(self.is_idle and self._state is State.READY, "introduce")
        self._phase = _OPENING
        self._hello_name = hello_name
        self._set_offers((), frozenset())  # the session begins anew, with HELO maybe
        self._held_back.extend([("XCLIENT", None, command_octets(line)) for line in lines])
        self._held_back.append(("EHLO", None, command_octets(f"EHLO {hello_name}")))
        self._go_on()

    def begin(
        self, envelope: Envelope, size: int, forwarded: Lines = (), *, is_chunked: bool = False
    ) -> None:
        """Begin a transaction; `size` of the content in octets, 0 if unknown. `forwarded`: XFORWARD
        commands that belong to it.

        An extension that is not offered is not used. Paths in other than ASCII need SMTPUTF8, in
        the envelope and offered, `is_chunked` needs CHUNKING: LocalProtocolError otherwise.
        """
        self._require(self.is_idle and bool(envelope.recipients), "begin")
        self._require(self.offers_chunking or not is_chunked, "begin chunked")
        commands = self._commands(envelope, size, forwarded, is_chunked)
        self._is_chunked = is_chunked
        self._rcpts_owed = len(envelope.recipients)
        self._accepted = []
        self._give(commands)

    def _give(self, commands: list[_Command]) -> None:
        self._phase = _BUSY
        if self.offers_pipelining:  # RFC 2920: the whole envelope at once
            self._awaited.extend([(command, id_) for command, id_, _ in commands])
            self._out.append(b"".join([octets for _, _, octets in commands]))
        else:
            self._held_back.extend(commands)
            self._go_on()

    # A transaction step by step: `mail`, `rcpt` as often as needed, then `data` or `chunks`, each
    # once the one before was answered. Given up half-way, the next one begins with RSET.

    def mail(self, envelope: Envelope, size: int, forwarded: Lines = ()) -> None:
        """The envelope's recipients do not matter. The rest, and needs, as for `begin`."""
        self._require(self.is_idle, "mail")
        commands = self._mail_commands(envelope, size, forwarded)
        self._require_ascii(commands, envelope.smtputf8)
        self._is_chunked = False
        self._rcpts_owed = 0
        self._accepted = []
        self._give(commands)

    def rcpt(self, recipient: Recipient, *, smtputf8: bool) -> None:
        """`smtputf8`: said with MAIL."""
        is_open = self._state is State.MAIL or self._state is State.RCPT
        self._require(self.is_idle and is_open, "rcpt")
        command = self._rcpt_command(recipient)
        self._require_ascii([command], smtputf8)
        self._rcpts_owed = 1
        self._give([command])

    def data(self) -> None:
        self._require(self.is_idle and self._state is State.RCPT, "data")
        self._give([("DATA", None, b"DATA\r\n")])

    def chunks(self) -> None:
        """The content goes by BDAT, with nothing to be answered first."""
        is_in_turn = self.is_idle and self._state is State.RCPT
        self._require(is_in_turn and self.offers_chunking, "chunks")
        self._is_chunked = True
        self._phase = _CHUNKS

    def _require(self, is_in_turn: bool, what: str) -> None:
        if not is_in_turn:
            raise LocalProtocolError(f"{what} out of turn: {self!r}")

    def _commands(
        self, envelope: Envelope, size: int, forwarded: Lines, is_chunked: bool
    ) -> list[_Command]:
        commands = self._mail_commands(envelope, size, forwarded)
        commands += [self._rcpt_command(recipient) for recipient in envelope.recipients]
        if not is_chunked:
            commands.append(("DATA", None, b"DATA\r\n"))
        self._require_ascii(commands, envelope.smtputf8)
        return commands

    def _mail_commands(self, envelope: Envelope, size: int, forwarded: Lines) -> list[_Command]:
        commands: list[_Command] = [("MAIL", None, command_octets(self.mail_line(envelope, size)))]
        if forwarded:
            commands[:0] = [("XFORWARD", None, command_octets(line)) for line in forwarded]
        if self._state is not State.READY:  # an unfinished transaction was left there
            commands.insert(0, ("RSET", None, b"RSET\r\n"))
        return commands

    def _rcpt_command(self, recipient: Recipient) -> _Command:
        return "RCPT", recipient.id, command_octets(self.rcpt_line(recipient))

    def _require_ascii(self, commands: list[_Command], smtputf8: bool) -> None:
        if not (smtputf8 and self.offers_smtputf8):
            is_ascii = all(octets.isascii() for _, _, octets in commands)
            self._require(is_ascii, "a path in other than ASCII without SMTPUTF8")

    def send_content(self, octets: bytes) -> bytes:
        """Some of the content, as it is to be written: stuffed, or as a BDAT chunk."""
        if self._phase is _CONTENT:
            return self._encoder.encode(octets)
        self._require(self.is_ready_for_content, "send_content")
        if not octets:
            return b""
        self._await("BDAT", None)
        return b"BDAT %d\r\n%b" % (len(octets), octets)

    def end_content(self) -> bytes:
        """What ends the content, and makes the server answer for the message."""
        self._require(self.is_ready_for_content, "end_content")
        is_chunked = self._phase is _CHUNKS
        for recipient_id in self._accepted if self._is_lmtp else (None,):
            self._await(BDAT_LAST if is_chunked else DOT, recipient_id)
        self._phase = _BUSY
        if is_chunked:
            return b"BDAT 0 LAST\r\n"
        end = self._encoder.finish()
        self._encoder = ContentEncoder()
        return end

    def reset(self) -> None:
        """RSET: needed only to find out whether a session still lives."""
        self._require(self._may_speak and self._phase is not _OVER, "reset")
        self._phase = _BUSY
        self._send("RSET", None, b"RSET\r\n")

    def quit(self) -> None:
        """QUIT, also to a server that refused us (RFC 5321 3.1)."""
        self._require(self._may_speak, "quit")
        self._phase = _BUSY
        self._send("QUIT", None, b"QUIT\r\n")

    # --- questions ---

    @property
    def _may_speak(self) -> bool:
        """A command may go out now, though not any."""
        is_free = not (self._awaited or self._is_eof or self._fault)
        return is_free and self._phase in (_IDLE, _LOCKED, _CHUNKS, _OVER)

    @property
    def needs_auth(self) -> bool:
        """The session is greeted, and waits for `authenticate`."""
        return self._phase is _LOCKED

    @property
    def is_starting_tls(self) -> bool:
        """STARTTLS was sent, and neither TLS nor a refusal came yet."""
        if self._phase is _SECURING:
            return True
        return bool(self._awaited) and self._awaited[0][0] == "STARTTLS"

    @property
    def is_idle(self) -> bool:
        """A transaction may begin. A session that came to be idle and then is not: close it."""
        if self._phase is not _IDLE or self._is_spent or self._is_eof or self._fault:
            return False
        return not self._reader.buffered

    @property
    def is_ready_for_content(self) -> bool:
        """`send_content` and `end_content` may be called. Without PIPELINING a BDAT chunk has to
        be answered before the next one (RFC 3030 4.2)."""
        if self._phase is _CHUNKS:
            return self.offers_pipelining or not self._awaited
        return self._phase is _CONTENT

    def __repr__(self) -> str:
        words = [self._phase.value, f"server {self._state.value}"]
        if self._awaited:
            commands = [command for command, _ in list(self._awaited)[:3]]
            more = " ..." if len(self._awaited) > 3 else ""
            words.append(f"awaits {' '.join(commands)}{more}")
        if self._is_spent and self._phase is not _OVER:
            words.append("spent")
        if self._is_eof:
            words.append("EOF")
        if self._fault:
            words.append(f"broken: {self._fault}")
        return f"<ClientEngine {', '.join(words)}>"


_HANDLERS: Final[Mapping[str, Callable[[ClientEngine, Reply, int | None], ClientEvent | None]]] = {
    GREETING: ClientEngine._on_greeting,
    "EHLO": ClientEngine._on_extended_hello,
    "LHLO": ClientEngine._on_extended_hello,
    "HELO": ClientEngine._on_hello,
    "XCLIENT": ClientEngine._on_introduction,
    "XFORWARD": ClientEngine._on_forwarding,
    "STARTTLS": ClientEngine._on_starttls,
    "AUTH": ClientEngine._on_auth,
    RESPONSE: ClientEngine._on_auth,
    "MAIL": ClientEngine._on_mail,
    "RCPT": ClientEngine._on_rcpt,
    "DATA": ClientEngine._on_data,
    "BDAT": ClientEngine._on_chunk,
    BDAT_LAST: ClientEngine._on_dot,
    DOT: ClientEngine._on_dot,
    "RSET": ClientEngine._on_reset,
    "QUIT": ClientEngine._on_quit,
}
