"""The queue as operators see it while no relay runs: a store, and nobody who delivers from it."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from twisted.internet.defer import Deferred

from relay.notices import Held, Observer, Released, Removed
from relay.queue.store import IStore, LaneState, Listed, Selection


class SpoolQueue:
    """What is done here is found by the relay when it starts. `lane_names`: those of the config."""

    def __init__(
        self,
        store: IStore,
        lane_names: Iterable[str],
        observe: Observer,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._lane_names = tuple(lane_names)
        self._observe = observe
        self._now = now

    def find(self, selection: Selection, after: str, limit: int) -> Deferred[Sequence[Listed]]:
        return self._store.find(selection, after, limit)

    def hold(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        return self._store.hold(queue_ids).addCallback(self._say, Held)

    def release(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        return self._store.release(queue_ids, self._now()).addCallback(self._say, Released)

    def remove(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        return self._store.remove(queue_ids).addCallback(self._say, Removed)

    def retry(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        return Deferred.fromCoroutine(self._retry(queue_ids))

    async def _retry(self, queue_ids: Sequence[str]) -> Sequence[str]:
        """Their lanes are to be tried at the start, however long they would back off yet."""
        done = await self._store.retry(queue_ids, self._now())
        if done:
            listed = await self._store.find(Selection(tuple(done)), "", len(done))
            names = {recipient.lane for message in listed for recipient in message.recipients}
            for lane in await self._store.lanes():
                if lane.name in names and lane.next_attempt_at:
                    await self._store.save_lane(replace(lane, next_attempt_at=0.0))
        return done

    def lanes(self) -> Deferred[Sequence[LaneState]]:
        return Deferred.fromCoroutine(self._lanes())

    async def _lanes(self) -> Sequence[LaneState]:
        by_name = {name: LaneState(name) for name in self._lane_names}
        by_name |= {lane.name: lane for lane in await self._store.lanes()}
        return [by_name[name] for name in sorted(by_name)]

    def hold_lane(self, name: str) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._set_held(name, True))

    def release_lane(self, name: str) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._set_held(name, False))

    async def _set_held(self, name: str, is_held: bool) -> bool:
        lane = next((lane for lane in await self._lanes() if lane.name == name), None)
        if lane is None:
            return False
        await self._store.save_lane(replace(lane, is_held=is_held))
        self._observe((Held if is_held else Released)(f"lane {name}", "operator"))
        return True

    def status(self) -> dict[str, object]:
        return {"running": False}

    def now(self) -> float:
        return self._now()

    def _say(
        self, queue_ids: Sequence[str], notice: type[Held] | type[Released] | type[Removed]
    ) -> Sequence[str]:
        for queue_id in queue_ids:
            self._observe(notice(queue_id, "operator"))
        return queue_ids
