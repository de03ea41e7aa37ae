"""The store's contract in plain dicts: for tests, and for trying things out. Keeps nothing.

Every Deferred has fired when it is returned.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from relay.mail.content import Content, InlineContent
from relay.mail.outcome import Delayed, Relayed
from relay.queue.ids import to_int
from relay.queue.in_hand import NOT_WHOLE, InHand
from relay.queue.store import (
    UNROUTED,
    Claim,
    IContentWriter,
    IStore,
    LaneState,
    Listed,
    ListedRecipient,
    Message,
    NewMessage,
    Opened,
    Selection,
    Settled,
    Settlement,
    StoreFailed,
    Work,
)


class _Owed:
    """What a message owes on one lane: recipient id to its last reply."""

    def __init__(self, owed: dict[int, str], next_attempt_at: float) -> None:
        self.owed = owed
        self.next_attempt_at = next_attempt_at
        self.attempt = 0
        self.is_graced = False


class _Kept:
    """One message. `done`: recipient id to (lane, state, last reply)."""

    def __init__(self, number: int, message: Message) -> None:
        self.number = number
        self.message = message
        self.works: dict[str, _Owed] = {}
        self.done: dict[int, tuple[str, str, str]] = {}
        self.is_held = False
        self.is_warned = False

    def work(self, lane: str) -> Work:
        work = self.works[lane]
        recipients = self.message.envelope.recipients
        return Work(
            self.message, lane, tuple(r for r in recipients if r.id in work.owed), work.attempt
        )


@implementer(IContentWriter)
class MemoryWriter:
    def __init__(self) -> None:
        self.size = 0
        self._chunks: list[bytes] = []

    def registerProducer(self, producer: IPushProducer) -> None:
        """Nobody is ever paused: memory is never behind."""

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._chunks.append(chunk)

    def finish(self) -> Content:
        return InlineContent(b"".join(self._chunks))

    def discard(self) -> None:
        self._chunks = []


@implementer(IStore)
class MemoryStore:
    """May be opened again after `close`: then nothing is in hand any more, as after a restart."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lanes: dict[str, LaneState] = {}
        self._in_hand = InHand()
        self._start_number = 0

    def open(self) -> Deferred[Opened]:
        self._start_number += 1
        self._in_hand = InHand(dict(self._in_hand.waiting))
        return succeed(Opened(self._start_number, self._lane_states()))

    def close(self) -> Deferred[None]:
        return succeed(None)

    def new_content(self, queue_id: str) -> MemoryWriter:
        return MemoryWriter()

    # --- attempts -------------------------------------------------------------------------------

    def insert(self, new: NewMessage) -> Deferred[None]:
        return _told(self._insert, (new,))

    def _insert(self, news: Sequence[NewMessage]) -> None:
        """All or nothing."""
        reports = [report for new in news for s in new.settlements for report in s.reports]
        ids = [new.message.queue_id for new in (*news, *reports)]
        if len(set(ids)) != len(ids) or not self._kept.keys().isdisjoint(ids):
            raise StoreFailed(f"a queue id is taken: {', '.join(ids)}")
        made = [_kept(new) for new in news]
        for new, kept in zip(news, made, strict=True):
            self._kept[new.message.queue_id] = kept
            for lane in kept.works:
                self._in_hand.waiting[lane] += 1
            for lane in new.in_hand:
                self._in_hand.take(lane, kept.number, NOT_WHOLE)
        for new in news:
            for settlement in new.settlements:
                self._settle(settlement)

    def claim(self, lane: str, now: float, limit: int) -> Deferred[Claim]:
        waiting = sorted(
            (kept.works[lane].next_attempt_at, kept.number, kept)
            for kept in self._kept.values()
            if lane in kept.works and not kept.is_held and not self._has(lane, kept)
        )
        due = [kept for at, _, kept in waiting if at <= now][:limit]
        left = waiting[len(due) :]
        return succeed(
            Claim(self._take([(kept, lane) for kept in due]), left[0][0] if left else None)
        )

    def settle(self, settlement: Settlement) -> Deferred[Settled]:
        return _told(self._settle, settlement)

    def _settle(self, settlement: Settlement) -> Settled:
        kept = self._kept.get(settlement.queue_id)
        lane = settlement.lane
        if kept is None or lane not in kept.works:
            return Settled(is_removed=False, is_known=False)
        self._insert(settlement.reports)
        self._in_hand.drop(lane, kept.number)
        work = kept.works[lane]
        had_failed = any(state == "failed" for _, state, _ in kept.done.values())
        self._note_outcomes(kept, work, settlement)
        if not work.owed:
            self._drop_work(kept, lane)
        work.is_graced &= work.attempt == settlement.attempt  # put back untried
        work.attempt = settlement.attempt
        work.next_attempt_at = settlement.next_attempt_at
        if not kept.works:
            del self._kept[settlement.queue_id]
        is_removed = not kept.works
        return Settled(is_removed, had_failed=is_removed and had_failed)

    def _note_outcomes(self, kept: _Kept, work: _Owed, settlement: Settlement) -> None:
        for recipient, outcome in settlement.outcomes.items():
            if recipient not in work.owed:
                continue
            if isinstance(outcome, Delayed):
                work.owed[recipient] = outcome.reply.brief()
                continue
            del work.owed[recipient]
            state = "relayed" if isinstance(outcome, Relayed) else "failed"
            kept.done[recipient] = (settlement.lane, state, outcome.reply.brief())

    # --- sweeps ---------------------------------------------------------------------------------

    def claim_expired(self, accepted_before: float, limit: int) -> Deferred[Sequence[Work]]:
        places = [
            (kept, lane)
            for kept in self._waited(accepted_before)
            for lane in self._moving(kept)
            if lane != UNROUTED and not self._is_paused(lane)
            if not kept.works[lane].is_graced and not self._has(lane, kept)
        ]
        return succeed(self._take(places[:limit]))

    def overdue(self, accepted_before: float, limit: int) -> Deferred[Sequence[Work]]:
        works: list[Work] = []
        for kept in self._waited(accepted_before):
            if kept.is_warned or len(works) >= limit:
                continue
            lanes = self._moving(kept)
            if not any(self._has(lane, kept) for lane in lanes):
                works += [kept.work(lane) for lane in lanes]
        return succeed(works)

    def warned(self, queue_id: str, reports: tuple[NewMessage, ...]) -> Deferred[bool]:
        return _told(self._warned, queue_id, reports)

    def _warned(self, queue_id: str, reports: tuple[NewMessage, ...]) -> bool:
        kept = self._kept.get(queue_id)
        if kept is None:
            return False
        self._insert(reports)
        kept.is_warned = True
        return True

    def _waited(self, accepted_before: float) -> list[_Kept]:
        return [
            kept
            for kept in self._by_id()
            if kept.message.accepted_at < accepted_before and not kept.is_held
        ]

    def _moving(self, kept: _Kept) -> list[str]:
        """The message's lanes that no operator holds."""
        return [lane for lane in sorted(kept.works) if not self._is_held(lane)]

    # --- lanes ----------------------------------------------------------------------------------

    def save_lane(self, state: LaneState) -> Deferred[None]:
        ends_hold = self._is_held(state.name) and not state.is_held
        if ends_hold or (self._is_paused(state.name) and not state.is_paused):
            for kept in self._kept.values():
                if state.name in kept.works:
                    kept.works[state.name].is_graced = True
        self._lanes[state.name] = state
        if not (
            state.attempt or state.is_held or state.is_paused
        ):  # says nothing: no domain is remembered for ever
            del self._lanes[state.name]
        return succeed(None)

    def lanes(self) -> Deferred[Sequence[LaneState]]:
        return succeed(self._lane_states())

    def _lane_states(self) -> tuple[LaneState, ...]:
        waiting = self._in_hand.waiting
        names = {*self._lanes, *(name for name, works in waiting.items() if works)}
        return tuple(self._lane_state(name, waiting[name]) for name in sorted(names))

    def _lane_state(self, name: str, waiting: int) -> LaneState:
        kept = self._lanes.get(name, LaneState(name))
        return replace(kept, waiting=waiting)

    def _is_paused(self, lane: str) -> bool:
        return lane in self._lanes and self._lanes[lane].is_paused

    def _is_held(self, lane: str) -> bool:
        return lane in self._lanes and self._lanes[lane].is_held

    def move(self, queue_id: str, lane: str, to: Mapping[int, str]) -> Deferred[bool]:
        kept = self._kept.get(queue_id)
        if kept is None or lane not in kept.works or self._has(lane, kept):
            return succeed(False)
        work = kept.works[lane]
        for recipient, target in to.items():
            if recipient in work.owed and target != lane:
                self._move_to(kept, work, target)[recipient] = work.owed.pop(recipient)
        if not work.owed:
            self._drop_work(kept, lane)
        return succeed(True)

    def _move_to(self, kept: _Kept, work: _Owed, target: str) -> dict[int, str]:
        there = kept.works.get(target)
        if there is None:
            there = kept.works[target] = _Owed({}, 0.0)
            there.is_graced = work.is_graced
            self._in_hand.waiting[target] += 1
        there.attempt = max(there.attempt, work.attempt)
        there.next_attempt_at = 0.0
        return there.owed

    # --- operators ------------------------------------------------------------------------------

    def find(self, selection: Selection, after: str, limit: int) -> Deferred[Sequence[Listed]]:
        conditions = list(_conditions(selection))
        found = [
            kept
            for kept in self._by_id()
            if kept.message.queue_id > after and all(holds(kept) for holds in conditions)
        ]
        return succeed([self._listed(kept) for kept in found[:limit]])

    def works(self, queue_ids: Sequence[str]) -> Deferred[Sequence[Work]]:
        return succeed(
            [
                kept.work(lane)
                for kept in self._among(queue_ids)
                for lane in sorted(kept.works)
                if not self._has(lane, kept)
            ]
        )

    def hold(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        found = self._among(queue_ids)
        for kept in found:
            kept.is_held = True
        return succeed([kept.message.queue_id for kept in found])

    def release(self, queue_ids: Sequence[str], now: float) -> Deferred[Sequence[str]]:
        held = [kept.message.queue_id for kept in self._among(queue_ids) if kept.is_held]
        for queue_id in held:
            self._kept[queue_id].is_held = False
        return self.retry(held, now)

    def retry(self, queue_ids: Sequence[str], now: float) -> Deferred[Sequence[str]]:
        found = self._among(queue_ids)
        for work in [work for kept in found for work in kept.works.values()]:
            work.next_attempt_at = min(work.next_attempt_at, now)
            work.is_graced = True
        return succeed([kept.message.queue_id for kept in found])

    def remove(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        found = self._among(queue_ids)
        for kept in found:
            for lane in list(kept.works):
                self._in_hand.drop(lane, kept.number)
                self._drop_work(kept, lane)
            del self._kept[kept.message.queue_id]
        return succeed([kept.message.queue_id for kept in found])

    # --- the dicts ------------------------------------------------------------------------------

    def _by_id(self) -> list[_Kept]:
        return sorted(self._kept.values(), key=lambda kept: kept.number)

    def _among(self, queue_ids: Sequence[str]) -> list[_Kept]:
        return [self._kept[i] for i in sorted(set(queue_ids)) if i in self._kept]

    def _has(self, lane: str, kept: _Kept) -> bool:
        return self._in_hand.has(lane, kept.number)

    def _take(self, places: Sequence[tuple[_Kept, str]]) -> tuple[Work, ...]:
        for kept, lane in places:
            self._in_hand.take(lane, kept.number, NOT_WHOLE)
        return tuple([kept.work(lane) for kept, lane in places])

    def _drop_work(self, kept: _Kept, lane: str) -> None:
        del kept.works[lane]
        self._in_hand.waiting[lane] -= 1

    def _listed(self, kept: _Kept) -> Listed:
        message = kept.message
        states = {i: (*done, 0, 0.0) for i, done in kept.done.items()}
        for lane, work in kept.works.items():
            state = "in_hand" if self._has(lane, kept) else "waiting"
            for i, last_reply in work.owed.items():
                states[i] = (lane, state, last_reply, work.attempt, work.next_attempt_at)
        recipients = []
        for r in message.envelope.recipients:
            lane, state, last_reply, attempt, at = states[r.id]
            recipients.append(
                ListedRecipient(r.id, r.forward_path, state, lane, attempt, at, last_reply)
            )
        return Listed(
            message.queue_id,
            message.envelope.reverse_path,
            message.origin.listener,
            message.origin.user,
            message.content.size,
            message.accepted_at,
            kept.is_held,
            tuple(recipients),
        )

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._kept)} messages>"


