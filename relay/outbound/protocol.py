"""One session with a host: the Twisted shell of the client engine, running one job at a time.

Writes what the engine gives, hands content over once it is asked for, and keeps the time of each
step (RFC 5321 4.5.3.2). Gathers what the host said; what that means is judged elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from secrets import token_urlsafe
from typing import Any, Final, Protocol, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IProtocol, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import classImplements

from relay.config import Timeouts
from relay.mail.content import Content
from relay.mail.envelope import Envelope
from relay.mail.reply import Reply, reply
from relay.outbound.answers import Answers, Broken, Cause
from relay.outbound.security import Security
from relay.outbound.sender import ContentSender, cut_short
from relay.smtp.client import ClientEngine
from relay.smtp.events import (
    NEED_DATA,
    AuthReplied,
    Closed,
    Greeted,
    HelloReplied,
    LocalProtocolError,
    RemoteProtocolError,
    Replied,
    StartTlsReplied,
    Unsolicited,
)
from relay.smtp.sasl.client import Login, choose
from relay.smtp.sasl.echo import without_echo

MAX_IN_ONE_WRITE: Final = 131072
"""Content up to this size goes with its final dot in one write, from memory."""

NONCE: Final = 18
"""Random octets of a SCRAM nonce."""

NEVER: Final = float("inf")

_AT: Final = {
    "greeting": "before its greeting",
    "hello": "in answer to EHLO",
    "tls": "while TLS was set up",
    "auth": "in answer to AUTH",
    "mail": "in answer to MAIL",
    "rcpt": "in answer to RCPT",
    "data": "in answer to DATA",
    "block": "while the content was sent",
    "final": "after the final dot",
    "quit": "in answer to QUIT",
    "idle": "while idle",
}


class Job(Protocol):
    """A transaction that somebody waits for."""

    def answered(self, session: "UpstreamSession", answers: Answers, broken: Broken | None) -> None:
        """Called exactly once after `run`. `broken`: the session ended before its time."""


class Tenant(Protocol):
    """Whoever a session is lent to: it gives the engine its requests itself, step by step."""

    def replied(self, event: Replied) -> None:
        """The reply to what was asked."""

    def may_go_on(self) -> None:
        """More content may be sent."""

    def broke(self, broken: Broken) -> None:
        """The session ended; it is no longer lent."""

    def recalled(self) -> None:
        """It was unused for too long; it is no longer lent."""

    def introduced(self) -> None:
        """The host takes the session for that of the client told of."""


class Owner(Protocol):
    """Whoever keeps the sessions of a host."""

    def session_opened(self, session: "UpstreamSession") -> None:
        """It is idle, for the first time."""

    def session_not_opened(self, session: "UpstreamSession", trouble: Reply) -> None:
        """The greeting or the hello went wrong. `session_gone` follows."""

    def session_free(self, session: "UpstreamSession") -> None:
        """It is idle again."""

    def session_spent(self, session: "UpstreamSession") -> None:
        """It takes no more jobs (may be said twice). `session_gone` follows."""

    def session_gone(self, session: "UpstreamSession") -> None:
        """The connection is no more."""

    def session_resting(self, session: "UpstreamSession", is_resting: bool) -> None:
        """It is lent, and its tenant does not use it now, or does again."""

    def is_worn(self, session: "UpstreamSession") -> bool:
        """It is to take no further transaction."""


class State(Enum):
    OPENING = "opening"
    IDLE = "idle"
    BUSY = "busy"
    LENT = "lent"
    CLOSING = "closing"  # QUIT was sent, or an abort is under way

    __hash__ = object.__hash__  # Enum's own is Python code; members are singletons


class UpstreamSession:
    """`label` is the host as logged, "name[ip]:port". `transactions` counts those that began.
    `has_tls_failed`: it came to nothing, and without TLS it might have. `is_refused`: for good, and
    it was the login that was.
    """

    transport: Any

    def __init__(
        self,
        owner: Owner,
        engine: ClientEngine,
        timeouts: Timeouts,
        label: str,
        reactor: Any,
        *,
        security: Security,
        is_lmtp: bool = False,
        login: Login | None = None,
    ) -> None:
        self.engine = engine
        self.login = login
        self.is_refused = False
        self.mechanism = ""  # it was let in by
        self.greeting: Reply | None = None
        self.label = label
        self.security = security
        self.has_tls_failed = False
        self.transactions = 0
        self.opened_at = 0.0
        self.is_introduced = False  # a client was told of: nobody else's mail may go there
        self.deadline = NEVER
        self.state = State.OPENING
        self._owner = owner
        self._timeouts: Mapping[str, float] = timeouts.__dict__
        self._reactor = reactor
        self._is_lmtp = is_lmtp
        self._step = "greeting"
        self._job: Job | None = None
        self._tenant: Tenant | None = None
        self._answers = Answers(0)
        self._content: Content | None = None
        self._is_chunked = False
        self._sender: ContentSender | None = None
        self._last_word: Reply | None = None  # after it the host closes, or is not to be used

    @property
    def tls(self) -> str:
        """As logged; "" for plain."""
        return self.security.summary

    @property
    def is_reused(self) -> bool:
        """Its last transaction was not its first."""
        return self.transactions > 1

    def __repr__(self) -> str:
        return f"<UpstreamSession {self.label} {self.state.value} at {self._step}>"

    # --- life ---------------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        self.opened_at = self._reactor.seconds()
        if self.security.begins_at_once:
            self._start_tls()
        else:
            self._await("greeting")

    def _start_tls(self) -> None:
        self._await("tls")
        self.security.start(self)

    def handshakeCompleted(self) -> None:
        """Nothing is said under TLS before the certificate was judged."""
        trouble = self.security.judge(cast(Any, self.transport).getHandle())
        self.engine.is_verified = self.security.is_verified
        if trouble is not None:
            self._end(Cause.FAULT, trouble)
        elif self.security.begins_at_once:
            self._await("greeting")
        else:
            self.engine.tls_started()
            self._await("hello")
            self._write(self.engine.data_to_send())

    def dataReceived(self, data: bytes) -> None:
        engine = self.engine
        engine.receive(data)
        has_moved = False
        try:
            while (event := engine.next_event()) is not NEED_DATA:
                has_moved = True
                if self.login is not None and type(event) is not Closed:
                    self._hush(event)
                _HANDLERS[type(event)](self, event)
        except RemoteProtocolError as error:
            trouble = Reply(451, "4.4.2", (f"host broke the protocol: {error}",))
            self._end(Cause.FAULT, without_echo(trouble, self.login))
            return
        octets = engine.data_to_send()
        if octets:
            self._write(octets)
        if octets or has_moved:  # else a trickle of octets would put the timeout off for ever
            _CONTINUE[self.state](self)

    def _hush(self, event: Any) -> None:
        """Refusals are told in many places: none is to have the credentials in it."""
        if event.reply.code >= 400:
            event.reply = without_echo(event.reply, self.login)

    def connectionLost(self, reason: Failure | None = None) -> None:
        is_clean = reason is None or reason.check(ConnectionDone) is not None
        how = "closed" if is_clean else "lost"
        text = f"connection {how} by the host {_AT[self._step]}"
        last_word = self._last_word or self.security.lost(reason)
        self._blame_tls()
        self._end(Cause.HOST, last_word or Reply(451, "4.4.2", (text,)))
        self._owner.session_gone(self)

    def check(self, now: float) -> None:
        """End what takes longer than it may. To be called every now and then."""
        if now < self.deadline:
            return
        if self.state is State.IDLE:
            self.leave()
        elif self._step == "idle":
            self.recall()
        else:
            text = f"no answer for {self._timeouts[self._step]:g} s {_AT[self._step]}"
            self._blame_tls()
            self._end(Cause.FAULT, Reply(451, "4.4.2", (text,)))

    def _blame_tls(self) -> None:
        """Not where the host broke the protocol, nor for what came of AUTH: it may be an attacker
        who wants plain text."""
        if self.state is State.OPENING and self._step != "auth":
            self.has_tls_failed = self.security.is_started or self._step == "tls"

    def leave(self) -> None:
        """Say QUIT where that can be said, and close."""
        self.state = State.CLOSING
        self._owner.session_spent(self)
        try:
            self.engine.quit()
        except LocalProtocolError:
            self._abort_connection()
        else:
            self._await("quit")
            self._write(self.engine.data_to_send())

    def abort(self, reply: Reply) -> None:
        """End it now, for reasons of our own."""
        self._end(Cause.LOCAL, reply)

    def _end(self, cause: Cause, reply: Reply) -> None:
        """The one way out other than QUIT; harmless when repeated."""
        was, self.state = self.state, State.CLOSING
        self._drop_sender()
        self._abort_connection()
        job, self._job = self._job, None
        if was is State.OPENING:
            self._owner.session_not_opened(self, reply)
        elif was is not State.CLOSING:
            self._owner.session_spent(self)
        tenant, self._tenant = self._tenant, None
        if job is not None:
            job.answered(self, self._answers, Broken(cause, reply))
        if tenant is not None:
            tenant.broke(Broken(cause, reply))

    def _abort_connection(self) -> None:
        self.deadline = NEVER
        cast(ITCPTransport, self.transport).abortConnection()

    def _write(self, octets: bytes) -> None:
        cast(ITCPTransport, self.transport).write(octets)

    def _await(self, step: str) -> None:
        self._step = step
        self.deadline = self._reactor.seconds() + self._timeouts[step]

    # --- a job --------------------------------------------------------------------------------

    def run(
        self,
        job: Job,
        envelope: Envelope,
        content: Content,
        forwarded: Sequence[str],
        *,
        is_chunked: bool,
    ) -> None:
        """Begin a transaction; the session must be idle. LocalProtocolError: nothing was begun."""
        engine = self.engine
        engine.begin(envelope, content.size, forwarded, is_chunked=is_chunked)
        self.state = State.BUSY
        self.transactions += 1
        self._job = job
        self._answers = Answers(len(envelope.recipients))
        self._content = content
        self._is_chunked = is_chunked
        self._await("mail")
        self._write(engine.data_to_send())

    def wait_idle(self, seconds: float) -> None:
        """Nothing to do: QUIT after so long."""
        self._step = "idle"
        self.deadline = self._reactor.seconds() + seconds

    def _opening(self) -> None:
        """After what was said so far."""
        if self._last_word is not None:
            reply = self._last_word
            self.leave()
            self._owner.session_not_opened(self, reply)
        elif self.engine.is_idle:
            self.state = State.IDLE
            self._owner.session_opened(self)
        else:
            self._await(self._step)

    def _busy(self) -> None:
        engine = self.engine
        answers = self._answers
        if answers.is_complete or engine.is_idle:
            self._finish()
        elif self._last_word is not None:
            self._end(Cause.HOST, self._last_word)
        elif not engine.is_ready_for_content or answers.is_content_ended:
            self._await(self._step)
        elif self._sender is None:
            self._send_content()
        else:
            self._sender.go_on()

    def _finish(self) -> None:
        job, self._job = self._job, None
        answers = self._answers
        self._content = None
        self._drop_sender()
        if self.engine.is_idle:
            self.state = State.IDLE
            self._owner.session_free(self)
        else:
            self.leave()
        if job is not None:
            job.answered(self, answers, None)

    # --- lent ---------------------------------------------------------------------------------

    def lend(self, tenant: Tenant) -> None:
        """The session, which must be idle, is the tenant's until `give_back`."""
        self.state = State.LENT
        self._tenant = tenant

    def introduce(self, lines: Sequence[str], hello_name: str) -> None:
        """Lent: the session is one client's from now on, and ends with that."""
        self.is_introduced = True
        self.engine.introduce(lines, hello_name)
        self.ask("hello")

    def give_back(self) -> None:
        """With nothing under way; a transaction that was not finished is reset by the next."""
        self._tenant = None
        if self.engine.is_idle and not self.is_introduced:
            self.state = State.IDLE
            self._owner.session_free(self)
        else:
            self.leave()

    def ask(self, step: str) -> None:
        """Send what the tenant gave the engine, and keep the time of that step."""
        if self._step == "idle":
            self._owner.session_resting(self, False)
        self.keep_time(step)
        octets = self.engine.data_to_send()
        if octets:
            self._write(octets)

    def rest(self, seconds: float) -> None:
        """The tenant has nothing to do now; after so long, or when needed, it is taken back."""
        self.wait_idle(seconds)
        self._owner.session_resting(self, True)

    def send(self, octets: bytes, step: str) -> None:
        """Content, as the engine encoded it. `step`: what the host is awaited for then, or ""."""
        if step:
            self._await(step)
        self._write(octets)

    def keep_time(self, step: str) -> None:
        """The host is awaited in this step; "": it is not, the tenant is."""
        if step:
            self._await(step)
        else:
            self._step = "block"
            self.deadline = NEVER

    @property
    def is_worn(self) -> bool:
        return self._owner.is_worn(self)

    def _lent(self) -> None:
        if self._last_word is not None:
            self._end(Cause.HOST, self._last_word)
        elif self._tenant is not None and self.engine.is_ready_for_content:
            self.keep_time("")
            self._tenant.may_go_on()
        elif self._step != "idle" and self.engine.is_idle:
            self.deadline = NEVER  # what comes next is the tenant's

    def recall(self) -> None:
        """Take it back from a tenant that does not use it now."""
        tenant, self._tenant = self._tenant, None
        if tenant is not None:
            tenant.recalled()
        self.give_back()

    def _closing(self) -> None:
        """The answer to QUIT."""
        cast(ITCPTransport, self.transport).loseConnection()

    # --- content ------------------------------------------------------------------------------

    def _send_content(self) -> None:
        content, engine = self._content, self.engine
        assert content is not None
        self._await("block")
        if content.size > MAX_IN_ONE_WRITE or (self._is_chunked and not engine.offers_pipelining):
            self._sender = ContentSender(self, engine, content, self._reactor)
            self._sender.begin()
            return
        try:
            octets = b"".join(content.chunks(MAX_IN_ONE_WRITE))
            if len(octets) != content.size:
                raise cut_short(f"{len(octets)} octets instead of {content.size}")
        except OSError as error:
            self.content_unread(error)
        else:
            self.content_sent(engine.send_content(octets) + engine.end_content())

    def content_moved(self, octets: bytes) -> None:
        """Some of the content, as it goes out."""
        self._await("block")
        self._write(octets)

    def content_sent(self, octets: bytes) -> None:
        """The last of it: from here on the host may have accepted the message."""
        self._answers.end_content(self._is_lmtp)
        self._drop_sender()
        self._await("final")
        self._write(octets)

    def content_unread(self, error: OSError) -> None:
        """The content cannot be had, so it must not be ended."""
        self.abort(Reply(451, "4.3.0", (f"content cannot be read: {error.strerror or error}",)))

    def _drop_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.stopProducing()
            cast(Any, self.transport).unregisterProducer()

    # --- events -------------------------------------------------------------------------------

    def _on_greeted(self, event: Greeted) -> None:
        self._step = "hello"
        self.greeting = event.reply
        self._on_hello_replied(event)

    def _on_hello_replied(self, event: Greeted | HelloReplied) -> None:
        if event.reply.code >= 400:
            self._last_word = event.reply
        elif self.engine.is_starting_tls:
            self._step = "tls"
        elif self._tenant is not None:
            self._tenant.introduced()
        elif event.__class__ is HelloReplied:
            self._last_word = self.security.unmet(None)
            self._authenticate()

    def _authenticate(self) -> None:
        """All is said that was to be said before."""
        login = self.login
        if self._last_word is not None or login is None or not self.engine.needs_auth:
            return
        host = self.security.host
        if not (self.tls or login.may_go_plain):
            self._last_word = reply(451, "4.7.4", f"AUTH needs TLS, which {host} does not offer")
            return
        offered = self.engine.extensions.get("AUTH", "")
        exchange = choose(offered, login, token_urlsafe(NONCE))
        if exchange is None:
            what = f"offers AUTH {offered}" if offered else "offers no AUTH"
            able = " or ".join(login.usable)
            self._last_word = reply(451, "4.7.0", f"{host} {what}; it would have to be {able}")
            self.is_refused = True
            return
        self._step = "auth"
        self.engine.authenticate(exchange)

    def _on_auth_replied(self, event: AuthReplied) -> None:
        if event.reply.code < 300:
            self.mechanism = event.mechanism
        else:
            self._last_word = event.reply
            self.is_refused = event.reply.code >= 500

    def _on_starttls_replied(self, event: StartTlsReplied) -> None:
        if event.reply.code < 300:
            self._start_tls()
        elif event.reply.code == 421:
            self._last_word = event.reply
        else:
            self._last_word = self.security.unmet(event.reply)
            self._authenticate()

    def _on_unsolicited(self, event: Unsolicited) -> None:
        """In the midst of the content it is a refusal of that."""
        reply = event.reply
        if reply.code < 400:
            raise RemoteProtocolError(f"a reply to nothing: {reply}")
        self._last_word = reply
        if self.state is State.BUSY and reply.code != 421:
            self._answers.note_content(reply)

    def _on_replied(self, event: Replied) -> None:
        command, reply, answers = event.command, event.reply, self._answers
        if self._last_word is not None and not answers.is_content_ended:
            return  # whatever follows 421 was said in leaving
        if reply.code == 421:
            self._last_word = reply
            if command != "DOT":
                return
        if self._tenant is not None:
            self._tenant.replied(event)
            return
        step = answers.take(command, reply, event.recipient_id)
        if step:
            self._step = step


_CONTINUE: Final[Mapping[State, Callable[["UpstreamSession"], None]]] = {
    State.OPENING: UpstreamSession._opening,
    State.IDLE: UpstreamSession.leave,  # whatever was said to nobody, it is typically 421
    State.BUSY: UpstreamSession._busy,
    State.LENT: UpstreamSession._lent,
    State.CLOSING: UpstreamSession._closing,
}

_HANDLERS: Final[Mapping[type, Callable[["UpstreamSession", Any], None]]] = {
    Greeted: UpstreamSession._on_greeted,
    HelloReplied: UpstreamSession._on_hello_replied,
    StartTlsReplied: UpstreamSession._on_starttls_replied,
    AuthReplied: UpstreamSession._on_auth_replied,
    Replied: UpstreamSession._on_replied,
    Unsolicited: UpstreamSession._on_unsolicited,
}

classImplements(UpstreamSession, IProtocol, IHandshakeListener)
