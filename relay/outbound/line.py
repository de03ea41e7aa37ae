"""A line: a session of an upstream lent to one client's session, for proxy delivery.

Gets a session when the first MAIL is to be passed on, keeps it for the next transactions as long
as nobody needs it more, and passes replies on as they are. Content is ended only by `end`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import classImplements

from relay.config import Upstream
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.mail.reply import Reply, reply
from relay.mail.trace import MAX_RECEIVED
from relay.outbound.answers import Broken, Cause
from relay.outbound.factory import QueuedClientFactory
from relay.outbound.fitting import tls_refusal
from relay.outbound.protocol import UpstreamSession
from relay.smtp.conveying import Conveyed, forward
from relay.smtp.events import LocalProtocolError, Replied

AWAY: Final = reply(451, "4.4.1", "No upstream can be reached, try again later")
LOST: Final = reply(451, "4.4.2", "The connection to the upstream was lost, try again later")
BUSY: Final = reply(451, "4.4.5", "No free connection to the upstream, try again later")
CANNOT: Final = reply(451, "4.3.0", "Local trouble, try again later")
NOT_BELIEVED: Final = reply(451, "4.7.0", "The upstream does not let this relay name its clients")
NO_8BITMIME = reply(451, "4.6.3", "The upstream takes no 8BITMIME at this moment")
NO_SMTPUTF8 = reply(451, "4.6.7", "The upstream takes no SMTPUTF8 at this moment")
NO_XCLIENT: Final = reply(
    451,
    "4.7.0",
    "XCLIENT is not offered to this relay: allow it there (Postfix:"
    " smtpd_authorized_xclient_hosts), or take xclient from this upstream",
)
TOO_BIG: Final = reply(552, "5.3.4", "Message exceeds the upstream's size limit")

GATHERED: Final = 16384
"""Octets of content that wait for more of it, so that small mail goes out whole, in one write."""

CLIENT_REFUSALS: Final = frozenset({521, 554})
"""In the place of a greeting they refuse the client (RFC 5321 3.1, 7504). Other codes are about
this relay and its right to send XCLIENT."""

Then = Callable[[Reply], None]


class LineHop(Protocol):
    """The hosts of an upstream, and what is known of them."""

    is_retired: bool
    stop_reply: Reply | None
    upstream: Upstream

    @property
    def refusal(self) -> Reply | None:
        """Set while it makes no sense to try the login."""

    def hosts_to_try(self) -> Sequence[QueuedClientFactory]:
        """In this order."""


class Line:
    """Each request is answered once, by `then`, before the next may be made. A reply is the
    upstream's own, but for 421 and trouble on the way, which are 451; `trouble` tells an operator
    more of those. `label` is the host as logged.

    To the session's transport it is the producer, in the place of the client: the upstream's time
    runs only while the upstream keeps us waiting."""

    __slots__ = (
        "_at",
        "_conveyed",
        "_envelope",
        "_factory",
        "_gathered",
        "_gathered_size",
        "_hop",
        "_hosts",
        "_introduced",
        "_is_ended",
        "_is_held_up",
        "_is_mailing",
        "_is_pending",
        "_is_second_try",
        "_producer",
        "_reactor",
        "_refusal",
        "_session",
        "_size",
        "_then",
        "_timer",
        "_to_send",
        "label",
        "offers_dsn",
        "tls",
        "trouble",
    )

    def __init__(self, hop: LineHop, reactor: Any) -> None:
        self._hop = hop
        self._reactor = reactor
        self._session: UpstreamSession | None = None
        self._factory: QueuedClientFactory | None = None
        self._hosts: Sequence[QueuedClientFactory] = ()
        self._at = 0
        self._timer: IDelayedCall | None = None
        self._then: Then | None = None
        self._envelope: Envelope | None = None
        self._conveyed: Conveyed | None = None
        self._introduced: Origin | None = None  # as whom the session goes, by XCLIENT
        self._size = 0
        self._is_pending = False  # a factory has been asked for a session
        self._is_mailing = False  # MAIL is the only thing passed on so far, and not answered
        self._is_second_try = False
        self._producer: IPushProducer | None = None  # of the content, from DATA to its end
        self._is_ended = False
        self._to_send: list[bytes] = []  # chunks that wait for the one before to be answered
        self._is_held_up = False  # the producer, by these
        self._gathered: list[bytes] = []  # content that waits for more of it
        self._gathered_size = 0
        self._refusal: Reply | None = None  # of the content, before its end
        self.label = ""
        self.offers_dsn = False
        self.tls = ""
        self.trouble = ""

    # --- requests -----------------------------------------------------------------------------

    def mail(self, envelope: Envelope, size: int, wait: float, origin: Origin, then: Then) -> None:
        """Begin a transaction; what was begun before is reset. `wait`: seconds for a session."""
        self._envelope = envelope
        self._size = size + MAX_RECEIVED if size else 0  # with our trace field (RFC 1870 6.1)
        upstream = self._hop.upstream
        self._conveyed = Conveyed(origin) if upstream.xclient or upstream.xforward else None
        is_anothers = upstream.xclient and self._introduced != origin
        if is_anothers or upstream.max_rate is not None:  # it waits for its turn, the session not
            self._give_back()
        self._is_second_try = self._is_ended = False
        self._refusal = None
        self._to_send = []
        self._is_held_up = False
        self._gathered.clear()
        self._gathered_size = 0
        self.trouble = ""
        self._then = then
        if self._session is not None:
            self._pass_mail()
        elif self._hop.stop_reply is not None:
            self._answer(self._hop.stop_reply)
        elif self._hop.refusal is not None:
            self.trouble = f"not let in: {self._hop.refusal}"
            self._answer(AWAY)
        else:
            self._hosts = self._hop.hosts_to_try()
            self._at = 0
            self._ask_for_session()
            if self._is_pending or (self._hop.upstream.xclient and self._then is not None):
                self._timer = self._reactor.callLater(wait, self._waited)

    def rcpt(self, recipient: Recipient, then: Then) -> None:
        envelope = cast(Envelope, self._envelope)
        self._then = then
        self._ask(
            lambda session: session.engine.rcpt(recipient, smtputf8=envelope.smtputf8), "rcpt"
        )

    def data(self, producer: IPushProducer, then: Then, *, wants_chunks: bool) -> None:
        """354: `send` the content. `producer` is paused while the upstream takes none.

        `wants_chunks`: by BDAT where the upstream has it; then nothing need be asked first.
        """
        self._then = then
        self._stop_producing()  # that of a DATA before, which was refused
        session = self._session
        is_chunked = wants_chunks and session is not None and session.engine.offers_chunking
        if session is not None:
            self._producer = producer
            cast(Any, session.transport).registerProducer(self, True)
        if is_chunked:
            self._ask(lambda session: session.engine.chunks(), "")
            self._answer(reply(354, "", "go on"))
        else:
            self._ask(lambda session: session.engine.data(), "data")

    def send(self, octets: bytes) -> None:
        """Some of the content."""
        if self._session is None or self._refusal is not None:
            return
        self._gathered.append(octets)
        self._gathered_size += len(octets)
        if self._gathered_size >= GATHERED:
            self._release()
            self.may_go_on()
            if self._to_send:
                self._is_held_up = True
                self.pauseProducing()

    def _release(self) -> None:
        if self._gathered:
            self._to_send.append(b"".join(self._gathered))
            self._gathered.clear()
            self._gathered_size = 0

    def end(self, then: Then) -> None:
        """All of the content has been sent: the upstream is to answer for it."""
        self._then = then
        self._is_ended = True
        if self._refusal is not None:
            self._answer(self._refusal)
        elif self._session is None:
            self._answer(LOST)
        else:
            self._release()
            self.may_go_on()

    def rest(self) -> None:
        """The transaction is over, finished or not: keep the session, if nobody needs it more."""
        self._envelope = None
        session = self._session
        if session is None:
            return
        self._stop_producing()
        if self._is_spent(session):
            self._give_back()
        else:
            session.rest(self._hop.upstream.idle_timeout)

    def close(self) -> None:
        """No more will be asked. Content that was not ended is cut off there."""
        self._then = None
        self._cancel_timer()
        if self._is_pending:
            self._is_pending = False
            cast(QueuedClientFactory, self._factory).withdraw(self)
        if self._session is not None:
            self._stop_producing()
            self._give_back()

    # --- a session ----------------------------------------------------------------------------

    def _ask_for_session(self, *, is_fresh: bool = False) -> None:
        factory = self._factory = self._hosts[self._at]
        self._is_pending = True
        if is_fresh or self._hop.upstream.xclient:  # that one does not come back for others
            factory.submit_fresh(self, is_again=is_fresh)
        else:
            factory.submit(self)

    def start(self, session: UpstreamSession) -> bool:
        """A session is there."""
        self._is_pending = False
        self._session = session
        self.label, self.offers_dsn = session.label, session.engine.offers_dsn
        self.tls = session.tls
        session.lend(self)
        if self._hop.upstream.xclient:
            self._introduce(session)
        else:
            self._cancel_timer()
            self._pass_mail()
        return True

    def _introduce(self, session: UpstreamSession) -> None:
        """Without that the host would judge this relay, which it may let do anything."""
        conveyed = cast(Conveyed, self._conveyed)
        lines = conveyed.xclient(session.engine.extensions.get("XCLIENT", ""))
        if lines:
            self._ask(lambda session: session.introduce(lines, conveyed.origin.helo), "hello")
        else:
            self._not_introduced(NO_XCLIENT)

    def introduced(self) -> None:
        """The session is now the client's, and stays that to its end."""
        self._cancel_timer()
        self._introduced = cast(Conveyed, self._conveyed).origin
        self.offers_dsn = cast(UpstreamSession, self._session).engine.offers_dsn
        self._pass_mail()

    def _not_introduced(self, reply: Reply) -> None:
        self._give_back()
        if reply.code in CLIENT_REFUSALS:
            self._answer(_passed_on(reply))
        else:
            self._next_host(reply, self.label, NOT_BELIEVED)

    def site_failed(self, reply: Reply, label: str) -> None:
        """None can be had at that host."""
        self._is_pending = False
        self._next_host(reply, label, AWAY)

    def _next_host(self, reply: Reply, label: str, last_word: Reply) -> None:
        self.trouble = f"{label}: {reply}"
        self._at += 1
        if self._at < len(self._hosts):
            self._ask_for_session()
        else:
            self._answer(last_word)

    def _waited(self) -> None:
        self._timer = None
        self._is_pending = False
        cast(QueuedClientFactory, self._factory).withdraw(self)
        self._give_back()
        self._answer(BUSY)

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    @property
    def is_outdated(self) -> bool:
        """The upstream is another one by now."""
        return self._hop.is_retired

    def _is_spent(self, session: UpstreamSession) -> bool:
        return (
            self._hop.is_retired
            or not self._hop.upstream.idle_timeout
            or session.is_worn
            or not session.engine.is_idle
        )

    def _give_back(self) -> None:
        session, self._session = self._session, None
        self._introduced = None
        if session is not None:
            session.give_back()

    def _stop_producing(self) -> None:
        if self._producer is not None and self._session is not None:
            self._producer = None
            cast(Any, self._session.transport).unregisterProducer()

    def pauseProducing(self) -> None:
        """The upstream takes no more at this moment."""
        if self._producer is not None and self._session is not None:
            self._session.keep_time("block")
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        if self._producer is not None and self._session is not None:
            is_ready = self._session.engine.is_ready_for_content
            self._session.keep_time("final" if self._is_ended else "" if is_ready else "block")
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """`broke` follows."""

    # --- passing on ---------------------------------------------------------------------------

    def _pass_mail(self) -> None:
        session = cast(UpstreamSession, self._session)
        envelope = cast(Envelope, self._envelope)
        refusal = self._misfit(session, envelope)
        if refusal is not None:
            self._answer(refusal)
            return
        session.transactions += 1
        self._is_mailing = True
        forwarded = (
            forward(self._conveyed, session.engine.extensions)
            if self._hop.upstream.xforward
            else ()
        )
        self._ask(lambda session: session.engine.mail(envelope, self._size, forwarded), "mail")

    def _misfit(self, session: UpstreamSession, envelope: Envelope) -> Reply | None:
        """The client was offered what another session had."""
        engine = session.engine
        if envelope.smtputf8 and not engine.offers_smtputf8:
            return NO_SMTPUTF8
        if envelope.body == "8BITMIME" and not engine.offers_8bitmime:
            return NO_8BITMIME
        if envelope.requires_tls and (refusal := tls_refusal(envelope, engine)) is not None:
            return refusal
        return TOO_BIG if engine.max_size and self._size > engine.max_size else None

    def _ask(self, request: Callable[[UpstreamSession], None], step: str) -> None:
        session = self._session
        if session is None:
            self._answer(LOST)
            return
        try:
            request(session)
        except LocalProtocolError as error:
            self.trouble = str(error)
            self._answer(CANNOT)
        else:
            session.ask(step)

    def may_go_on(self) -> None:
        """Content goes out as the engine takes it: chunks in lock-step where it must be."""
        session = self._session
        if session is None:
            return
        engine = session.engine
        while engine.is_ready_for_content:
            octets = engine.send_content(self._to_send.pop(0)) if self._to_send else b""
            if self._is_ended and not self._to_send and engine.is_ready_for_content:
                session.send(octets + engine.end_content(), "final")
            elif octets:
                session.send(octets, "" if engine.is_ready_for_content else "block")
            else:
                break
        if self._is_held_up and not self._to_send:
            self._is_held_up = False
            self.resumeProducing()

    def _answer(self, answer: Reply) -> None:
        self._cancel_timer()
        self._is_mailing = False
        then, self._then = self._then, None
        if then is not None:
            then(answer)

    # --- what the session tells ---------------------------------------------------------------

    def replied(self, event: Replied) -> None:
        command, reply = event.command, event.reply
        if command == "BDAT":
            if reply.code >= 400:
                self._refuse_content(reply)
        elif command == "DOT" and not self._is_ended:
            self._refuse_content(reply)  # the engine's own lone dot
        elif command == "XCLIENT":
            if reply.code >= 400:
                self._not_introduced(reply)
        elif command not in ("RSET", "XFORWARD"):
            self._answer(_passed_on(reply))

    def _refuse_content(self, reply: Reply) -> None:
        self._refusal = _passed_on(reply)
        if self._is_ended:
            self._answer(self._refusal)

    def broke(self, broken: Broken) -> None:
        """Before anything but MAIL was passed on, a stale session may be replaced unseen."""
        session, self._session = self._session, None
        self._introduced = None
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.resumeProducing()  # the client, to hear what became of it
        self.trouble = f"{self.label}: {broken.reply}"
        factory = cast(QueuedClientFactory, self._factory)
        is_stale = broken.cause is Cause.HOST and session is not None and session.is_reused
        if self._is_mailing and is_stale and not self._is_second_try:
            self._is_second_try = True
            self._is_mailing = False
            self._hosts, self._at = (factory,), 0
            self._timer = self._reactor.callLater(factory.connect_within, self._waited)
            self._ask_for_session(is_fresh=True)
            return
        if producer is not None and not self._is_ended and broken.reply.code >= 500:
            self._refuse_content(broken.reply)  # said before the content's end
            return
        is_under_way = self._envelope is not None and not self._is_ended
        if is_under_way and not (session is not None and session.is_introduced):
            factory.site_broke()  # else it may be the client that the host does not want
        self._answer(_passed_on(broken.reply) if broken.reply.code == 421 else LOST)

    def recalled(self) -> None:
        """It was unused for too long."""
        self._session = self._introduced = None

    def __repr__(self) -> str:
        state = "idle" if self._session else "waiting" if self._is_pending else "closed"
        return f"<Line {self.label or 'nowhere'} {state}>"


classImplements(Line, IPushProducer)


def _passed_on(answer: Reply) -> Reply:
    """The upstream leaves with 421, our client need not; each of our replies has a status."""
    if answer.status and answer.code != 421:
        return answer
    code = 451 if answer.code == 421 else answer.code
    status = answer.status or ("" if code < 400 and code >= 300 else f"{code // 100}.0.0")
    return Reply(code, status, answer.lines)
