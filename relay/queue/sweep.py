"""Looks over waiting mail at intervals: what is too old has failed, what is late is warned about.

Works in bounded batches; what is held by an operator is passed over by the store.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.queue.manager import QueueManager
from relay.queue.reports import ReportMaker
from relay.queue.schedule import Terms
from relay.queue.store import IStore, Selection, StoreFailed, Work

BATCH = 200
"""Messages judged in one go: bounds memory and the time other operations wait."""

MAX_INTERVAL = 60.0
MIN_INTERVAL = 0.25

_log = Logger()


class Sweep:
    """Start and stop it with the queue."""

    def __init__(
        self,
        store: IStore,
        manager: QueueManager,
        reports: ReportMaker,
        terms: Terms,
        clock: IReactorTime,
    ) -> None:
        self._store = store
        self._manager = manager
        self._reports = reports
        self._terms = terms
        self._clock = clock
        self._loop = LoopingCall(self._sweep)
        self._loop.clock = clock

    def start(self) -> None:
        """The first look comes after an interval: what grew too old while the relay was down is
        due, and gets its attempt."""
        self._loop.start(self._interval(), now=False)

    def change(self, terms: Terms) -> None:
        """Those of another config, from the next look on."""
        self._terms = terms
        self._loop.interval = self._interval()

    def _interval(self) -> float:
        shortest = min(self._terms.expire_after, self._terms.warn_after or MAX_INTERVAL)
        return min(MAX_INTERVAL, max(MIN_INTERVAL, shortest / 20))

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _sweep(self) -> Deferred[None] | None:
        if not self._manager.is_recording:
            return None
        return Deferred.fromCoroutine(self._sweep_all()).addErrback(self._swept_badly)

    async def _sweep_all(self) -> None:
        now = self._clock.seconds()
        await self._expire(now)
        if self._terms.warn_after is not None:
            await self._warn(now)

    def _swept_badly(self, reason: Failure) -> None:
        """The next round tries again; whether the store is ill is the manager's to judge."""
        if reason.check(StoreFailed) is None:
            _log.failure("the sweep of the queue broke", reason)
            return
        _log.warn("the sweep of the queue: {why}", why=reason.getErrorMessage())

    async def _expire(self, now: float) -> None:
        accepted_before = now - self._terms.expire_after
        while self._loop.running:
            works = await self._store.claim_expired(accepted_before, BATCH)
            last_replies = await self._last_replies(works)
            for work in works if self._loop.running else ():
                self._manager.expire(work, last_replies.get(work.message.queue_id, {}))
            if len(works) < BATCH:
                return

    async def _last_replies(self, works: Sequence[Work]) -> Mapping[str, Mapping[int, str]]:
        """By queue id and recipient id. What is in hand by now expires without them, too."""
        queue_ids = tuple({work.message.queue_id for work in works})
        if not queue_ids:
            return {}
        try:
            found = await self._store.find(Selection(queue_ids), "", len(queue_ids))
        except StoreFailed:
            return {}
        return {m.queue_id: {r.id: r.last_reply for r in m.recipients} for m in found}

    async def _warn(self, now: float) -> None:
        accepted_before = now - (self._terms.warn_after or 0.0)
        while self._loop.running:
            works: Sequence[Work] = await self._store.overdue(accepted_before, BATCH)
            for queue_id, of_message in groupby(works, lambda work: work.message.queue_id):
                await self._warn_of(queue_id, list(of_message), now)
            if len(works) < BATCH:
                return

    def _warn_of(self, queue_id: str, works: list[Work], now: float) -> Deferred[None]:
        gives_up_at = works[0].message.accepted_at + self._terms.expire_after
        owed = self._reports.of_delay(works, now, gives_up_at, self._manager.trouble_of)
        recorded = self._store.warned(queue_id, () if owed is None else (owed.new,))

        def warned(is_known: bool) -> None:
            if is_known and owed is not None:
                self._manager.say_reported(queue_id, owed)

        return recorded.addCallback(warned)
