"""The server's half of the dialogue, sans-io: octets in, events out, replies in, octets out.

Commands are handled strictly in order: after an event that needs an answer `next_event` returns
PAUSED until `reply` was called, so that pipelined replies cannot overtake one another (RFC 2920).
What needs no policy is judged here and comes as Answered. Decides nothing about who may send.
RFC 5321, 1870, 2034, 2920, 3030, 3207, 4954, 6152, 6531.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from relay.mail.reply import Reply, reply
from relay.smtp import answers, conveying
from relay.smtp.bare_paths import with_brackets
from relay.smtp.content import BareNewline
from relay.smtp.dialogue import BDAT_LAST, DOT, GREETING, RESPONSE, TABLE, Moves, State
from relay.smtp.events import (
    NEED_DATA,
    PAUSED,
    Answered,
    Auth,
    AuthResponse,
    Closed,
    ContentBegin,
    ContentChunk,
    ContentEnd,
    Hello,
    LocalProtocolError,
    Mail,
    Quit,
    Rcpt,
    RemoteProtocolError,
    ServerEvent,
    Signal,
    StartTls,
    Xclient,
)
from relay.smtp.extensions import offered_keywords
from relay.smtp.grammar import Malformed, parse_bdat, parse_hello, parse_mail, parse_rcpt
from relay.smtp.incoming import Incoming
from relay.smtp.lines import (
    InputBuffer,
    LineBare,
    LineEndless,
    LineFault,
    announces_chunk,
    command_text,
)
from relay.smtp.sasl import commands as sasl
from relay.smtp.wire import reply_octets

COMMANDS_PER_RECIPIENT: Final = 10
"""Times `max_recipients`, commands without a message: then the session ends (RFC 5321 7.8)."""

MIN_COMMANDS: Final = 1000
"""However few recipients are allowed."""

_OVER: Final = frozenset({State.GREETED, State.READY, State.AUTH, State.REFUSED})
_WITHOUT_CONTENT: Final = frozenset({State.AUTH, State.CLOSED})
_TAKE_OR_REFUSE: Final[Moves] = {3: State.RCPT, 4: State.RCPT, 5: State.RCPT}  # the chunk moves on

_OUT_OF_SEQUENCE: Final = {
    State.GREETED: answers.HELLO_FIRST,
    State.READY: answers.MAIL_FIRST,
    State.MAIL: answers.NESTED_MAIL,
    State.RCPT: answers.NESTED_MAIL,
    State.CHUNKED: answers.BDAT_UNDER_WAY,
    State.REFUSED: answers.MAIL_FIRST,
}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the engines of one listener have in common. Sizes in octets."""

    hostname: str
    max_message_size: int
    max_recipients: int
    bare_newline: BareNewline = "normalise"
    max_errors: int = 20  # judged by the engine in one session; one more ends it (RFC 5321 7.8)
    max_swallowed: int = 64 * 1024 * 1024  # of refused content, read so that its reply arrives
    mechanisms: tuple[str, ...] = ()  # of AUTH, as they are offered
    auth_without_tls: bool = False
    offers_starttls: bool = False
    requires_tls: bool = False  # before MAIL
    takes_bare_paths: bool = False  # without angle brackets

    @property
    def max_barren_commands(self) -> int:
        """Not all that is refused is an error, and NOOP never is; yet each costs time and lines."""
        return max(MIN_COMMANDS, COMMANDS_PER_RECIPIENT * self.max_recipients)


