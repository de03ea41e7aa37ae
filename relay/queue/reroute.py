"""Finds new lanes for waiting mail by the routes of now; keeps what no route leads to.

Runs page by page beside the traffic, over the whole queue: at start and after a change of the
config. What is in hand or on its way into the store meanwhile is looked at once it waits.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from relay.notices import Alarm, Observer
from relay.queue.lane_book import is_eased
from relay.queue.manager import QueueManager
from relay.queue.store import (
    UNROUTED,
    IStore,
    LaneState,
    Listed,
    Selection,
    StoreFailed,
    Work,
)

PAGE = 100

REST = 0.02
"""Seconds after each full page: several times what one takes where nothing moves, for the traffic.
A million messages are looked at in four minutes; what falls due meanwhile is looked at then."""

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
        clock: IReactorTime,
        begin: Callable[[Callable[[], Coroutine[Any, Any, None]]], object],
        eased: Callable[[str], str] = lambda lane: lane,
    ) -> None:
        self._clock = clock
        self._begin = begin
        self._eased = eased  # the lane for mail that waives TLS, instead of this one
        self._store = store
        self._manager = manager
        self._lane_for = lane_for
        self._observe = observe
        self._strays: list[str] = []  # while there are any, they are being moved

    async def run(self, lanes: Collection[LaneState]) -> None:
        """Raises StoreFailed: what was moved stays moved; run it again for the rest."""
        kept: Counter[str] = Counter()
        if any(state.waiting for state in lanes):
            async for page in self._pages(Selection()):
                kept.update(await self._route_all(page))
        for state in lanes:
            if state.name in self._manager.lanes:
                continue
            if kept[state.name]:
                self._keep(state.name, kept[state.name])
            elif state.attempt and not state.is_held:  # that nobody reads about it for ever
                await self._store.save_lane(LaneState(state.name))

    async def hasten(self, lanes: Iterable[str], now: float) -> None:
        """Make due what waits there for a time of its own: the next hop is another by now."""
        for name in lanes:
            async for page in self._pages(Selection(lane=name)):
                late = [
                    m.queue_id
                    for m in page
                    if any(r.lane == name and r.next_attempt_at > now for r in m.recipients)
                ]
                if late:
                    await self._store.retry(late, now)
                    self._manager.note_due(name)

    async def _pages(self, selection: Selection) -> AsyncIterator[Sequence[Listed]]:
        """What is selected, with a rest between two pages; the last one may be empty."""
        after = ""
        while True:
            page = await self._store.find(selection, after, PAGE)
            yield page
            if len(page) < PAGE:
                return
            after = page[-1].queue_id
            await deferLater(self._clock, REST)

    # --- one by one -----------------------------------------------------------------------------

    def is_astray(self, work: Work) -> bool:
        """Whether it does not belong where it is, or nobody would look for it there."""
        envelope, origin = work.message.envelope, work.message.origin
        reverse_path, lane = envelope.reverse_path, work.lane
        for recipient in work.recipients:
            found = self._way(
                recipient.forward_path, reverse_path, origin.listener, origin.user, lane
            )
            if found is None:
                if lane != UNROUTED and lane not in self._manager.lanes:
                    return True
            elif found != lane:
                return True
        return False

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
                found = await self._store.find(Selection(tuple(page)), "", PAGE)
                kept.update(await self._route_all(found))
            except StoreFailed:
                raise
            except Exception:  # a defect of ours: the next ones are to be moved all the same
                self._strays.clear()
                raise
            del self._strays[: len(page)]
        for lane, count in kept.items():
            if lane != UNROUTED and lane not in self._manager.lanes:
                self._keep(lane, count)

    def _keep(self, name: str, kept: int) -> None:
        what = f"lane {name!r}" if name else "mail without a route"
        why = (
            f"{kept} messages are kept: no route of the config leads anywhere for them; add one"
            " and reload, or remove them with relayctl queue remove"
        )
        self._observe(Alarm(what, why, is_passing=True))

    async def _route_all(self, page: Iterable[Listed]) -> list[str]:
        """At once: their moves share a commit. Yields the lanes where some stay, one for each."""
        routed: Any = await DeferredList(
            [Deferred.fromCoroutine(self._route(listed)) for listed in page], consumeErrors=True
        )
        stays: list[str] = []
        for is_done, result in routed:
            if not is_done:
                result.raiseException()
            stays += result
        return stays

    async def _route(self, listed: Listed) -> list[str]:
        """Move what of it waits elsewhere than it belongs; yields the lanes where some stays."""
        to: dict[str, dict[int, str]] = {}
        stays: dict[str, None] = {}
        for recipient in listed.recipients:
            if recipient.state == "waiting":
                lane = recipient.lane
                found = self._way(
                    recipient.forward_path,
                    listed.reverse_path,
                    listed.listener,
                    listed.user,
                    lane,
                )
                if found is None or found == lane:
                    stays[lane] = None
                else:
                    to.setdefault(lane, {})[recipient.id] = found
        for lane, targets in to.items():
            if not await self._store.move(listed.queue_id, lane, targets):
                continue  # in hand by now: it is looked at once it waits again
            for target in dict.fromkeys(targets.values()):
                self._manager.note_due(target)
        return list(stays)

    def _way(
        self, forward_path: str, reverse_path: str, listener: str, user: str, lane: str
    ) -> str | None:
        """The lane of a recipient who waits on `lane`."""
        found = self._lane_for(forward_path, reverse_path, listener, user)
        return self._eased(found) if found is not None and is_eased(lane) else found
