"""Finds new lanes for mail whose lane no config knows any more; keeps what no route leads to.

Runs once at start, page by page, beside the traffic.
"""

from collections.abc import Callable, Collection

from relay.notices import Alarm, Observer
from relay.queue.manager import QueueManager
from relay.queue.store import IStore, LaneState, Selection, Work

PAGE = 100

LaneFor = Callable[[str, str, str, str], str | None]
"""(forward_path, reverse_path, listener, user) -> lane, or None."""


class Reroute:
    """Lanes that the manager has are left alone."""

    def __init__(
        self,
        store: IStore,
        manager: QueueManager,
        lane_for: LaneFor,
        observe: Observer,
    ) -> None:
        self._store = store
        self._manager = manager
        self._lane_for = lane_for
        self._observe = observe

    async def run(self, lanes: Collection[LaneState]) -> None:
        """Raises StoreFailed: what was moved stays moved, the rest waits for the next start."""
        for state in lanes:
            if state.name not in self._manager.lanes and state.waiting:
                kept = await self._empty(state.name)
                if kept:
                    self._keep(state.name, kept)

    def _keep(self, name: str, kept: int) -> None:
        what = f"lane {name!r}" if name else "mail without a route"
        why = (
            f"{kept} messages are kept: no route of the config leads anywhere for them; add one"
            " and restart, or remove them with relayctl queue remove"
        )
        self._observe(Alarm(what, why))

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
        message = work.message
        to: dict[int, str] = {}
        for recipient in work.recipients:
            lane = self._lane_for(
                recipient.forward_path,
                message.envelope.reverse_path,
                message.origin.listener,
                message.origin.user,
            )
            if lane is not None and lane != work.lane:
                to[recipient.id] = lane
        if not to or not await self._store.move(message.queue_id, work.lane, to):
            return False
        for lane in set(to.values()):
            self._manager.note_due(lane)
        return len(to) == len(work.recipients)
