"""Builds every part of one process from the config and wires them; starts and stops them in order.

The only file that knows all parts. Nothing is opened, bound or threaded before the service starts:
twistd daemonises and drops privileges in between.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from random import SystemRandom
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.admin.control import Control, DoorUnusable
from relay.admin.operations import Operations
from relay.config.reading import Config
from relay.config.schema import Auth, Listener
from relay.inbound.auth import Doorkeeper
from relay.inbound.intake import Intake
from relay.inbound.listener import InboundFactory, InboundListener
from relay.inbound.passage import Passages
from relay.inbound.policy import Policy
from relay.notices import Alarm, Started, Stopped
from relay.observe.fan import fan_out
from relay.observe.trafficlog import TrafficLog
from relay.outbound.delivery import Delivery
from relay.outbound.directory import Directory
from relay.outbound.next_hops import NextHops
from relay.outbound.routes import Routes
from relay.places import OwnPlaces, SharedPlaces
from relay.queue.control import QueueControl
from relay.queue.hybrid import Hybrid
from relay.queue.ids import QueueIds
from relay.queue.manager import QueueManager
from relay.queue.open_store import open_store, spool_of
from relay.queue.reports import ReportMaker
from relay.queue.reroute import Reroute
from relay.queue.schedule import Terms
from relay.queue.space import SpaceWatch
from relay.queue.store import Opened, StoreUnusable
from relay.queue.sweep import Sweep
from relay.tls.server import ServerTls
from relay.users.accounts import Accounts
from relay.users.failures import Failures
from relay.users.file import UsersUnusable
from relay.users.opening import accounts_of

DRAIN_LOOK = 5.0
"""Seconds between looks whether a worker that takes no new mail has any left."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker of several is: its number of how many; the descriptors of its listening
    sockets, by listener; where it takes places; whom to tell that it takes mail, and that it has
    none left. Without sockets it only delivers what is in its queue."""

    number: int
    of: int
    sockets: Mapping[str, int]
    places: SharedPlaces
    ready: Callable[[], None]
    drained: Callable[[], None]


class RelayService(Service):
    """A relay in one process, or one worker's `share` of it."""

    def __init__(self, config: Config, reactor: Any, share: Share | None = None) -> None:
        self._config = config
        self._share = share
        self._number = 0 if share is None else share.number
        of = 1 if share is None else share.of
        self._reactor = reactor
        self._clock: IReactorTime = reactor
        self._log = (
            None if config.traffic_log is None else TrafficLog(config.traffic_log.file, reactor)
        )
        self._observe = fan_out(*([] if self._log is None else [self._log]))
        self._ids: QueueIds | None = None
        self._sessions = count(1)
        self._routes = Routes(config.routes)
        memory = config.queue.max_content_memory // of
        self._store = open_store(config.queue.store, reactor, memory, self._number)
        self._next_hops = NextHops(config.upstreams)
        self._delivery = Delivery(
            {upstream.name: upstream for upstream in config.upstreams},
            config.hostname,
            reactor,
            None if share is None else share.places,
            of,
            self._directory(config),
            self._observe,
            lambda lane: self._manager.poke(lane),
        )
        self._places = OwnPlaces() if share is None else share.places
        self._build_queue(config, max(1, config.queue.max_in_hand // of))
        self._build_auth(config.auth)
        self._listeners = [
            self._listener(listener)
            for listener in config.listeners
            if share is None or listener.name in share.sockets
        ]
        self._is_open = False
        self._watch: LoopingCall | None = None

    def _directory(self, config: Config) -> Directory | None:
        """None where no mail goes by MX."""
        if not self._next_hops.by_domain:
            return None
        spool = spool_of(config.queue.store)
        return Directory(
            config.dns,
            config.hostname,
            config.listeners,
            config.upstreams,
            self._reactor,
            None if spool is None else spool / "mta-sts",
        )

    def _build_queue(self, config: Config, max_in_hand: int) -> None:
        queue = config.queue
        terms = Terms(queue.retry, queue.warn_after, queue.expire_after)
        reports = ReportMaker(config.hostname, config.postmaster, self._dsn_lane, self._next_id)
        self._manager = QueueManager(
            self._store,
            self._delivery,
            self._clock,
            terms,
            reports,
            self._observe,
            self._next_hops.fixed,
            SystemRandom(),
            max_in_hand,
            self._next_hops.by_domain,
        )
        self._hybrid = Hybrid(self._manager, self._store, reports, self._clock, self._observe)
        self._sweep = Sweep(self._store, self._manager, reports, terms, self._clock)
        self._reroute = Reroute(self._store, self._manager, self._lane_for, self._observe)
        self._spool = spool_of(queue.store)
        self._space = (
            SpaceWatch(self._spool, queue.min_free, self._observe, self._clock)
            if self._spool
            else None
        )
        control = QueueControl(self._store, self._manager, self._clock, self._observe, self._status)
        self.operations = Operations(control, queue.expire_after)
        self._control = Control(self.operations, self._reactor)

    def _build_auth(self, auth: Auth | None) -> None:
        self._accounts: Accounts | None = None
        takes_mail = self._share is None or bool(self._share.sockets)
        if auth is None or not takes_mail or not self._config.takes_passwords:
            return
        self._accounts = accounts_of(auth, self._reactor, self._observe)
        self._failures = Failures(
            auth.failure_delay, auth.max_failure_delay, auth.max_failures, auth.shut_out_for
        )

    def _doorkeeper(self, listener: Listener) -> Doorkeeper | None:
        """None where nobody can authenticate."""
        if self._accounts is None or listener.auth == "none":
            return None
        return Doorkeeper(
            self._accounts,
            self._failures,
            self._clock,
            self._observe,
            listener.name,
            is_required=listener.auth == "required",
        )

    def _listener(self, listener: Listener) -> InboundListener:
        config = self._config
        policy = Policy(listener, self._routes.find, config.postmaster, self._next_hops.lane_of)
        intake = Intake(
            config.hostname,
            listener.max_received,
            self._manager,
            self._hybrid,
            self._store.new_content,
            self._next_id,
            self._has_space,
            self._clock,
            adds_headers=listener.add_missing_headers,
        )
        factory = InboundFactory(
            listener,
            config.hostname,
            policy,
            intake,
            self._observe,
            self._next_session,
            self._places,
            self._passages(listener.name, intake),
            self._doorkeeper(listener),
            ServerTls(listener, self._observe, self._clock.seconds) if listener.has_tls else None,
        )
        inherited = None if self._share is None else self._share.sockets[listener.name]
        return InboundListener(listener, factory, cast(IReactorTCP, self._reactor), inherited)

    def _passages(self, listener: str, intake: Intake) -> Passages | None:
        """None where the listener's mail is never proxied."""
        upstreams = self._routes.proxied(listener)
        if not upstreams:
            return None
        return Passages(
            self._delivery,
            intake,
            upstreams,
            lambda reverse_path: self._routes.sole(reverse_path, listener),
            self._next_hops.lane_of,
            self._is_held,
            self._observe,
        )

    # --- what the parts ask -------------------------------------------------------------------

    def _lane_for(
        self, forward_path: str, reverse_path: str, listener: str, user: str
    ) -> str | None:
        route = self._routes.find(forward_path, reverse_path, listener)
        if route is None:
            return None
        return self._next_hops.lane_of(route, forward_path, reverse_path, user)

    def _dsn_lane(self, forward_path: str) -> str | None:
        """Mail made here goes by its recipient alone, whatever the listener."""
        route = self._routes.find(forward_path, "", None)
        return None if route is None else self._next_hops.lane_of(route, forward_path)

    def _next_id(self) -> str:
        assert self._ids is not None
        return self._ids.next()

    def _next_session(self) -> str:
        return f"{self._session_prefix}{next(self._sessions):X}"

    def _status(self) -> dict[str, object]:
        """What the parts beside the queue tell of themselves, for relayctl status."""
        return {
            "hostname": self._config.hostname,
            "listeners": [listener.status() for listener in self._listeners],
            "hosts": self._delivery.status(),
            "has_space": self._has_space(),
        }

    def _is_held(self, name: str) -> bool:
        lane = self._manager.lane(name)
        return lane is not None and lane.is_held

    def _has_space(self) -> bool:
        return self._space is None or self._space.has_space()

    # --- start --------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind while still allowed to; nobody is served before the queue is open."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        for listener in self._listeners:
            try:
                listener.bind()
            except CannotListenError as error:
                why = error.socketError.strerror or str(error.socketError)
                sys.stderr.write(
                    f"relay: listener {listener.config.name}: cannot listen on"
                    f" {listener.config.address}: {why};"
                    " end what listens there, or change its address\n"
                )
                raise SystemExit(1) from None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        if self._log is not None:
            self._log.start()
            on_signal(signal.SIGHUP, self._reactor, self.reopen_log)
        opening = maybeDeferred(self._open)
        self._opening = opening.addCallback(self._opened).addErrback(self._not_opened)

    def _open(self) -> "Deferred[Opened]":
        if self._accounts is not None:
            self._accounts.start()
        return self._store.open()

    def reopen_log(self) -> None:
        """After a rotation."""
        if self._log is not None:
            self._log.reopen()

    def _opened(self, opened: Opened) -> None:
        self._ids = QueueIds(opened.start_number, self._number, self._clock)
        worker = f"{self._number:X}." if self._number else ""
        self._session_prefix = f"{worker}{opened.start_number:X}."
        self._is_open = True
        for trouble in opened.troubles:
            self._observe(Alarm("queue store", trouble))
        if self._space is not None:
            self._space.start()
        self._manager.start(opened)
        self._sweep.start()
        Deferred.fromCoroutine(self._reroute.run(opened.lanes)).addErrback(
            lambda why: _log.failure("waiting mail was not routed again", why)
        )
        if self._share is None:
            self._open_control()
        for upstream in {r.upstream for r in self._config.routes if r.is_proxied}:
            self._delivery.learn(upstream)
        for listener in self._listeners:
            listener.serve()
            _log.info("listening: {listener!r}", listener=listener)
        if self._share is None:
            self._observe(Started("relay", f"start {opened.start_number}"))
        else:
            self._observe(Started(f"worker {self._number}", f"start {opened.start_number}"))
            self._share.ready()
            if not self._share.sockets:
                self._watch = LoopingCall(self._look_if_drained)
                self._watch.start(DRAIN_LOOK, now=False)

    async def _waits(self) -> bool:
        """Whether anything is in the queue."""
        return any(lane.waiting for lane in await self._store.lanes())

    def _look_if_drained(self) -> "Deferred[None]":
        async def look() -> None:
            if self._is_open and not await self._waits():
                cast(Share, self._share).drained()

        return Deferred.fromCoroutine(look())

    def _open_control(self) -> None:
        """The operators' door: a socket in the spool, and TCP where the config wants it."""
        admin = self._config.admin
        try:
            if self._spool is not None:
                self._control.listen_unix(self._spool)
            if admin is not None:
                self._control.listen_tcp(admin.address.host, admin.address.port, admin.token_file)
        except DoorUnusable as error:
            self._observe(Alarm("control", str(error)))
            _log.error("{why}", why=str(error))

    def _not_opened(self, reason: Failure) -> None:
        """One clear line, and an exit status that says so."""
        if reason.check(StoreUnusable, UsersUnusable):
            sys.stderr.write(f"relay: {reason.getErrorMessage()}\n")
        else:
            _log.failure("the relay cannot start", reason)
        exit_with(1)
        self._reactor.callWhenRunning(self._reactor.stop)

    # --- stop ---------------------------------------------------------------------------------

    def stopService(self) -> "Deferred[None]":
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        """New sessions first, then what is under way within `stop_within`, the store last."""
        await self._opening  # a stop can come while the queue is being opened
        for listener in self._listeners:
            await listener.close()
        if not self._is_open:
            if self._log is not None:
                self._log.stop()
            return
        await self._control.close()
        if self._watch is not None and self._watch.running:
            self._watch.stop()
        self._sweep.stop()
        if self._space is not None:
            self._space.stop()
        within = self._config.stop_within
        settled = self._manager.stop()
        abort = self._reactor.callLater(within, self._abort_sessions)
        left = DeferredList([listener.factory.leave() for listener in self._listeners])
        await self._delivery.stop(within)
        await left
        if abort.active():
            abort.cancel()
        await settled
        if self._accounts is not None:
            self._accounts.stop()
        await self._store.close()
        what = "relay" if self._share is None else f"worker {self._number}"
        self._observe(Stopped(what))
        if self._log is not None:
            self._log.stop()

    def _abort_sessions(self) -> None:
        for listener in self._listeners:
            listener.factory.abort()


def on_signal(number: signal.Signals, reactor: Any, act: Callable[[], None]) -> None:
    """Act in the reactor's own time; a signal may come between any two instructions."""
    signal.signal(number, lambda *_: reactor.callFromThread(act))


def exit_with(status: int) -> None:
    """Make twistd, which knows no exit status of services, end with this one."""

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(leave)
