"""The queued client factory: the sessions of one host, and the transactions that wait for one.

Carries out what `throttle` decides. Each pending transaction is handed to a session or told of the
site's trouble, exactly once. Knows nothing of messages; who queues here bounds how much.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from twisted.python.failure import Failure

from relay.config import HostAddress, Upstream
from relay.mail.reply import Reply
from relay.outbound.addresses import Addresses, AddressFinder
from relay.outbound.identity.account import Account, NoLogin
from relay.outbound.opening import Opening
from relay.outbound.pacer import Pacer
from relay.outbound.protocol import State, UpstreamSession
from relay.outbound.security import HostSecurity
from relay.outbound.session_maker import SessionMaker
from relay.outbound.throttle import Move, Window, next_move
from relay.outbound.ticker import Ticker
from relay.places import SharedPlaces

MAX_SESSION_AGE: Final = 300.0
"""Seconds a session is reused: by time rather than by count, so that a change of the host's
addresses is noticed, and a slow one of several does not keep its share for ever."""

LEAST_SESSION_AGE: Final = 2.0
"""Seconds a busy session is used before it is given up for another process that waits: each change
costs a new session."""

_LIVING: Final = (State.IDLE, State.BUSY, State.LENT)


class Pending(Protocol):
    """A transaction that waits for a session of this host."""

    def start(self, session: UpstreamSession) -> bool:
        """Run on this idle session. False: it does not go there, the session is still idle."""

    def site_failed(self, reply: Reply, label: str) -> None:
        """No session can be had."""


class FactoryOwner(Protocol):
    """Whoever chooses among hosts."""

    def host_failed(self, factory: "QueuedClientFactory") -> None:
        """No session can be had there now."""

    def host_answered(self, factory: "QueuedClientFactory") -> None:
        """A session was opened there."""

    def factory_emptied(self, factory: "QueuedClientFactory") -> None:
        """Nothing is open, under way or waiting."""


class QueuedClientFactory:
    """The way to one host of an upstream."""

    def __init__(
        self,
        upstream: Upstream,
        host: HostAddress,
        hello_name: str,
        owner: FactoryOwner,
        ticker: Ticker,
        reactor: Any,
        places: SharedPlaces | None = None,
        addresses: AddressFinder | None = None,
        *,
        security: HostSecurity,
        pacer: Pacer | None = None,
        account: Account | None = None,
        lane: str = "",
    ) -> None:
        self._account = account  # None: no AUTH
        self.security = security
        self._pacer = pacer
        self._places = places
        self.place_key = f"upstream {lane or upstream.name} {host}"
        self._placed: set[UpstreamSession] = set()  # those that a place was taken for
        self._upstream = upstream
        self._host = host
        self._maker = SessionMaker(upstream, host, hello_name, account, ticker, reactor)
        self._owner = owner
        self._ticker = ticker
        self._reactor = reactor
        self._addresses = addresses or Addresses(host.host, reactor)
        self._window = Window(upstream.max_connections)
        self._waiting: deque[Pending] = deque()
        self._needing_fresh: deque[Pending] = deque()
        self._sessions: set[UpstreamSession] = set()
        self._idle: list[UpstreamSession] = []
        self._resting: dict[UpstreamSession, None] = {}  # lent and unused, the oldest first
        self._openings: set[Opening] = set()
        self._is_pumping = False
        self._is_leaving = False
        self._former: QueuedClientFactory | None = None  # by the config before; it is leaving
        self._successor: QueuedClientFactory | None = None
        self._tls_now = ""  # of the session opened last
        self.extensions: Mapping[str, str] | None = None  # as last offered; None: never asked
        self.connect_within = upstream.timeouts.connect

    # --- what is asked of it ------------------------------------------------------------------

    def submit(self, pending: Pending) -> None:
        """Give it a session as soon as one may be had."""
        if self._pacer is None:
            self._submit(pending)
        else:
            self._pacer.take_turn(pending, self._submit)

    def _submit(self, pending: Pending) -> None:
        if self._idle and not self._waiting:
            self._start(self._idle.pop(), pending)
        else:
            self._waiting.append(pending)
            self._pump()

    def submit_fresh(self, pending: Pending, *, is_again: bool = True) -> None:
        """The same, on a session that nothing was sent on before. `is_again`: it had its turn."""
        if self._pacer is None or is_again:
            self._submit_fresh(pending)
        else:
            self._pacer.take_turn(pending, self._submit_fresh)

    def _submit_fresh(self, pending: Pending) -> None:
        self._needing_fresh.append(pending)
        self._pump()

    def withdraw(self, pending: Pending) -> None:
        """It does not want a session any more. Harmless where it has one."""
        if self._pacer is not None:
            self._pacer.withdraw(pending)
        for queue in (self._waiting, self._needing_fresh):
            if pending in queue:
                queue.remove(pending)
        self._something_ended()

    def site_broke(self) -> None:
        """A transaction found that the host does not keep a session up."""
        if not self._living():
            self._window.host_failed()
            self._owner.host_failed(self)

    def follow(self, former: "QueuedClientFactory") -> None:
        """It leads to the same host: what it has open counts here until it has ended."""
        self._former, former._successor = former, self

    def leave(self) -> None:
        """Keep no session idle from now on."""
        self._is_leaving = True
        for session in list(self._idle):
            session.leave()

    def abort(self, reply: Reply) -> None:
        """End all that is under way, at once."""
        self._is_leaving = True
        openings, self._openings = self._openings, set()
        for opening in openings:
            opening.give_up()
            if opening.has_place:
                self._give_place()
        self._fail(self._needing_fresh, reply, str(self._host))
        self._fail(self._waiting, reply, str(self._host))
        for session in list(self._sessions):
            session.abort(reply)
        self._something_ended()

    @property
    def name(self) -> str:
        """The host's, as configured or found by MX."""
        return self._host.host

    @property
    def is_empty(self) -> bool:
        return not (self._sessions or self._openings or self._waiting or self._needing_fresh)

    def status(self) -> dict[str, object]:
        """For relayctl status."""
        return {
            "host": str(self._host),
            "sessions": len(self._sessions),
            "idle": len(self._idle),
            "pending": len(self._waiting) + len(self._needing_fresh),
            "window": self._window.size,
            "tls": "broken, so plain" if self.security.is_broken else self._tls_now,
            "auth": "" if self._account is None else self._account.status(),
            "paced": 0 if self._pacer is None else self._pacer.waiting,
        }

    def __repr__(self) -> str:
        return (
            f"<QueuedClientFactory {self._host} sessions={len(self._sessions)}"
            f" idle={len(self._idle)} waiting={len(self._waiting)} {self._window!r}>"
        )

    # --- decisions carried out ----------------------------------------------------------------

    def _pump(self) -> None:
        """Do all that may be done now. Called from within itself, it leaves that to the outer."""
        if self._is_pumping or not (self._waiting or self._needing_fresh):
            return
        self._is_pumping = True
        try:
            while (move := self._next_move()) is not Move.WAIT:
                if move is Move.REUSE:
                    self._start(self._idle.pop(), self._waiting.popleft())
                elif move is Move.OPEN:
                    self._open()
                elif move is Move.RECALL:
                    next(iter(self._resting)).recall()
                else:
                    self._idle[0].leave()
        finally:
            self._is_pumping = False

    def _next_move(self) -> Move:
        return next_move(
            waiting=len(self._waiting),
            needing_fresh=len(self._needing_fresh),
            idle=len(self._idle),
            resting=len(self._resting),
            opening=len(self._openings),
            closing=self._closing() if self._needing_fresh or self._resting else 0,
            sessions=self._connections(),
            window=self._window_now(),
        )

    def _window_now(self) -> int:
        """One session until it is known that the login is right, and for what a successor has its
        place of: that one gets what this one's attempts leave."""
        is_proven = self._account is None or self._account.is_proven
        size = self._window.size if is_proven and self._successor is None else 1
        if self._former is None:
            return size
        return min(size, self._upstream.max_connections - self._former.in_all())

    def in_all(self) -> int:
        """Its sessions, and those of the ones before it."""
        former = self._former
        if former is None:
            return self._connections()
        before = former.in_all()
        if not before and former.is_empty:
            self._former = None
        return self._connections() + before

    def room_made(self) -> None:
        """One that it followed has a session less, maybe."""
        self._pump()
        if self._successor is not None:
            self._successor.room_made()

    def is_refused(self, trouble: Reply) -> bool:
        """Whether this trouble is the login's, refused for good."""
        return self._account is not None and self._account.refusal is trouble

    def _connections(self) -> int:
        """Those being made are counted too; an opening that has one stands among the sessions."""
        making = sum(1 for opening in self._openings if opening.session is None)
        return len(self._sessions) + making

    def _closing(self) -> int:
        return sum(1 for s in self._sessions if s.state is State.CLOSING)

    def _living(self) -> int:
        """Sessions that carry mail or could."""
        return sum(1 for s in self._sessions if s.state in _LIVING)

    def _start(self, session: UpstreamSession, pending: Pending) -> None:
        if not pending.start(session) and session.state is State.IDLE:
            self._rest(session)

    def _rest(self, session: UpstreamSession) -> None:
        """An idle session with nothing to do at this moment."""
        if self._is_leaving or not self._upstream.idle_timeout:
            session.leave()
        else:
            self._idle.append(session)
            session.wait_idle(self._upstream.idle_timeout)

    def _open(self) -> None:
        opening = Opening(
            self._host,
            self._addresses,
            self._upstream.timeouts.connect,
            self,
            self._make_session,
            self._reactor,
            self._upstream.bind or "",
        )
        self._openings.add(opening)
        if self._places is None:
            self._begin(opening)
        else:
            self._places.take(
                self.place_key,
                self._upstream.max_connections,
                lambda _: self._place_taken(opening),
                self._place_recalled,
            )

    def _begin(self, opening: Opening) -> None:
        if self._account is None:
            opening.begin()
        else:
            self._account.login().addCallbacks(
                lambda _: opening.begin(), self._no_login, errbackArgs=(opening,)
            )

    def _no_login(self, reason: Failure, opening: Opening) -> None:
        reason.trap(NoLogin)
        error = cast(NoLogin, reason.value)
        if error.is_refusal and self._account is not None:
            self._account.refused(error.trouble, "")
        opening.fail(error.trouble)

    # --- places, where several processes share the host ---------------------------------------

    def _place_taken(self, opening: Opening) -> None:
        """There may be no need of it any more."""
        if opening in self._openings and (self._waiting or self._needing_fresh):
            opening.has_place = True
            self._begin(opening)
        else:
            self._openings.discard(opening)
            self._give_place()
            self._something_ended()

    def _give_place(self) -> None:
        if self._places is not None:
            self._places.give(self.place_key)

    def _place_recalled(self) -> None:
        """Another process waits: end a session that nobody uses; else the next that is free."""
        if not self._idle and self._resting:
            next(iter(self._resting)).recall()
        if self._idle:
            self._idle[0].leave()

    def _is_wanted_elsewhere(self, session: UpstreamSession) -> bool:
        if self._places is None or not self._places.is_recalled(self.place_key):
            return False
        return bool(self._reactor.seconds() - session.opened_at >= LEAST_SESSION_AGE)

    def _make_session(self, label: str) -> UpstreamSession:
        session = self._maker.make(self, label, self.security)
        self._sessions.add(session)
        return session

    # --- what sessions and openings tell ------------------------------------------------------

    def session_opened(self, session: UpstreamSession) -> None:
        self._forget_opening(session)
        if self._places is not None:
            self._placed.add(session)
        self.extensions = session.engine.extensions
        self._tls_now = session.tls
        if self._account is not None:
            self._account.accepted(session.mechanism)
        self._window.session_opened()
        self._owner.host_answered(self)
        if self._needing_fresh:
            self._start(session, self._needing_fresh.popleft())
        elif self._waiting:
            self._start(session, self._waiting.popleft())
        else:
            self._rest(session)
        self._pump()

    def session_not_opened(self, session: UpstreamSession, trouble: Reply) -> None:
        opening = next((o for o in self._openings if o.session is session), None)
        if opening is None:
            return
        if session.has_tls_failed and self.security.note_broken(trouble):
            opening.try_again(trouble)
        elif session.is_refused:
            self._login_refused(opening, session, trouble)
        else:
            opening.try_next(trouble)

    def _login_refused(self, opening: Opening, session: UpstreamSession, trouble: Reply) -> None:
        """Other addresses of the host would say the same; another token may do better."""
        account, login = self._account, session.login
        assert account is not None and login is not None
        if not account.again(login):
            account.refused(trouble, session.label)
            opening.fail(trouble)
            return
        account.login().addCallbacks(
            lambda _: opening.try_again(trouble), self._no_login, errbackArgs=(opening,)
        )

    def opening_failed(self, opening: Opening, trouble: Reply, label: str) -> None:
        self._openings.discard(opening)
        if opening.former in self._sessions and self._places is not None:
            self._placed.add(opening.former)  # the host has that one yet
        else:
            self._give_place()
        living = self._living()
        if living:
            self._window.turned_away(living)
        else:
            self._window.host_failed()  # at once: else each opening that fails leads to another
            if not self._openings:
                self._owner.host_failed(self)
                self._fail(self._waiting, trouble, label)
        if not self._openings:
            self._fail(self._needing_fresh, trouble, label)
        self._pump()
        self._something_ended()

    def session_resting(self, session: UpstreamSession, is_resting: bool) -> None:
        if is_resting:
            self._resting[session] = None
            self._pump()
        else:
            self._resting.pop(session, None)

    def session_free(self, session: UpstreamSession) -> None:
        self._resting.pop(session, None)
        self._window.transaction_done()
        if self.is_worn(session) or self._is_wanted_elsewhere(session):
            session.leave()
        elif self._waiting:
            self._start(session, self._waiting.popleft())
            if self._idle:
                self._pump()  # that one did not go there: the others may
        else:
            self._rest(session)
            if self._needing_fresh:
                self._pump()  # it may have to make room

    def session_spent(self, session: UpstreamSession) -> None:
        self._resting.pop(session, None)
        if session in self._idle:
            self._idle.remove(session)

    def session_gone(self, session: UpstreamSession) -> None:
        self._sessions.discard(session)
        if session in self._placed:
            self._placed.discard(session)
            self._give_place()
        self._ticker.forget(session)
        self._pump()
        self._something_ended()

    def _forget_opening(self, session: UpstreamSession) -> None:
        self._openings = {o for o in self._openings if o.session is not session}

    def is_worn(self, session: UpstreamSession) -> bool:
        """It has carried what it may (our limit, or the host's: RFC 9422), or is too old."""
        for most in (self._upstream.max_messages_per_connection, session.engine.max_transactions):
            if most and session.transactions >= most:
                return True
        return bool(self._reactor.seconds() - session.opened_at >= MAX_SESSION_AGE)

    def _fail(self, queue: deque[Pending], reply: Reply, label: str) -> None:
        failed = list(queue)
        queue.clear()
        for pending in failed:
            pending.site_failed(reply, label)

    def _something_ended(self) -> None:
        if self._successor is not None:
            self._successor.room_made()
        if self.is_empty:
            self._owner.factory_emptied(self)
