"""What operators may do to the queue: the store's operations, told to lanes and log.

Selecting many messages and reporting progress is the caller's; here ids are acted on.
"""

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from relay.notices import Held, Observer, Released, Removed
from relay.queue.lanes import Lane
from relay.queue.manager import QueueManager
from relay.queue.store import IStore, LaneState, Listed, Selection


class QueueControl:
    """The operators' side of a running queue."""

    def __init__(
        self,
        store: IStore,
        manager: QueueManager,
        clock: IReactorTime,
        observe: Observer,
        more_status: Callable[[], dict[str, object]] = dict,
    ) -> None:
        self._more_status = more_status
        self._store = store
        self._manager = manager
        self._clock = clock
        self._observe = observe

    def find(self, selection: Selection, after: str, limit: int) -> Deferred[Sequence[Listed]]:
        return self._store.find(selection, after, limit)

    def lanes(self) -> Deferred[Sequence[LaneState]]:
        """Every lane, with or without waiting mail."""
        return self._store.lanes().addCallback(self._with_known)

    def _with_known(self, stored: Sequence[LaneState]) -> Sequence[LaneState]:
        by_name = {state.name: state for state in stored}
        for name in self._manager.lane_names():
            by_name.setdefault(name, LaneState(name))
        return [by_name[name] for name in sorted(by_name)]

    def hold(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        """Acts after a running attempt."""
        return self._store.hold(queue_ids).addCallback(self._say, Held)

    def remove(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        """No DSN is sent."""
        return self._store.remove(queue_ids).addCallback(self._say, Removed)

    def release(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        """Their works are due at once; one attempt comes before expiry is judged."""
        return Deferred.fromCoroutine(self._release(queue_ids))

    def retry(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        """Their works are due at once; a failing lane is probed at once."""
        return Deferred.fromCoroutine(self._retry(queue_ids))

    async def _release(self, queue_ids: Sequence[str]) -> Sequence[str]:
        done = await self._store.release(queue_ids, self._clock.seconds())
        self._say(done, Released)
        await self._poke_lanes_of(done)
        return done

    async def _retry(self, queue_ids: Sequence[str]) -> Sequence[str]:
        done = await self._store.retry(queue_ids, self._clock.seconds())
        await self._poke_lanes_of(done)
        return done

    def _say(
        self, queue_ids: Sequence[str], notice: type[Held] | type[Released] | type[Removed]
    ) -> Sequence[str]:
        for queue_id in queue_ids:
            self._observe(notice(queue_id, "operator"))
        return queue_ids

    async def _poke_lanes_of(self, queue_ids: Sequence[str]) -> None:
        works = await self._store.works(queue_ids)
        for name in dict.fromkeys(work.lane for work in works):
            self._manager.poke(name)

    def hold_lane(self, name: str) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._set_held(name, True))

    def release_lane(self, name: str) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._set_held(name, False))

    async def _set_held(self, name: str, is_held: bool) -> bool:
        lane = self._manager.lane(name)
        if lane is None:
            return False
        lane.is_held = is_held
        await self._store.save_lane(lane.state())
        self._say_lane(lane)
        if not is_held:
            self._manager.poke(name)
        return True

    def _say_lane(self, lane: Lane) -> None:
        notice = Held if lane.is_held else Released
        self._observe(notice(f"lane {lane.name}", "operator"))

    def now(self) -> float:
        return self._clock.seconds()

    def status(self) -> dict[str, object]:
        """The queue's own and what the rest of the relay adds."""
        return {**self._more_status(), **self._manager.status()}
