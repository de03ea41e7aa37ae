"""Finds new lanes for waiting mail by the routes of now; keeps what no route leads to.

Runs page by page beside the traffic: at start for lanes that no config knows any more, after a
change of the config for all of them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

from relay.notices import Alarm, Observer
from relay.queue.lane_book import is_eased
from relay.queue.manager import QueueManager
from relay.queue.store import UNROUTED, IStore, LaneState, Selection, StoreFailed, Work

PAGE = 100

LaneFor = Callable[[str, str, str, str], str | None]
"""(forward_path, reverse_path, listener, user) -> lane, or None."""


class Reroute:
    """What no route leads to stays where it is: in a lane that the manager has it goes on."""

    def __init__(
        self,
        store: IStore,
        manager: QueueManager,
        lane_for: LaneFor,
        observe: Observer,
        begin: Callable[[Callable[[], Coroutine[Any, Any, None]]], object],
        eased: Callable[[str], str] = lambda lane: lane,
    ) -> None:
        self._begin = begin
        self._eased = eased  # the lane for mail that waives TLS, instead of this one
        self._store = store
        self._manager = manager
        self._lane_for = lane_for
        self._observe = observe
        self._strays: list[str] = []  # while there are any, they are being moved

    async def run(self, lanes: Collection[LaneState], *, is_for_all: bool = False) -> None:
        """Without `is_for_all` lanes that the manager has are left alone.

        Raises StoreFailed: what was moved stays moved, the rest waits for the next start.
        """
        for state in lanes:
            is_known = state.name in self._manager.lanes
            kept = 0
            if state.waiting and (is_for_all or not is_known):
                kept = await self._empty(state.name)
            if is_known:
                continue
            if kept:
                self._keep(state.name, kept)
            elif state.attempt and not state.is_held:  # that nobody reads about it for ever
                await self._store.save_lane(LaneState(state.name))

    async def hasten(self, lanes: Iterable[str], now: float) -> None:
        """Make due what waits there for a time of its own: the next hop is another by now."""
        for name in lanes:
            after = ""
            while page := await self._store.find(Selection(lane=name), after, PAGE):
                after = page[-1].queue_id
                late = [
                    m.queue_id
                    for m in page
                    if any(r.lane == name and r.next_attempt_at > now for r in m.recipients)
                ]
                if late:
                    await self._store.retry(late, now)
                    self._manager.note_due(name)

    def stray(self, queue_id: str) -> None:
        """A message that waits where it may not belong: `begin` is asked to run `move_strays`."""
        self._strays.append(queue_id)
        if len(self._strays) == 1:
            self._begin(self.move_strays)

    async def move_strays(self) -> None:
        """All that are known by its end. Raises StoreFailed: the rest is known still."""
        kept: Counter[str] = Counter()
        while page := self._strays[:PAGE]:
            try:
                for work in await self._store.works(page):
                    is_kept = not await self._move(work)
                    kept[work.lane] += is_kept and work.lane not in self._manager.lanes
            except StoreFailed:
                raise
            except Exception:  # a defect of ours: the next ones are to be moved all the same
                self._strays.clear()
                raise
            del self._strays[: len(page)]
        for lane, count in kept.items():
            if count and lane != UNROUTED:
                self._keep(lane, count)

    def _keep(self, name: str, kept: int) -> None:
        what = f"lane {name!r}" if name else "mail without a route"
        why = (
            f"{kept} messages are kept: no route of the config leads anywhere for them; add one"
            " and reload, or remove them with relayctl queue remove"
        )
        self._observe(Alarm(what, why, is_passing=True))

    async def _empty(self, name: str) -> int:
        """Move what has a route now; yields the number of messages that stay."""
        after, kept = "", 0
        while page := await self._store.find(Selection(lane=name), after, PAGE):
            after = page[-1].queue_id
            for work in await self._store.works([listed.queue_id for listed in page]):
                if work.lane == name:
                    kept += not await self._move(work)
        return kept

    async def _move(self, work: Work) -> bool:
        """Whether none of it stays there."""
        message = work.message
        to: dict[int, str] = {}
        for recipient in work.recipients:
            lane = self._lane_for(
                recipient.forward_path,
                message.envelope.reverse_path,
                message.origin.listener,
                message.origin.user,
            )
            if lane is not None and is_eased(work.lane):
                lane = self._eased(lane)
            if lane is not None and lane != work.lane:
                to[recipient.id] = lane
        if not to or not await self._store.move(message.queue_id, work.lane, to):
            return False
        for lane in dict.fromkeys(to.values()):
            self._manager.note_due(lane)
        return len(to) == len(work.recipients)
