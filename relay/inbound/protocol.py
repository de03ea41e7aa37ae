"""One client's session: the Twisted shell of the server engine.

Feeds octets in, hands each event to its handler, writes the replies of one read in one write.
Judges nothing: the engine knows the protocol, the policy who may, the intake how.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

from twisted.internet.interfaces import (
    IDelayedCall,
)

from relay.config.listener import Listener
from relay.config.schema import Route
from relay.inbound.admission import Admission
from relay.inbound.auth import Authentication, Doorkeeper
from relay.inbound.connection import SHUTTING_DOWN, Connection
from relay.inbound.intake import Intake, Transaction
from relay.inbound.missing_headers import Content
from relay.inbound.passage import Passage, Passages, Passing
from relay.inbound.peer import Peer, client_host
from relay.inbound.policy import Policy
from relay.inbound.reading import Brake
from relay.mail.envelope import Recipient
from relay.mail.reply import Reply, reply
from relay.mail.trace import protocol_word
from relay.notices import Authenticated, Observer
from relay.smtp.events import (
    Answered,
    Auth,
    AuthResponse,
    Closed,
    ContentBegin,
    ContentChunk,
    ContentEnd,
    Hello,
    Mail,
    Quit,
    Rcpt,
    RemoteProtocolError,
    Signal,
    StartTls,
    Xclient,
)
from relay.smtp.server import ServerEngine
from relay.smtp.wire import reply_octets
from relay.tls.server import ServerTls, TlsFacts

MAX_BUFFERED: Final = 128 * 1024
"""Octets of pipelined commands kept while one is being answered; beyond it reading stops."""

MAX_REPLIES_AT_ONCE: Final = 256
"""Replies gathered for one write; then it is seen whether the client takes them at all."""

SENDER_OK: Final = reply(250, "2.1.0", "Sender OK")
IN_A_NEW_SESSION: Final = reply(451, "4.3.2", "Send this recipient in a new session")
SEPARATELY: Final = reply(452, "4.5.3", "Send this recipient in a separate transaction")
RECIPIENT_OK: Final = reply(250, "2.1.5", "Recipient OK")
GO_ON: Final = reply(354, "", "End data with <CR><LF>.<CR><LF>")
READY_FOR_TLS: Final = reply(220, "2.0.0", "Ready to start TLS")
BYE: Final = reply(221, "2.0.0", "Bye")


class InboundProtocol(Connection):
    """Made by the listener for each connection."""

    def __init__(
        self,
        engine: ServerEngine,
        config: Listener,
        policy: Policy,
        intake: Intake,
        observe: Observer,
        session: str,
        admission: Admission,
        ended: Callable[[Any], None],
        passages: Passages | None,
        peer: Peer,
        keeper: Doorkeeper | None,
        tls: ServerTls | None,
    ) -> None:
        super().__init__(
            engine, config, observe, session, admission, ended, peer, tls, intake.clock
        )
        self._policy = policy
        self._intake = intake
        self._passages = passages  # None: nothing is proxied
        self._passage: Passage | None = None
        self._keeper = keeper  # None: there is no AUTH
        self._auth: Authentication | None = None
        self._held_back: IDelayedCall | None = None  # a refusal
        self._transaction: Transaction | None = None
        self._receiving: Content | None = None
        self._is_running = False

    # --- what the connection tells ------------------------------------------------------------

    def _welcome(self, host: str) -> None:
        self._is_trusted = self._policy.trusts(host)
        if self._keeper is not None:  # nobody has authenticated yet
            self._auth = Authentication(self._keeper, host)

    def _certified(self, facts: TlsFacts) -> str:
        if self._peer.is_introduced:
            return ""
        trusted = self._policy.trusted_name(facts.names)
        self._is_trusted = self._is_trusted or bool(trusted)
        return trusted or facts.name

    @property
    def _is_busy(self) -> bool:
        return self._receiving is not None

    def _let_go(self) -> None:
        if self._held_back is not None:
            self._held_back.cancel()
        self._drop_content()
        if self._receiving is not None:
            self._receiving.client_left()
        if self._passage is not None:
            self._passage.close()

    # --- the engine's events ------------------------------------------------------------------

    def _run(self) -> None:
        """Handle events until the engine wants octets or an answer; write all replies at once."""
        engine, handlers, out = self._engine, _HANDLERS, self._out
        self._is_running = True
        try:
            while not self._is_closing:
                event = engine.next_event()
                if type(event) is Signal:
                    break
                answer = handlers[type(event)](self, event)
                if answer is not None:
                    out.append(engine.reply(answer))
                    if len(out) == MAX_REPLIES_AT_ONCE:
                        self._flush()
                        if self._is_unread:
                            break
        except RemoteProtocolError as error:
            self._is_closing, self._reason = True, str(error)
        self._is_running = False
        if out:
            self._flush()
        if self._is_closing:
            self._lose_connection()
        else:
            self._balance()

    def _balance(self) -> None:
        """Stop reading while too much waits for an answer that is not there yet."""
        engine = self._engine
        if self._is_waiting and engine.buffered > MAX_BUFFERED:
            self._reading.stop(engine)
        else:
            self._reading.go_on(engine)

    def _hello(self, event: Hello) -> Reply:
        self._end_transaction()
        protocol = "SMTP" if event.verb == "HELO" else "ESMTP"
        self._origin = self._origin.introduced(event.name, protocol)
        if self._passages is not None:
            return self._engine.hello_reply(*self._passages.withheld())
        return self._engine.hello_reply()

    def _xclient(self, event: Xclient) -> None:
        """The session is to be that of the client told of."""
        self._end_transaction()
        before = client_host(self._origin.client)
        self._origin = self._peer.introduce(event.attributes, self._origin)
        self._is_admitted = False
        self._is_waiting = True
        self._admission.move(before, client_host(self._origin.client), self._moved)

    def _moved(self, refusal: Reply | None) -> None:
        """Whether there is room for that client; he may be gone by now."""
        host = client_host(self._origin.client)
        if self._is_closing:
            if refusal is None:
                self._admission.leave(host)
        elif refusal is None:
            self._is_admitted = True
            self._welcome(host)
            self._resume(self._engine.greeting())
        else:
            self._is_waiting = False
            self._is_closing, self._reason = True, str(refusal)
            self._say(self._rejected("XCLIENT", refusal))

    def _auth_begin(self, event: Auth) -> None:
        self._is_waiting = True
        cast(Authentication, self._auth).begin(event.mechanism, event.response, self._auth_judged)

    def _auth_response(self, event: AuthResponse) -> None:
        self._is_waiting = True
        cast(Authentication, self._auth).go_on(event.octets, self._auth_judged)

    def _auth_judged(self, answer: Reply, why: str, delay: float) -> None:
        """A refusal is told at once, whether or not the client waits for its reply."""
        is_gone = self._is_closing
        if answer.code >= 400:
            answer = self._rejected("AUTH", answer, why=why)
        elif answer.code < 300:
            self._authenticated()
        if is_gone:
            self._is_waiting = False
        elif delay and answer.code != 421:
            self._held_back = self._intake.clock.callLater(delay, self._auth_answered, answer)
        else:
            self._auth_answered(answer)

    def _authenticated(self) -> None:
        auth = cast(Authentication, self._auth)
        user = auth.user.name if auth.user else ""
        self._origin = origin = replace(self._origin, user=user)
        self._is_trusted = True
        self._observe(
            Authenticated(
                self._session, origin.client, self._listener, origin.helo, user, auth.mechanism
            )
        )

    def _auth_answered(self, answer: Reply) -> None:
        self._held_back = None
        self._is_waiting = False
        if answer.code == 421:
            self._is_closing, self._reason = True, self._reason or str(answer)
        elif self._is_closing:  # while the refusal was held back
            return
        self._say(answer)

    def _mail(self, event: Mail) -> Reply | None:
        if self._is_leaving:
            return self._leave_now()
        self._reverse_path = event.reverse_path
        if self._auth is not None and (refusal := self._auth.refusal(event.reverse_path)):
            return self._refused("MAIL", refusal)
        transaction = Transaction(
            event.reverse_path,
            event.body,
            event.smtputf8,
            event.ret,
            event.envid,
            size=event.size,
            requires_tls=event.requires_tls,
        )
        if self._passages is not None:
            route = self._passages.sole_route(event.reverse_path)
            if route is not None and route.is_proxied:
                self._transaction = transaction
                self._is_waiting = True
                self._way_through().mail(transaction, route, self._mail_passed)
                return None
        trouble = self._intake.trouble()
        if trouble is not None:
            return self._refused("MAIL", trouble)
        self._transaction = transaction
        return SENDER_OK

    def _rcpt(self, event: Rcpt) -> Reply | None:
        transaction = cast(Transaction, self._transaction)
        refusal, forward_path, route = self._policy.judge(
            self._is_trusted, transaction.reverse_path, event.forward_path
        )
        if route is None:
            return self._refused("RCPT", cast(Reply, refusal), event.forward_path)
        recipient = transaction.recipient(forward_path, event.notify, event.orcpt)
        if not transaction.fits(route):
            return self._refused("RCPT", SEPARATELY, event.forward_path)
        if route.is_proxied:
            if self._passages is None:  # a reload brought that route, the session is older
                return self._refused("RCPT", IN_A_NEW_SESSION, event.forward_path)
            self._is_waiting = True
            self._way_through().rcpt(
                transaction,
                recipient,
                route,
                lambda answer: self._rcpt_passed(answer, recipient, route),
            )
            return None
        lane = self._policy.lane_of(
            route, forward_path, transaction.reverse_path, self._origin.user
        )
        transaction.add(recipient, route, lane)
        return RECIPIENT_OK

    def _content_begin(self, event: ContentBegin) -> Reply | None:
        transaction = cast(Transaction, self._transaction)
        if transaction.route is not None and transaction.route.is_proxied:
            self._begin_passing(transaction, is_chunked=event.is_chunked)
            return None
        trouble = self._intake.trouble()
        if trouble is not None:
            return self._refused("BDAT" if event.is_chunked else "DATA", trouble)
        brake = Brake(self._reading)
        protocol = self._protocol_of(transaction)
        receiving = self._intake.begin(transaction, self._origin, protocol, brake)
        self._receiving = self._intake.completed(receiving, transaction.reverse_path)
        return GO_ON

    def _protocol_of(self, transaction: Transaction) -> str:
        """As the trace field tells it (RFC 3848, RFC 6531 4.3)."""
        engine = self._engine
        return protocol_word(
            is_extended=engine.is_extended,
            is_utf8=transaction.smtputf8,
            is_encrypted=engine.is_encrypted,
            is_authenticated=engine.is_authenticated,
        )

    def _content_chunk(self, event: ContentChunk) -> None:
        if self._receiving is not None:
            self._receiving.write(event.octets)

    def _content_end(self, event: ContentEnd) -> Reply | None:
        receiving = self._receiving
        if event.refusal is not None or receiving is None:
            self._end_transaction()
            refusal = event.refusal or SHUTTING_DOWN
            if event.must_close:
                self._is_closing, self._reason = True, str(refusal)
            return self._refused("DATA", refusal)
        self._is_waiting = True
        transaction = cast(Transaction, self._transaction)
        receiving.finish(transaction, self._origin, self._finished)
        return None

    def _finished(self, answer: Reply) -> None:
        """The message is committed, or refused; the client may be gone by now."""
        queue_id = cast(Content, self._receiving).queue_id
        self._receiving = None
        route = cast(Transaction, self._transaction).route
        self._transaction = None
        if self._passage is not None and route is not None and not route.is_proxied:
            self._passage.end_transaction()  # its upstream had refused every recipient of it
        if answer.code < 300:
            self._accepted()
            self._resume(answer)
        else:
            if answer.code < 500:  # ours, or the upstream's, and no fault of the client's
                self._octets = 0
            self._resume_rejected("DATA", answer, queue_id=queue_id)

    # --- answers that were waited for ---------------------------------------------------------

    def _resume(self, answer: Reply) -> None:
        """The answer is there; the client may be gone."""
        self._is_waiting = False
        if not self._is_closing:
            self._say(answer)

    def _say(self, answer: Reply) -> None:
        self._grant(self._idle_timeout)
        self._out.append(self._engine.reply(answer))
        if self._is_leaving and self._receiving is None and not self._is_closing:
            self._out.append(reply_octets(self._leave_now()))
        if not self._is_running:  # else the loop that we are in goes on, and replies keep order
            self._run()

    def _resume_rejected(
        self, command: str, answer: Reply, recipient: str = "", queue_id: str = ""
    ) -> None:
        self._is_waiting = False
        is_gone = self._is_closing
        why = "" if self._passage is None else self._passage.trouble
        refusal = self._rejected(command, answer, recipient, queue_id, why)
        if not is_gone and not self._hold_back(refusal):
            self._say(refusal)

    def _refused(self, command: str, refusal: Reply, recipient: str = "") -> Reply | None:
        refusal = self._rejected(command, refusal, recipient)
        return None if self._hold_back(refusal) else refusal

    def _hold_back(self, refusal: Reply) -> bool:
        """Whether it waits now, and what is pipelined behind it too: who errs without end gets no
        more of our time than a little each second."""
        if self._is_closing or not self._has_tried_patience:
            return False
        self._is_waiting = True
        self._held_back = self._intake.clock.callLater(self._error_delay, self._let_out, refusal)
        return True

    def _let_out(self, refusal: Reply) -> None:
        self._held_back = None
        self._resume(refusal)

    def _way_through(self) -> Passage:
        if self._passage is None:
            self._passage = Passage(cast(Passages, self._passages), self._origin)
        self._passage.origin = self._origin
        return self._passage

    def _mail_passed(self, answer: Reply) -> None:
        if answer.code < 300:
            self._resume(answer)
        else:
            self._transaction = None
            self._resume_rejected("MAIL", answer)

    def _rcpt_passed(self, answer: Reply, recipient: Recipient, route: Route) -> None:
        if answer.code < 300:
            cast(Transaction, self._transaction).add(recipient, route, route.upstream)
            self._resume(answer)
        else:
            self._resume_rejected("RCPT", answer, recipient.forward_path)

    def _begin_passing(self, transaction: Transaction, *, is_chunked: bool) -> None:
        self._is_waiting = True
        self._way_through().begin(
            transaction,
            self._origin,
            self._protocol_of(transaction),
            Brake(self._reading),
            self._passing_begun,
            is_chunked=is_chunked,
        )

    def _passing_begun(self, answer: Reply, passing: Passing | None) -> None:
        if passing is not None:
            transaction = cast(Transaction, self._transaction)
            self._receiving = self._intake.completed(passing, transaction.reverse_path)
            self._resume(answer)
        else:
            self._resume_rejected("DATA", answer)

    def _answered(self, event: Answered) -> Reply | None:
        if event.resets:
            self._end_transaction()
        if self._transaction is None:
            self._reverse_path = None
        if event.must_close:
            self._is_closing, self._reason = True, str(event.reply)
        if event.reply.code >= 400:
            return self._refused(event.command, event.reply)
        return event.reply

    def _start_tls(self, event: StartTls) -> None:
        self._out.append(self._engine.reply(READY_FOR_TLS))
        self._flush()
        self._engine.tls_started()
        self._end_transaction()
        self._shake_hands(cast(ServerTls, self._tls))

    def _quit(self, event: Quit) -> Reply:
        self._is_closing, self._reason = True, "quit"
        return BYE

    def _closed(self, event: Closed) -> None:
        self._is_closing, self._reason = True, "closed by the client"

    def _end_transaction(self) -> None:
        self._drop_content()
        self._transaction = None
        if self._passage is not None:
            self._passage.end_transaction()

    def _drop_content(self) -> None:
        """Content that is not being committed is forgotten; a commit under way goes on."""
        if self._receiving is not None and not self._is_waiting:
            self._receiving.discard()
            self._receiving = None

    def __repr__(self) -> str:
        doing = "committing" if self._is_waiting else "receiving" if self._receiving else "idle"
        return f"<InboundProtocol {self._session} {self._origin.client} {doing}>"


_HANDLERS: Final[dict[type, Callable[["InboundProtocol", Any], Reply | None]]] = {
    Hello: InboundProtocol._hello,
    Xclient: InboundProtocol._xclient,
    Auth: InboundProtocol._auth_begin,
    AuthResponse: InboundProtocol._auth_response,
    Mail: InboundProtocol._mail,
    Rcpt: InboundProtocol._rcpt,
    ContentBegin: InboundProtocol._content_begin,
    ContentChunk: InboundProtocol._content_chunk,
    ContentEnd: InboundProtocol._content_end,
    Answered: InboundProtocol._answered,
    StartTls: InboundProtocol._start_tls,
    Quit: InboundProtocol._quit,
    Closed: InboundProtocol._closed,
}