class ServerEngine:
    """One session. It begins with `reply(greeting())`, or with a refusal of the shell's own."""

    __slots__ = (
        "_barren_left",
        "_chunk_left",
        "_chunk_size",
        "_incoming",
        "_input",
        "_is_content_open",
        "_is_eof",
        "_is_last",
        "_moves",
        "_needs_tls",
        "_pending",
        "_read",
        "_recipients",
        "_settings",
        "_smtputf8",
        "_state",
        "error_count",
        "helo",
        "is_authenticated",
        "is_encrypted",
        "is_extended",
        "may_introduce",
    )

    def __init__(self, settings: ServerSettings, *, is_encrypted: bool = False) -> None:
        self._settings = settings
        self._input = InputBuffer(may_end_bare=settings.bare_newline == "normalise")
        self._state = State.CONNECTED
        self._pending: ServerEvent | None = Answered(GREETING, self.greeting())
        self._moves: Moves | None = TABLE[State.CONNECTED][GREETING]
        self._read = ServerEngine._read_command  # what the next octets are
        self._is_eof = False
        self._barren_left = settings.max_barren_commands  # till a message comes; chunks are none
        self._recipients = 0  # accepted in this transaction
        self._smtputf8 = False  # said in this transaction's MAIL
        self._incoming: Incoming  # this transaction's content
        self._is_content_open: bool  # the shell was told of it, and not yet of its end
        self._begin_incoming()
        self._chunk_size = self._chunk_left = 0
        self._is_last = False  # this chunk
        self.helo = ""
        self.is_encrypted = is_encrypted
        self.is_extended = False  # greeted by EHLO
        self.is_authenticated = False
        self._needs_tls = settings.requires_tls and not is_encrypted
        self.error_count = 0
        self.may_introduce = False  # the peer may name the client by XCLIENT

    def __repr__(self) -> str:
        pending = f", awaits {type(self._pending).__name__}" if self._pending else ""
        return f"<ServerEngine {self._state.value}{pending}, {len(self._input)} buffered>"

    @property
    def in_transaction(self) -> bool:
        """A reverse-path was accepted, and the transaction is not over."""
        return self._state is not State.CLOSED and self._state not in _OVER

    @property
    def has_content_pending(self) -> bool:
        """The next octets are content."""
        return self._state not in _WITHOUT_CONTENT and self._read is not ServerEngine._read_command

    @property
    def buffered(self) -> int:
        """Octets received and not yet used: the shell stops reading when there are many."""
        return len(self._input)

    @property
    def is_midway(self) -> bool:
        """Content, or a command, has begun and not ended."""
        return self.has_content_pending or self._input.is_midway

    @property
    def may_authenticate(self) -> bool:
        """AUTH may come, with a password in it (RFC 4954 4, 9)."""
        settings = self._settings
        may_be_told = self.is_encrypted or (settings.auth_without_tls and not self._needs_tls)
        return bool(settings.mechanisms) and may_be_told and not self.is_authenticated

    def greeting(self) -> Reply:
        """The welcome."""
        return reply(220, "", f"{self._settings.hostname} ESMTP")

    def hello_reply(self, withheld: frozenset[str] = frozenset(), max_size: int = 0) -> Reply:
        """The answer to the Hello that awaits it; it has no status (RFC 2034 4).

        `withheld` keywords are not offered; `max_size` in octets: a lower limit than our own, 0:
        none.
        """
        hello = self._pending
        if not isinstance(hello, Hello):
            raise LocalProtocolError("no EHLO or HELO awaits an answer")
        settings = self._settings
        if hello.verb == "HELO":
            return reply(250, "", settings.hostname)
        size = settings.max_message_size
        if max_size:
            size = min(size, max_size)
        mechanisms = settings.mechanisms if self.may_authenticate else ()
        limit, is_encrypted = settings.max_recipients, self.is_encrypted
        keywords = offered_keywords(size, limit, withheld, mechanisms, is_encrypted=is_encrypted)
        if settings.offers_starttls and not self.is_encrypted:
            keywords = (*keywords, "STARTTLS")  # RFC 3207
        if self.may_introduce:
            keywords = (*keywords, conveying.OFFER)
        return Reply(250, "", (settings.hostname, *keywords))

    # --- in ---------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take what the client sent; b"" means that nothing more will come."""
        if not data:
            self._is_eof = True
        elif self._state is not State.CLOSED:
            self._input.add(data)

    def next_event(self) -> ServerEvent | Signal:
        """What happened next. PAUSED: the last event awaits its answer."""
        if self._pending is not None:
            return PAUSED
        event = self._read(self)
        if event is not None:
            return event
        if self._is_eof:
            self._is_eof = False
            self._close()
            return Closed()
        return NEED_DATA

    def _close(self) -> None:
        self._state = State.CLOSED
        self._read = ServerEngine._read_nothing
        self._input.clear()

    def _ask(self, event: ServerEvent, moves: Moves | None) -> ServerEvent:
        """An event that awaits its answer, which leads on by `moves`; None: nowhere."""
        self._pending = event
        self._moves = moves
        return event

    def _answer(
        self, command: str, answer: Reply, moves: Moves | None = None, *, must_close: bool = False
    ) -> ServerEvent:
        """A command judged here."""
        resets = moves is not None and moves.get(answer.code // 100) in _OVER
        return self._ask(Answered(command, answer, resets, must_close), moves)

    def _refuse(
        self, command: str, answer: Reply, moves: Moves | None = None, *, must_close: bool = False
    ) -> ServerEvent:
        """A client's mistake: too many of them end the session."""
        self.error_count += 1
        if self.error_count > self._settings.max_errors:
            return self._answer(command, answers.TOO_MANY_ERRORS, must_close=True)
        return self._answer(command, answer, moves, must_close=must_close)

    def _out_of_sequence(self, command: str) -> ServerEvent:
        """What follows from a refusal that a pipelining client could not foresee is no mistake."""
        answer = _OUT_OF_SEQUENCE[self._state]
        if answer is answers.MAIL_FIRST:
            return self._answer(command, answer)
        return self._refuse(command, answer)

    # --- commands ---------------------------------------------------------------------------

    def _read_command(self) -> ServerEvent | None:
        try:
            line = self._input.read_line()
        except LineFault as fault:
            answer = answers.BARE_LINE if type(fault) is LineBare else answers.LINE_TOO_LONG
            is_lost = type(fault) is LineEndless or announces_chunk(fault.beginning)
            return self._refuse("?", answer, must_close=is_lost)
        if line is None:
            return None
        self._barren_left -= 1
        if self._barren_left < 0:
            return self._answer("?", answers.TOO_MANY_COMMANDS, must_close=True)
        text = command_text(line)
        if text is None:
            # a session that begins like this is no SMTP: TLS on a plain port, a scanner
            is_lost = self._state is State.GREETED or announces_chunk(line)
            return self._refuse("?", answers.UNREADABLE, must_close=is_lost)
        word, _, argument = text.partition(" ")
        verb = word.upper()
        try:
            return _HANDLERS.get(verb, ServerEngine._unknown)(self, verb, argument.strip(" "))
        except Malformed as malformed:  # a name of its own: compiled, one has one type
            return self._mended(verb, argument.strip(" "), malformed)

    def _mended(self, verb: str, argument: str, fault: Malformed) -> ServerEvent | None:
        """What an old device means, where that is tolerated."""
        text = with_brackets(argument) if self._settings.takes_bare_paths else ""
        try:
            return _HANDLERS[verb](self, verb, text) if text else self._refuse(verb, fault.reply)
        except Malformed as another:
            return self._refuse(verb, another.reply)

    def _unknown(self, verb: str, argument: str) -> ServerEvent:
        if verb in answers.HTTP_VERBS:
            return self._refuse("?", answers.NOT_SMTP, must_close=True)
        is_lost = announces_chunk(f"{verb} {argument}".encode())
        return self._refuse("?", answers.UNKNOWN, must_close=is_lost)

    def _not_offered(self, verb: str, argument: str) -> ServerEvent:
        return self._refuse(verb, answers.NOT_OFFERED)

    def _fixed(self, verb: str, argument: str) -> ServerEvent:
        return self._answer(verb, answers.FIXED[verb])

    def _vrfy(self, verb: str, argument: str) -> ServerEvent:
        if not argument:
            return self._refuse(verb, answers.NEEDS_ARGUMENT)
        return self._answer(verb, answers.CANNOT_VERIFY)

    def _rset(self, verb: str, argument: str) -> ServerEvent:
        if argument:
            return self._refuse(verb, answers.NO_ARGUMENT)
        return self._answer(verb, answers.OK, TABLE[self._state][verb])

    def _quit(self, verb: str, argument: str) -> ServerEvent:
        return self._ask(Quit(), TABLE[self._state][verb])

    def _hello(self, verb: str, argument: str) -> ServerEvent:
        return self._ask(Hello(verb, parse_hello(argument)), TABLE[self._state][verb])

    def _starttls(self, verb: str, argument: str) -> ServerEvent:
        """Octets behind it came without protection, from whomever: the session must end."""
        if not self._settings.offers_starttls:
            return self._not_offered(verb, argument)
        if self.is_encrypted:
            return self._refuse(verb, answers.TLS_ALREADY)
        if self.is_authenticated:  # which RFC 3207 4.2 wants forgotten: nobody needs that order
            return self._refuse(verb, sasl.ALREADY)
        if argument:
            return self._refuse(verb, answers.NO_ARGUMENT)
        if self._input:
            return self._refuse(verb, answers.TLS_PIPELINED, must_close=True)
        moves = TABLE[self._state].get(verb)
        if moves is None:
            return self._out_of_sequence(verb)
        return self._ask(StartTls(), moves)

    def _xclient(self, verb: str, argument: str) -> ServerEvent:
        if not self.may_introduce:
            return self._refuse(verb, conveying.NOT_AUTHORISED)
        moves = TABLE[self._state].get(verb)
        if moves is None:
            return self._out_of_sequence(verb)
        return self._ask(Xclient(conveying.parse_xclient(argument)), moves)

    def _mail(self, verb: str, argument: str) -> ServerEvent:
        moves = TABLE[self._state].get(verb)
        if moves is None:
            return self._out_of_sequence(verb)
        if self._needs_tls:
            return self._refuse(verb, answers.TLS_FIRST)
        mail = parse_mail(argument, bool(self._settings.mechanisms), is_encrypted=self.is_encrypted)
        if mail.size > self._settings.max_message_size:
            return self._answer(verb, answers.TOO_BIG)
        return self._ask(mail, moves)

    def _rcpt(self, verb: str, argument: str) -> ServerEvent:
        moves = TABLE[self._state].get(verb)
        if moves is None:
            return self._out_of_sequence(verb)
        rcpt = parse_rcpt(argument, self._smtputf8)
        if self._recipients >= self._settings.max_recipients:
            return self._answer(verb, answers.TOO_MANY_RECIPIENTS)
        return self._ask(rcpt, moves)

    def _data(self, verb: str, argument: str) -> ServerEvent:
        if argument:
            return self._refuse(verb, answers.NO_ARGUMENT)
        if self._state is State.MAIL:
            return self._answer(verb, answers.NO_RECIPIENTS)
        if self._state is not State.RCPT:
            return self._out_of_sequence(verb)
        return self._ask(ContentBegin(False), TABLE[State.RCPT][verb])

    def _bdat(self, verb: str, argument: str) -> ServerEvent | None:
        try:
            self._chunk_size, self._is_last = parse_bdat(argument)
        except Malformed as fault:
            # where the next command begins cannot be known any more
            return self._refuse(verb, fault.reply, must_close=True)
        self._chunk_left = self._chunk_size
        if self._state is State.RCPT:
            return self._ask(ContentBegin(True), _TAKE_OR_REFUSE)
        if self._state is State.MAIL:
            self._begin_incoming(answers.NO_RECIPIENTS)
        elif self._state is State.GREETED or self._state is State.READY:
            self._begin_incoming(_OUT_OF_SEQUENCE[self._state])
        self._incoming.announce(self._chunk_size)
        self._read = ServerEngine._read_chunk
        return self._read_chunk()

    # --- AUTH -------------------------------------------------------------------------------

    def _auth(self, verb: str, argument: str) -> ServerEvent:
        if not self._settings.mechanisms:
            return self._refuse(verb, answers.NOT_OFFERED)
        if not self.is_extended:
            return self._refuse(verb, sasl.EHLO_FIRST)
        if self.is_authenticated:
            return self._refuse(verb, sasl.ALREADY)
        moves = TABLE[self._state].get(verb)
        if moves is None:
            return self._refuse(verb, sasl.NOT_NOW)
        if not self.may_authenticate:
            return self._refuse(verb, sasl.ENCRYPT_FIRST)
        return self._ask(Auth(*sasl.parse_auth(argument, self._settings.mechanisms)), moves)

    def _read_response(self) -> ServerEvent | None:
        """A line of the exchange; what is wrong with it ends the exchange."""
        moves = TABLE[State.AUTH][RESPONSE]
        line: bytes | None = b""
        try:
            line = self._input.read_line(sasl.MAX_RESPONSE_LINE)
            if line is None:
                return None
            event: ServerEvent = self._ask(AuthResponse(sasl.read_response(line)), moves)
        except Malformed as malformed:
            is_lost = announces_chunk(line or b"")
            event = self._refuse("AUTH", malformed.reply, moves, must_close=is_lost)
        except LineFault as fault:
            answer = answers.BARE_LINE if type(fault) is LineBare else sasl.LINE_TOO_LONG
            is_lost = type(fault) is LineEndless or announces_chunk(fault.beginning)
            event = self._refuse("AUTH", answer, moves, must_close=is_lost)
        self._read = ServerEngine._read_command
        return event

    # --- content ----------------------------------------------------------------------------

    def _begin_incoming(self, refusal: Reply | None = None) -> None:
        """Content that the shell is told of, or octets that are refused without it."""
        settings = self._settings
        max_size, max_swallowed = settings.max_message_size, settings.max_swallowed
        self._incoming = Incoming(settings.bare_newline, max_size, max_swallowed, refusal)
        self._is_content_open = refusal is None

    def _read_content(self) -> ServerEvent | None:
        """Dot-ended content."""
        data = self._input.take()
        if not data:
            return None
        incoming = self._incoming
        octets, is_end, rest = incoming.take(data)
        if is_end:
            self._input.put_back(rest)
        elif not incoming.is_exhausted:
            return ContentChunk(octets) if octets else None
        self._read = ServerEngine._end_content
        return ContentChunk(octets) if octets else self._end_content()

    def _end_content(self) -> ServerEvent:
        return self._ask_end(DOT)

    def _ask_end(self, command: str) -> ServerEvent:
        incoming = self._incoming
        self._read = ServerEngine._read_command
        self._is_content_open = False
        end = ContentEnd(incoming.size, incoming.refusal, incoming.must_close)
        return self._ask(end, TABLE[self._state][command])

    def _read_chunk(self) -> ServerEvent | None:
        """The octets of one BDAT chunk."""
        data = self._input.take(self._chunk_left)
        self._chunk_left -= len(data)
        octets = self._incoming.take_chunked(data) if data else b""
        if octets:
            return ContentChunk(octets)
        if self._chunk_left == 0 or self._incoming.is_exhausted:
            return self._end_chunk()
        return None

    def _end_chunk(self) -> ServerEvent:
        """Only here is a refusal said: its octets have gone by (RFC 3030 2)."""
        incoming = self._incoming
        command = BDAT_LAST if self._is_last else "BDAT"
        self._read = ServerEngine._read_command
        if self._chunk_size and not incoming.refusal:
            self._barren_left += 1  # it was not: max_message_size bounds their number
        if self._is_last:
            incoming.finish_chunked()
        if self._is_content_open and (self._is_last or incoming.refusal):
            return self._ask_end(command)
        answer = incoming.refusal or reply(250, "2.0.0", f"{self._chunk_size} octets received")
        moves = TABLE[self._state].get(command)
        return self._answer("BDAT", answer, moves, must_close=incoming.must_close)

    def _read_nothing(self) -> ServerEvent | None:
        """After the session's end."""
        return None

    # --- out --------------------------------------------------------------------------------

    def reply(self, answer: Reply) -> bytes:
        """The octets to send. Raises LocalProtocolError where nothing, or another class, is due.

        421 closes the session whatever it answers (RFC 5321 3.8).
        """
        event = self._pending
        if event is None:
            raise LocalProtocolError("nothing awaits a reply")
        code = answer.code
        state = self._state if self._moves is None else self._moves.get(code // 100)
        if code == 421:
            state = State.CLOSED
        if state is None:
            raise LocalProtocolError(f"{code} is no reply to {type(event).__name__}")
        self._pending = None
        self._state = state
        if state is State.CLOSED:
            self._close()
            return reply_octets(answer)
        if type(event) is ContentBegin and event.is_chunked:
            return self._settle_chunk(answer)
        settle = _SETTLE.get(type(event))
        if settle is not None:
            settle(self, event, code)
        return reply_octets(answer)

    def _settle_hello(self, hello: Hello, code: int) -> None:
        if code < 300:
            self.helo = hello.name
            self.is_extended = hello.verb == "EHLO"

    def _settle_xclient(self, xclient: Xclient, code: int) -> None:
        if code < 300:
            self.helo = ""
            self.is_extended = False
            self.is_authenticated = False

    def _settle_auth(self, event: Auth | AuthResponse, code: int) -> None:
        if code == 334:
            self._read = ServerEngine._read_response
        self.is_authenticated = code < 300

    def _settle_tls(self, start: StartTls, code: int) -> None:
        if code < 300:
            self._read = ServerEngine._read_nothing  # till `tls_started`

    def tls_started(self) -> None:
        """STARTTLS was answered 220, and what comes now comes through TLS: the session begins anew
        (RFC 3207 4.2). Raises RemoteProtocolError where plaintext is left: close."""
        if self._read != ServerEngine._read_nothing or self._state is not State.GREETED:
            raise LocalProtocolError("STARTTLS was not answered 220")
        if self._input:
            self._close()
            raise RemoteProtocolError("plaintext followed STARTTLS")
        self._read = ServerEngine._read_command
        self.is_encrypted, self._needs_tls = True, False
        self.helo, self.is_extended = "", False

    def withdraw(self) -> bytes:
        """What came before the greeting: where TLS comes first, it is the client's part of that."""
        if self._state is not State.CONNECTED:
            raise LocalProtocolError("the session has begun")
        return self._input.take()

    def _settle_mail(self, mail: Mail, code: int) -> None:
        self._smtputf8 = mail.smtputf8
        self._recipients = 0

    def _settle_rcpt(self, rcpt: Rcpt, code: int) -> None:
        if code < 300:
            self._recipients += 1

    def _settle_begin(self, begin: ContentBegin, code: int) -> None:
        if code < 400:
            self._begin_incoming()
            self._read = ServerEngine._read_content

    def _settle_chunk(self, answer: Reply) -> bytes:
        """Nothing is sent now: the chunk is answered, not its command."""
        self._begin_incoming(None if answer.code < 400 else answer)
        self._incoming.announce(self._chunk_size)
        self._read = ServerEngine._read_chunk
        return b""

    def _settle_end(self, end: ContentEnd, code: int) -> None:
        if code < 300:
            self._barren_left = self._settings.max_barren_commands
        self._settle_judged(end, code)

    def _settle_judged(self, event: ContentEnd | Answered, code: int) -> None:
        if event.must_close:
            self._close()


_Handler = Callable[[ServerEngine, str, str], ServerEvent | None]

_HANDLERS: Final[Mapping[str, _Handler]] = {
    "EHLO": ServerEngine._hello,
    "HELO": ServerEngine._hello,
    "XCLIENT": ServerEngine._xclient,
    "AUTH": ServerEngine._auth,
    "MAIL": ServerEngine._mail,
    "RCPT": ServerEngine._rcpt,
    "DATA": ServerEngine._data,
    "BDAT": ServerEngine._bdat,
    "RSET": ServerEngine._rset,
    "NOOP": ServerEngine._fixed,
    "STARTTLS": ServerEngine._starttls,
    "QUIT": ServerEngine._quit,
    "VRFY": ServerEngine._vrfy,
    "HELP": ServerEngine._fixed,
} | dict.fromkeys(answers.VERBS_NOT_OFFERED, ServerEngine._not_offered)

_SETTLE: Final[dict[type, Callable[[ServerEngine, Any, int], None]]] = {
    Hello: ServerEngine._settle_hello,
    Xclient: ServerEngine._settle_xclient,
    Auth: ServerEngine._settle_auth,
    AuthResponse: ServerEngine._settle_auth,
    StartTls: ServerEngine._settle_tls,
    Mail: ServerEngine._settle_mail,
    Rcpt: ServerEngine._settle_rcpt,
    ContentBegin: ServerEngine._settle_begin,
    ContentEnd: ServerEngine._settle_end,
    Answered: ServerEngine._settle_judged,
}
