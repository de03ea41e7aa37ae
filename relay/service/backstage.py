"""All that lives behind the listeners of one process: store, queue and delivery, wired.

It outlives configurations: `prepare` makes what another one needs, `take` puts it in use. Nothing
is opened or threaded before `open`.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from random import SystemRandom
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.config import Config, Upstream
from relay.inbound.conduct import Conduct
from relay.notices import Alarm, Observer
from relay.outbound.delivery import Delivery, Renewal
from relay.outbound.directory import Directory, directory_of
from relay.outbound.identity.making import own_tokens
from relay.outbound.next_hops import NextHops
from relay.outbound.routes import Routes
from relay.places import OwnPlaces
from relay.queue.hybrid import Hybrid
from relay.queue.ids import QueueIds
from relay.queue.lane_book import upstream_of
from relay.queue.manager import QueueManager
from relay.queue.open_store import open_store, spool_of
from relay.queue.reports import ReportMaker
from relay.queue.reroute import Reroute
from relay.queue.schedule import Terms
from relay.queue.space import SpaceWatch
from relay.queue.store import LaneState, Opened, StoreFailed
from relay.queue.sweep import Sweep
from relay.service.differences import changes_ways
from relay.service.share import Share

ROUTE_AGAIN_AFTER = 10.0
"""Seconds after which waiting mail is routed anew once more where the store failed."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class Prepared:
    """Another config's part of it. `stored`: lanes as the store has them."""

    config: Config
    renewal: Renewal
    stored: Mapping[str, LaneState]