def _told(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    try:
        return succeed(function(*arguments))
    except StoreFailed as error:
        return fail(error)


def _kept(new: NewMessage) -> _Kept:
    message = new.message
    try:
        kept = _Kept(to_int(message.queue_id), message)
    except ValueError as error:
        raise StoreFailed(str(error)) from None
    for lane, ids in new.lanes.items():
        kept.works[lane] = _Owed(dict.fromkeys(ids, ""), message.accepted_at)
    owed = [i for ids in new.lanes.values() for i in ids]
    if len(owed) != len(message.envelope.recipients) or not owed:
        raise StoreFailed(f"{message.queue_id}: not every recipient stands in one lane")
    return kept


def _conditions(selection: Selection) -> Iterator[Callable[[_Kept], bool]]:
    if selection.queue_ids:
        yield lambda kept: kept.message.queue_id in selection.queue_ids
    if selection.lane is not None:
        yield lambda kept: selection.lane in kept.works
    if selection.sender is not None:
        matches = _glob("" if selection.sender == "<>" else selection.sender)
        yield lambda kept: matches(kept.message.envelope.reverse_path)
    if selection.recipient is not None:
        is_meant = _glob(selection.recipient)
        yield lambda kept: any(
            is_meant(r.forward_path)
            for r in kept.message.envelope.recipients
            if r.id not in kept.done
        )
    before = selection.accepted_before
    if before is not None:
        yield lambda kept: kept.message.accepted_at < before


def _glob(pattern: str) -> Callable[[str], bool]:
    """Our globs know * and ? alone."""
    words = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    compiled = re.compile(words, re.IGNORECASE | re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None
