"""One client's connection: admission, greeting, TLS, pace, last word, and its lines in the log.

What is said on it is the business of the protocol, which this is the base of.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from relay.config.listener import Listener
from relay.inbound.admission import TOO_MANY_ERRORS_OF_YOURS, Admission
from relay.inbound.pace import Pace
from relay.inbound.peer import Peer, client_host
from relay.inbound.reading import Reading
from relay.mail.envelope import Origin
from relay.mail.reply import Reply, reply
from relay.net.tls import start_tls
from relay.notices import Connected, Disconnected, Observer, Rejected
from relay.smtp.answers import TOO_MANY_ERRORS
from relay.smtp.server import ServerEngine
from relay.smtp.wire import reply_octets
from relay.tls.server import ServerTls, TlsFacts, facts_of
from relay.tls.trouble import handshake_trouble, tls_trouble

LAST_WORD_TIMEOUT = 30.0
"""Seconds a client has to take what was said last; then the connection is aborted."""

IN_VAIN: Final = 1024 * 1024
"""Octets that count as an error, where no message comes of them."""

OF_TRANSACTIONS: Final = frozenset(("MAIL", "RCPT", "DATA", "BDAT"))
"""Commands whose refusal is told with the reverse-path."""

TOO_SLOW: Final = reply(421, "4.4.2", "Too slow, closing")
IDLE: Final = reply(421, "4.4.2", "Idle for too long, closing")
SHUTTING_DOWN: Final = reply(421, "4.3.2", "Shutting down, try again later")


class Connection:
    """Made for each connection; `ended(self)` is called once, at its end. A producer of replies:
    paused while the client leaves them unread."""

    transport: Any
    _reading: Reading

    def __init__(
        self,
        engine: ServerEngine,
        config: Listener,
        observe: Observer,
        session: str,
        admission: Admission,
        ended: Callable[[Any], None],
        peer: Peer,
        tls: ServerTls | None,
        clock: IReactorTime,
    ) -> None:
        self._clock = clock
        self._due_at = 0.0  # until then the other end has time
        self._engine = engine
        self._observe = observe
        self._session = session
        self._listener = config.name
        self._idle_timeout = config.idle_timeout
        self._max_errors = self._errors_left = config.max_errors
        self._patience = config.max_errors // 2
        self._error_delay = config.error_delay
        self._admission = admission
        self._ended = ended
        self._peer = peer
        engine.may_introduce = peer.may_introduce
        self._tls = tls
        self._is_shaking_hands = False
        self._origin = Origin(config.name, "")
        self._is_admitted = False
        self._is_trusted = False  # may relay
        self._is_told = False  # the log knows of the session
        self._is_closing = False
        self._is_leaving = False
        self._is_waiting = False  # for us, not for the client
        self._is_unread = False  # the client does not take our replies
        self._transactions = 0
        self._reverse_path: str | None = None  # that MAIL gave
        self._octets = 0  # since the last message that was taken
        self._reason = ""
        self._out: list[bytes] = []
        self._pace = Pace()

    # --- what the protocol says to that -------------------------------------------------------

    def _welcome(self, host: str) -> None:
        """The session begins, as that of a client at that host."""
        raise NotImplementedError

    def _certified(self, facts: TlsFacts) -> str:
        """A handshake is done: the name in the client's certificate that counts, or ""."""
        raise NotImplementedError

    def _run(self) -> None:
        """Octets have come, or the client takes replies again."""
        raise NotImplementedError

    @property
    def _is_busy(self) -> bool:
        """Something is under way that should end first."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """The connection is lost, and all that was under way with it, but for a commit."""
        raise NotImplementedError

    # --- its life -----------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        client = self._peer.client
        self._origin = Origin(self._listener, client, session=self._session)
        self._reading = Reading(self.transport)
        self._grant(self._idle_timeout)
        self._admission.ask(client_host(client), self._decided)
        if not (self._is_admitted or self._is_closing):
            self._reading.stop(self._admission)  # the greeting comes first

    def _decided(self, refusal: Reply | None) -> None:
        """Whether there is room for this session; the client may be gone by now."""
        if self._is_closing:
            if refusal is None:
                self._admission.leave(client_host(self._origin.client))
        elif refusal is None:
            self._begin()
        else:
            self._rejected("connect", refusal)
            self._is_closing = True
            if self._tls is None or not self._tls.is_implicit:  # else it could not be read
                self.transport.write(reply_octets(refusal))
            self.transport.loseConnection()

    def _begin(self) -> None:
        self._is_admitted = True
        client = self._origin.client
        self.transport.registerProducer(self, True)
        self._welcome(client_host(client))
        self._is_told = True
        self._observe(Connected(self._session, client, self._listener, self._peer.via))
        if self._tls is not None and self._tls.is_implicit:
            self._shake_hands(self._tls)
            if self._engine.buffered:  # it came with a PROXY header, while the limits were asked
                self.transport.dataReceived(self._engine.withdraw())
        else:
            self._greet()
        self._reading.go_on(self._admission)
        if self._engine.buffered:  # it came with a PROXY header, while the limits were asked
            self._run()

    def _greet(self) -> None:
        self.transport.write(self._engine.reply(self._engine.greeting()))

    def _shake_hands(self, tls: ServerTls) -> None:
        self._is_shaking_hands = True
        self._grant(tls.handshake_timeout)
        self.transport.unregisterProducer()
        start_tls(self, tls.contexts(), is_client=False)
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self) -> None:
        """Twisted's: TLS is there."""
        facts = facts_of(self.transport.getHandle())
        certificate = self._certified(facts)
        self._origin = replace(self._origin, helo="", tls=str(facts), certificate=certificate)
        self._is_shaking_hands = False
        self._grant(self._idle_timeout)
        if cast(ServerTls, self._tls).is_implicit:
            self._greet()

    def dataReceived(self, data: bytes) -> None:
        if self._is_closing:  # under TLS the other end is heard until it closes, too
            return
        self._grant(self._idle_timeout)
        self._pace.octets += len(data)
        self._octets += len(data)
        self._engine.receive(data)
        self._run()

    def readConnectionLost(self) -> None:
        """Half-closed by the client: nothing more is coming, what was sent is still answered."""
        self._engine.receive(b"")
        self._run()

    def writeConnectionLost(self) -> None:
        """Never asked for: this end closes both ways at once."""

    def pauseProducing(self) -> None:
        """The client leaves replies unread: no more of them are made, nor commands taken."""
        self._is_unread = True
        self._reading.stop(self)

    def resumeProducing(self) -> None:
        self._is_unread = False
        self._reading.go_on(self)
        self._run()

    def stopProducing(self) -> None:
        """`connectionLost` follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._let_go()
        self._is_closing = True
        if self._is_admitted:
            self._count_errors(0)
            self._admission.leave(client_host(self._origin.client))
        if self._is_told:
            self._tell_end(self._reason or self._why_lost(reason))
        self._ended(self)

    def _why_lost(self, reason: Failure) -> str:
        if self._is_shaking_hands:
            return handshake_trouble(reason.value)
        return tls_trouble(reason.value) or reason.getErrorMessage()

    def _tell_end(self, why: str) -> None:
        origin = self._origin
        self._observe(
            Disconnected(
                self._session,
                origin.client,
                self._listener,
                why,
                self._transactions,
                origin.helo,
                origin.user,
                origin.tls,
            )
        )

    # --- its ends -----------------------------------------------------------------------------

    def _grant(self, seconds: float) -> None:
        """So much time from now on."""
        self._due_at = self._clock.seconds() + seconds

    def judge_time(self, now: float) -> None:
        """Ends a session whose time is over."""
        if now < self._due_at:
            return
        if self._is_waiting and not self._is_closing:  # for us, not for the client
            self._grant(self._idle_timeout)
        elif self._is_shaking_hands:
            self._close(IDLE, "TLS handshake failed: it took too long")
        else:
            self._close(IDLE, "idle for too long")

    def judge_pace(self, least: int) -> None:
        """Ends a client who sent fewer octets than that, while it was its turn."""
        is_its_turn = not (self._is_waiting or self._is_closing or self._is_shaking_hands)
        owes = is_its_turn and self._reading.is_on and self._engine.is_midway
        if self._pace.is_too_slow(least, owes=owes):
            self._close(TOO_SLOW, "too slow")

    def leave(self) -> None:
        """Close as soon as nothing is under way: the relay is being stopped."""
        self._is_leaving = True
        if not self._is_busy:
            self._close(SHUTTING_DOWN, "shutting down")

    def abort(self) -> None:
        """Close now. What was not answered 250 is the client's to send again."""
        self._reason = "shutting down"
        self.transport.abortConnection()

    def _leave_now(self) -> Reply:
        self._is_closing, self._reason = True, "shutting down"
        return SHUTTING_DOWN

    def _close(self, last_word: Reply, reason: str) -> None:
        if self._is_closing or self._is_shaking_hands:
            self._is_closing, self._reason = True, self._reason or reason
            self.transport.abortConnection()
            return
        self._is_closing, self._reason = True, reason
        self.transport.write(reply_octets(last_word))
        self._lose_connection()

    def _lose_connection(self) -> None:
        """Once the client has taken everything, or had the time to."""
        self._grant(LAST_WORD_TIMEOUT)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    # --- what is said ---------------------------------------------------------------------------

    def _flush(self) -> None:
        out = self._out
        self.transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()
        self._pace.has_answer = True

    def _rejected(
        self,
        command: str,
        refusal: Reply,
        recipient: str = "",
        queue_id: str = "",
        why: str = "",
    ) -> Reply:
        """Tell the log; a client with too many errors is shown the door instead."""
        origin = self._origin
        self._observe(
            Rejected(
                self._session,
                origin.client,
                self._listener,
                origin.helo,
                command,
                str(refusal),
                recipient,
                queue_id,
                why,
                origin.user,
                origin.tls,
                self._reverse_path if command in OF_TRANSACTIONS else None,
            )
        )
        is_worn_out = refusal.code >= 500 and self._count_errors(1)
        if command == "RCPT" and recipient:  # the engine counts what it judged itself
            self._errors_left -= 1
            if self._errors_left <= 0 and not self._is_closing:
                return self._show_the_door(TOO_MANY_ERRORS)
        if is_worn_out and not self._is_closing:
            return self._show_the_door(TOO_MANY_ERRORS_OF_YOURS)
        return refusal

    def _accepted(self) -> None:
        """A message was taken: refused recipients are forgiven, and nothing was sent in vain."""
        self._transactions += 1
        self._errors_left = self._max_errors
        self._octets = 0

    def _count_errors(self, count: int) -> bool:
        """A stranger's. Whether they are too many now, with those of his other sessions."""
        if self._is_trusted:
            return False
        host = client_host(self._origin.client)
        in_vain, self._octets = divmod(self._octets, IN_VAIN)
        if count + in_vain:
            self._admission.erred(host, count + in_vain)
        return self._admission.is_worn_out_by(host)

    def _show_the_door(self, last_word: Reply) -> Reply:
        self._is_closing, self._reason = True, "too many errors"
        return last_word

    @property
    def _has_tried_patience(self) -> bool:
        """Its errors are so many that refusals are held back."""
        errors = self._engine.error_count + self._max_errors - self._errors_left
        return errors > self._patience and self._error_delay > 0


classImplements(Connection, IProtocol, IHalfCloseableProtocol, IHandshakeListener, IPushProducer)