class Backstage:
    """`open` first; `observe` hears what happens."""

    def __init__(
        self, config: Config, reactor: Any, share: Share | None, observe: Observer
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._observe = observe
        self.clock: IReactorTime = reactor
        self.number = 0 if share is None else share.number
        self._workers = 1 if share is None else share.of
        self.places = OwnPlaces() if share is None else share.places
        self.conduct = Conduct() if share is None else share.conduct
        self.tokens = own_tokens(observe, reactor) if share is None else share.tokens
        self._ids: QueueIds | None = None
        self._sessions = count(1)
        self._session_prefix = ""
        self.routes = Routes(config.routes)
        self.next_hops = NextHops(config.upstreams)
        memory = config.queue.max_content_memory // self._workers
        self.store = open_store(config.queue.store, reactor, memory, self.number)
        self.spool = spool_of(config.queue.store)
        self.delivery = Delivery(
            _by_name(config),
            config.hostname,
            reactor,
            None if share is None else share.places,
            self._workers,
            self._directory(config),
            self._observe,
            lambda lane: self.manager.poke(lane),
            self.tokens,
            None if self.spool is None else self.spool / str(self.number) / "turns",
        )
        self._routing_again: list[IDelayedCall] = []
        self._is_ending = False
        self._build_queue(config)

    def _build_queue(self, config: Config) -> None:
        self._reports = ReportMaker(
            config.hostname, config.postmaster, self._dsn_lane, self.next_id
        )
        self.manager = QueueManager(
            self.store,
            self.delivery,
            self.clock,
            _terms(config),
            self._reports,
            self._observe,
            self.next_hops.fixed,
            SystemRandom(),
            self._max_in_hand(config),
            self.next_hops.by_domain,
        )
        self.hybrid = Hybrid(self.manager, self.store, self._reports, self.clock, self._observe)
        self._sweep = Sweep(self.store, self.manager, self._reports, _terms(config), self.clock)
        self._reroute = Reroute(
            self.store,
            self.manager,
            self._lane_for,
            self._observe,
            self.clock,
            self._begin_routing_anew,
            self.next_hops.eased,
        )
        self.manager.is_astray = self._reroute.is_astray
        self.manager.when_stray = self._reroute.stray
        self._space = (
            SpaceWatch(self.spool, config.queue.min_free, self._observe, self.clock)
            if self.spool
            else None
        )

    def _max_in_hand(self, config: Config) -> int:
        return max(1, config.queue.max_in_hand // self._workers)

    def _directory(self, config: Config, former: Directory | None = None) -> Directory | None:
        """None where no mail goes by MX. `former` serves on where nothing of it has changed."""
        upstreams = [each for each in config.upstreams if each.is_by_domain]
        if not upstreams:
            return None
        if former is not None and _asks_alike(self._config, config):
            return former
        return directory_of(config, self._reactor)

    # --- what the parts ask -------------------------------------------------------------------

    def _lane_for(
        self, forward_path: str, reverse_path: str, listener: str, user: str = ""
    ) -> str | None:
        route = self.routes.find(forward_path, reverse_path, listener)
        if route is None:
            return None
        return self.next_hops.lane_of(route, forward_path, reverse_path, user)

    def _dsn_lane(self, forward_path: str) -> str | None:
        """Mail made here goes by its recipient alone, whatever the listener."""
        return self._lane_for(forward_path, "", "")

    def next_id(self) -> str:
        assert self._ids is not None
        return self._ids.next()

    def next_session(self) -> str:
        return f"{self._session_prefix}{next(self._sessions):X}"

    def is_held(self, upstream: str) -> bool:
        lane = self.manager.lane(upstream)
        return lane is not None and lane.is_held

    def has_space(self) -> bool:
        return self._space is None or self._space.has_space()

    async def waits(self) -> bool:
        """Whether anything is in the queue."""
        return any(lane.waiting for lane in await self.store.lanes())

    # --- life ---------------------------------------------------------------------------------

    def start(self, opened: Opened) -> None:
        """The store is open."""
        self._ids = QueueIds(opened.start_number, self.number, self.clock)
        worker = f"{self.number:X}." if self.number else ""
        self._session_prefix = f"{worker}{opened.start_number:X}."
        for trouble in opened.troubles:
            self._observe(Alarm("queue", trouble, is_passing=True))
        if self._space is not None:
            self._space.start()
        self.manager.start(opened)
        self._sweep.start()
        self._begin_refreshing()
        self._begin_routing_anew(self._route_all)
        self._learn(frozenset(_by_name(self._config)))

    def _begin_refreshing(self) -> None:
        if self.delivery.directory is not None:
            self.delivery.directory.begin_refreshing()

    def _begin_routing_anew(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """And again, until the store has done it: nobody else would look for that mail."""

        def failed(why: Failure) -> None:
            if why.check(StoreFailed) is None:
                _log.failure("waiting mail was not routed again", why)
                return
            _log.warn("waiting mail is not routed yet: {why}", why=why.getErrorMessage())
            if not self._is_ending:
                self._routing_again.append(
                    self._reactor.callLater(ROUTE_AGAIN_AFTER, self._begin_routing_anew, run)
                )

        self._routing_again = [each for each in self._routing_again if each.active()]
        Deferred.fromCoroutine(run()).addErrback(failed)

    async def _route_all(self) -> None:
        """The config may be another than before the start, or a reload was cut short."""
        await self._reroute.run(await self.store.lanes())

    async def _move_waiting(self, changed: frozenset[str], *, is_for_all: bool) -> None:
        """After a change: to where it belongs now, and at once where the upstream is another."""
        lanes = await self.store.lanes()
        if is_for_all:
            await self._reroute.run(lanes)
        names = [lane.name for lane in lanes if lane.waiting and upstream_of(lane.name) in changed]
        await self._reroute.hasten(names, self.clock.seconds())

    def _learn(self, upstreams: frozenset[str]) -> None:
        """What those offer whom clients are passed on to."""
        for upstream in dict.fromkeys(r.upstream for r in self._config.routes if r.is_proxied):
            if upstream in upstreams:
                self.delivery.learn(upstream)

    def stop_looking(self) -> None:
        """The end begins."""
        self._is_ending = True
        for each in self._routing_again:
            if each.active():
                each.cancel()
        self._sweep.stop()
        if self.delivery.directory is not None:
            self.delivery.directory.stop_refreshing()
        if self._space is not None:
            self._space.stop()

    # --- another config -----------------------------------------------------------------------

    async def prepare(self, config: Config) -> Prepared:
        """Nothing is changed yet. Raises TlsUnusable, StoreFailed."""
        stored = {state.name: state for state in await self.store.lanes()}
        directory = self._directory(config, self.delivery.directory)
        renewal = self.delivery.prepare(_by_name(config), config.hostname, directory)
        return Prepared(config, renewal, stored)

    def take(self, prepared: Prepared) -> None:
        """From now on."""
        before, config = self._config, prepared.config
        self._config = config
        self.routes.change(config.routes)
        self.next_hops.change(config.upstreams)
        self.delivery.take(prepared.renewal)
        self._begin_refreshing()
        self._reports.change(config.hostname, config.postmaster)
        self._sweep.change(_terms(config))
        if self._space is not None:
            self._space.change(config.queue.min_free)
        self.manager.change(
            _terms(config),
            self.next_hops.fixed,
            self.next_hops.by_domain,
            self._max_in_hand(config),
            prepared.stored,
        )
        changed = prepared.renewal.changed
        for upstream in sorted(changed):
            self.manager.next_hop_changed(upstream)
        self._learn(changed)
        is_for_all = changes_ways(before, config)
        if changed or is_for_all:
            self._begin_routing_anew(partial(self._move_waiting, changed, is_for_all=is_for_all))

    def __repr__(self) -> str:
        return f"<Backstage {self.number} {self.manager!r}>"


def _by_name(config: Config) -> Mapping[str, Upstream]:
    return {upstream.name: upstream for upstream in config.upstreams}


def _terms(config: Config) -> Terms:
    queue = config.queue
    return Terms(queue.retry, queue.warn_after, queue.expire_after)


def _asks_alike(old: Config, new: Config) -> bool:
    """Whether DNS is asked the same, and the answers mean the same."""

    def asked(config: Config) -> object:
        by_domain = [
            (u.name, u.hosts, u.tls, u.ca_file) for u in config.upstreams if u.is_by_domain
        ]
        has_files = any(ca_file for *_, ca_file in by_domain)
        places = [(each.host, each.port) for each in config.listeners]
        return config.dns, config.hostname, places, by_domain, object() if has_files else None

    return asked(old) == asked(new)
