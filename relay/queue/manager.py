"""The queue at work: commits what intake accepts, hands works to the deliverer, records what came.

Keeps the order "record -> commit -> say so" on both ends, and the lanes' memory. Decides nothing
itself: `schedule` plans, `lanes` keeps room and backoff, `reports` writes DSNs, `recorder` records.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from random import Random
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.mail.content import Content, InlineContent
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.mail.outcome import Attempt, Delayed, Outcome, Relayed, SiteFailure
from relay.mail.reply import Reply
from relay.notices import Alarm, AlarmOver, Observer
from relay.queue.backoff import delay_after
from relay.queue.lane_book import LaneBook, upstream_of
from relay.queue.lane_saver import LaneSaver
from relay.queue.lanes import Lane
from relay.queue.recorder import InHand, Recorder
from relay.queue.reports import Owed, ReportMaker
from relay.queue.schedule import Plan, Terms, expire, plan
from relay.queue.store import (
    Claim,
    IStore,
    LaneState,
    Message,
    NewMessage,
    Opened,
    Settled,
    StoreFailed,
    Work,
)
from relay.queue.story import (
    tell_accepted,
    tell_attempted,
    tell_relayed,
    tell_removed,
    tell_reported,
)

MAX_OCTETS_IN_HAND: Final = 64 * 2**20
"""Content held in memory by works in hand, over all lanes; beyond it mail waits in the store."""

CLAIM_RETRY: Final = 1.0
"""Seconds until a lane is looked at again whose work could not be read."""

PUT_BACK_FOR: Final = 60.0
"""Seconds in which a work that was claimed where it does not belong is moved."""

_log = Logger()


class Deliverer(Protocol):
    """Makes one attempt at a next hop."""

    def deliver(
        self,
        lane: str,
        queue_id: str,
        envelope: Envelope,
        content: Content,
        origin: Origin,
        done: Callable[[Attempt | Failure], None],
    ) -> None:
        """`envelope.recipients` are just those owed on `lane`. `done` is told once, perhaps at
        once: what it came to, or a defect in it."""

    def forget_trouble(self, lane: str) -> None:
        """An operator wants the lane tried now: hosts that failed are tried again."""


class QueueManager:
    """Start it with `start`, feed it with `accept`, end it with `stop`."""

    def __init__(
        self,
        store: IStore,
        deliverer: Deliverer,
        clock: IReactorTime,
        terms: Terms,
        reports: ReportMaker,
        observe: Observer,
        lane_names: Iterable[str],
        random: Random,
        max_in_hand: int,
        by_domain: Collection[str] = (),
    ) -> None:
        self.is_astray: Callable[[Work], bool] = _belongs_there
        self.when_stray: Callable[[str], None] = _leave_there
        self._store = store
        self._deliverer = deliverer
        self._clock = clock
        self._terms = terms
        self._reports = reports
        self._observe = observe
        self._random = random
        self.lanes = LaneBook(lane_names, by_domain, max_in_hand)
        self._octets_in_hand = 0
        self._recorder = Recorder(store, clock, observe, self._recorded, self._store_changed)
        self._lane_saver = LaneSaver(store, clock, self._state_of)
        self._is_stopping = False
        self._works_in_hand = 0
        self._unread: set[str] = set()  # lanes whose mail the store cannot tell
        self._when_idle: Deferred[None] | None = None

    # --- life ---------------------------------------------------------------------------------

    def start(self, opened: Opened) -> None:
        """Resume from the stored times."""
        for state in opened.lanes:
            self.lanes.resume(state)
        for lane in self.lanes:
            self._pump(lane)

    def change(
        self,
        terms: Terms,
        lane_names: Iterable[str],
        by_domain: Collection[str],
        max_in_hand: int,
        stored: Mapping[str, LaneState],
    ) -> None:
        """Go on by another config. Mail that is in hand, or is being stored, may belong elsewhere
        by now: `is_astray` is asked, and `when_stray` told its queue id, once it waits."""
        self._terms = terms
        for gone in self.lanes.change(lane_names, by_domain, max_in_hand, stored):
            self._cancel_wake(gone)
            self._can_be_read(gone)
        for lane in self.lanes:
            self._pump(lane)

    def next_hop_changed(self, upstream: str) -> None:
        """It is another one under the same name: its lanes are tried at once."""
        for lane in self.lanes:
            if upstream_of(lane.name) == upstream:
                lane.next_hop_changed()
                self._pump(lane)

    def stop(self) -> Deferred[None]:
        """Take nothing more in hand; fires when every attempt under way is settled."""
        self._is_stopping = True
        for lane in self.lanes:
            self._cancel_wake(lane)
        idle: Deferred[None] = Deferred()
        self._when_idle = idle
        self._lane_saver.stop()
        self._recorder.try_now()
        self._check_idle()
        return idle

    @property
    def is_recording(self) -> bool:
        """False while the store cannot record outcomes: nothing is accepted nor delivered then."""
        return self._recorder.is_recording

    # --- operators ----------------------------------------------------------------------------

    def lane(self, name: str) -> Lane | None:
        """The lane of a next hop that the config knows."""
        return self.lanes.get(name)

    def trouble_of(self, name: str) -> str:
        """The last reply of a lane that is failing."""
        lane = self.lanes.find(name)
        return lane.last_reply if lane is not None else ""

    def lane_names(self) -> Iterable[str]:
        return self.lanes.names()

    def status(self) -> dict[str, object]:
        """For relayctl status."""
        return {
            "in_hand": self._works_in_hand,
            "octets_in_hand": self._octets_in_hand,
            "is_recording": self.is_recording,
            "lanes": {lane.name: repr(lane) for lane in self.lanes},
        }

    def poke(self, name: str) -> None:
        """An operator made work of this lane due, or freed it: a failing lane is probed at once."""
        lane = self.lanes.get(name)
        if lane is not None:
            lane.forget_trouble()
            self._deliverer.forget_trouble(name)
            lane.note_due(0.0)
            self._pump(lane)

    # --- intake -------------------------------------------------------------------------------

    def accept(
        self,
        message: Message,
        lanes: Mapping[str, tuple[int, ...]],
        message_id: str,
        done: Callable[[None], object],
        failed: Callable[[Failure], object],
    ) -> None:
        """Record and commit; only then start what has room, and say so (`done`).

        `failed` with StoreFailed: nothing was accepted.
        """
        if not self.is_recording:
            failed(Failure(StoreFailed("outcomes cannot be recorded")))
            return
        in_hand = self._reserve(message, lanes)
        self._store.insert(NewMessage(message, lanes, tuple(in_hand))).addCallbacks(
            self._accepted,
            self._not_accepted,
            callbackArgs=(message, lanes, in_hand, message_id, done),
            errbackArgs=(message, in_hand, failed),
        )

    def _reserve(self, message: Message, lanes: Mapping[str, tuple[int, ...]]) -> dict[str, Lane]:
        """The lanes that have room for this message at once, their room taken."""
        if self._is_stopping or self._octets_in_hand >= MAX_OCTETS_IN_HAND:
            return {}
        now = self._clock.seconds()
        in_hand = {}
        for name in lanes:
            lane = self.lanes.get(name)
            if lane is not None and lane.room(now) > 0:
                lane.in_hand += 1
                in_hand[name] = lane
        self._octets_in_hand += len(in_hand) * _held_octets(message.content)
        self._works_in_hand += len(in_hand)
        return in_hand

    def _accepted(
        self,
        _: None,
        message: Message,
        lanes: Mapping[str, tuple[int, ...]],
        in_hand: dict[str, Lane],
        message_id: str,
        done: Callable[[None], object],
    ) -> None:
        try:
            tell_accepted(self._observe, message, message_id)
            self._begin(message, lanes, in_hand)
        except Exception:  # noqa: BLE001 - a defect of ours; the message is ours all the same
            _log.failure(
                "{queue_id} is in the queue, but tried only after a restart",
                queue_id=message.queue_id,
            )
        done(None)

    def _begin(
        self, message: Message, lanes: Mapping[str, tuple[int, ...]], in_hand: dict[str, Lane]
    ) -> None:
        for name, ids in lanes.items():
            recipients = message.envelope.recipients
            work = Work(message, name, _those(recipients, ids) if len(lanes) > 1 else recipients)
            if name in in_hand:
                self._attempt(in_hand[name], work)
            else:
                self.waits(work, 0.0)

    def _not_accepted(
        self,
        reason: Failure,
        message: Message,
        in_hand: dict[str, Lane],
        failed: Callable[[Failure], object],
    ) -> None:
        for lane in in_hand.values():
            lane.in_hand -= 1
        self._octets_in_hand -= len(in_hand) * _held_octets(message.content)
        self._works_in_hand -= len(in_hand)
        for lane in in_hand.values():
            self._pump(lane)
        self._check_idle()
        failed(reason)

    # --- hybrid -------------------------------------------------------------------------------

    def take(self, message: Message, lanes: Mapping[str, tuple[int, ...]]) -> list[InHand]:
        """Take a message that is not stored in hand, on all its lanes; [] where one of them is
        down, held, full, or has older mail waiting."""
        now = self._clock.seconds()
        for name in lanes:
            if not self._is_free(self.lanes.get(name), now):
                return []
        reserved = self._reserve(message, lanes)
        if len(reserved) < len(lanes):
            return []
        recipients = message.envelope.recipients
        octets = _held_octets(message.content)
        taken = []
        for name, ids in lanes.items():
            lane = reserved[name]
            work = Work(message, name, _those(recipients, ids) if len(lanes) > 1 else recipients)
            taken.append(InHand(work, lane, octets, True, lane.generation))
        return taken

    @staticmethod
    def _is_free(lane: Lane | None, now: float) -> bool:
        if lane is None or lane.attempt:
            return False
        return lane.room(now) > 0 and not lane.has_due(now)

    def deliver(self, in_hand: InHand, done: Callable[[Attempt, InHand], None]) -> None:
        """Make the attempt; `done` is told once what it came to. A defect of ours delays all its
        recipients, and one in `done` is told to nobody but the log."""
        work = in_hand.work
        message = work.message
        envelope = message.envelope
        if len(work.recipients) != len(envelope.recipients):
            envelope = replace(envelope, recipients=work.recipients)
        ended = partial(self._ended, in_hand, done)
        try:
            self._deliverer.deliver(
                work.lane, message.queue_id, envelope, message.content, message.origin, ended
            )
        except Exception:  # noqa: BLE001 - no attempt was begun
            ended(Failure())

    def _ended(
        self, in_hand: InHand, done: Callable[[Attempt, InHand], None], result: Attempt | Failure
    ) -> None:
        attempt = _broken(result, in_hand) if isinstance(result, Failure) else result
        try:
            done(attempt, in_hand)
        except Exception:  # noqa: BLE001 - nor may the session end that brought it
            _log.failure(
                "what an attempt at {queue_id} came to was not dealt with",
                queue_id=in_hand.work.message.queue_id,
            )

    # --- attempts -----------------------------------------------------------------------------

    def _attempt(self, lane: Lane, work: Work) -> None:
        octets = _held_octets(work.message.content)
        self.deliver(InHand(work, lane, octets, True, lane.generation), self._attempted)

    def _attempted(self, attempt: Attempt, in_hand: InHand) -> None:
        try:
            self.attempted(attempt, in_hand)
        except Exception:  # noqa: BLE001
            self._attempt_broke(in_hand)

    def _attempt_broke(self, in_hand: InHand) -> None:
        """A defect of ours is local trouble: the mail waits, the defect is told."""
        broken = _broken(Failure(), in_hand)
        made, outcomes = in_hand.plan, broken.outcomes
        if made is None:
            self.attempted(broken, in_hand)
        elif in_hand.owed is None:  # the report broke: what would be told has not happened yet
            outcomes |= {i: o for i, o in made.outcomes.items() if type(o) is Relayed}
            at = self._clock.seconds() + delay_after(
                made.attempt, self._terms.retry, self._random.random
            )
            in_hand.plan = Plan(outcomes, made.attempt, at, "done")
            self._recorder.record(in_hand)

    def attempted(self, attempt: Attempt, in_hand: InHand) -> None:
        """Record what an attempt at a stored message came to."""
        if not attempt.is_withdrawn:
            self.judge(attempt, in_hand)
        self.settle(in_hand)

    def settle(self, in_hand: InHand) -> None:
        """Record the plan and what it owes; without a plan the attempt was withdrawn."""
        made = in_hand.plan
        now = self._clock.seconds()
        if made is None:
            if self._is_stopping:
                self.let_go(in_hand)
            else:
                in_hand.plan = Plan({}, in_hand.work.attempt, now, "done")
                self._recorder.record(in_hand)
            return
        in_hand.owed = self._reports.of_settlement(in_hand.work, made.outcomes, now)
        self._recorder.record(in_hand)

    def judge(self, attempt: Attempt, in_hand: InHand) -> Plan:
        """What the attempt means for its lane, and the plan for what it leaves owed."""
        work, lane = in_hand.work, in_hand.lane
        now = self._clock.seconds()
        lane_retry_at = None
        if attempt.site is not None:
            lane_retry_at = self._site_failed(lane, in_hand.generation, attempt.site, now)
        elif lane.site_answered(in_hand.generation):
            self._lane_saver.save(lane.state())
        in_hand.plan = plan(work, attempt, now, self._terms, self._random.random, lane_retry_at)
        return in_hand.plan

    def _site_failed(self, lane: Lane, generation: int, site: SiteFailure, now: float) -> float:
        retry_at = now + delay_after(lane.attempt + 1, self._terms.retry, self._random.random)
        where = f"{site.host}: " if site.host else ""
        if lane.site_failed(
            generation, retry_at, f"{where}{site.reply.brief()}", is_refusal=site.is_refusal
        ):
            self._lane_saver.save(lane.state())
        return lane.next_attempt_at

    def expire(self, work: Work, last_replies: Mapping[int, str]) -> None:
        """A work that was claimed because its time ran out: all it still owes has failed."""
        lane = self.lanes.find(work.lane) or Lane(LaneState(work.lane), 0)
        in_hand = InHand(work, lane, 0, is_attempt=False)
        if lane.attempt:  # what keeps the whole lane waiting was not said to each of its works
            last_replies = {r.id: lane.last_reply for r in work.recipients}
        in_hand.plan = expire(work, last_replies)
        in_hand.owed = self._reports.of_settlement(
            work, in_hand.plan.outcomes, self._clock.seconds()
        )
        self._works_in_hand += 1
        self._recorder.record(in_hand)

    def _state_of(self, name: str) -> LaneState | None:
        """None: the config has no such lane any more. Whether it is held is in the store alone."""
        lane = self.lanes.find(name)
        if lane is None:
            return LaneState(name) if name in self.lanes else None
        return lane.state()

    # --- settlements --------------------------------------------------------------------------

    def _recorded(self, settled: Settled, in_hand: InHand, planned: Plan) -> None:
        if settled.is_known:
            work, lane = in_hand.work, in_hand.lane
            if planned.outcomes:
                tell_attempted(self._observe, work, planned, lane, self._clock.seconds())
            if in_hand.owed is not None:
                self.say_reported(work.message.queue_id, in_hand.owed)
            if settled.is_removed:
                tell_removed(self._observe, work.message, planned, settled.had_failed)
            else:
                self.waits(work, planned.next_attempt_at)
        else:
            tell_relayed(self._observe, in_hand.work, planned, self._clock.seconds())
        self.let_go(in_hand)

    def let_go(self, in_hand: InHand) -> None:
        """It is no longer in hand."""
        lane = in_hand.lane
        lane.in_hand -= in_hand.is_attempt
        self._octets_in_hand -= in_hand.octets
        self._works_in_hand -= 1
        self._pump(lane)
        if self._when_idle is not None:
            self._check_idle()

    def say_reported(self, queue_id: str, owed: Owed) -> None:
        """A DSN was committed: tell of it, and let its lane know."""
        tell_reported(self._observe, queue_id, owed)
        for name in owed.new.lanes:  # it has one recipient
            self.waits(Work(owed.new.message, name, owed.new.message.envelope.recipients), 0.0)

    def _store_changed(self) -> None:
        """The store recovered, or is still ill."""
        if self.is_recording:
            for lane in self.lanes:
                self._pump(lane)
        self._check_idle()

    # --- claims -------------------------------------------------------------------------------

    def waits(self, work: Work, at: float) -> None:
        """A work is in the store, not in hand, and due at that time. Its lane is found by name: the
        one that it was in hand for may be gone, and another one of that name be there."""
        if self.is_astray(work):
            self.when_stray(work.message.queue_id)
        self.note_due(work.lane, at)

    def note_due(self, name: str, at: float = 0.0) -> None:
        """Stored work of a lane is due at that time."""
        lane = self.lanes.get(name)
        if lane is not None:
            lane.note_due(at)
            self._pump(lane)

    def _pump(self, lane: Lane) -> None:
        """Take the lane's due work in hand while it has room; else see to be woken."""
        if self._is_stopping or lane.next_due_at is None or lane.claiming:
            if not lane.is_lasting:
                self._forget_if_empty(lane)
            return
        now = self._clock.seconds()
        if not lane.is_worth_claiming(now):
            self._arm_wake(lane, now)
            return
        if not self.is_recording or self._is_full(lane):
            return
        lane.claiming = lane.room(now)
        lane.next_due_at = None
        self._store.claim(lane.name, now, lane.claiming).addCallbacks(
            self._claimed, self._not_claimed, (lane,), errbackArgs=(lane,)
        )

    def _forget_if_empty(self, lane: Lane) -> None:
        """Nothing waits there any more; its backoff, too, is forgotten."""
        if not self._is_stopping and self.lanes.forget(lane):
            self._cancel_wake(lane)
            if lane.attempt:
                self._lane_saver.save(LaneState(lane.name))

    def _is_full(self, lane: Lane) -> bool:
        """Memory is full; a lane with nothing in hand still gets its turn, so that none starves."""
        return self._octets_in_hand >= MAX_OCTETS_IN_HAND and lane.in_hand > 0

    def _claimed(self, claim: Claim, lane: Lane) -> None:
        lane.claiming = 0
        self._can_be_read(lane)
        if self._is_stopping:  # nobody may wait for their outcomes: the next start has them
            return
        if claim.next_due_at is not None:
            lane.note_due(claim.next_due_at)
        lane.in_hand += len(claim.works)
        self._works_in_hand += len(claim.works)
        for work in claim.works:
            octets = _held_octets(work.message.content)
            self._octets_in_hand += octets
            if lane.is_closed or self.is_astray(work):
                self._put_back(InHand(work, lane, octets))
            else:
                self._attempt(lane, work)
        self._pump(lane)

    def _put_back(self, in_hand: InHand) -> None:
        """Untried. Whoever moves it makes it due; until then no claim is to be in the way."""
        at = self._clock.seconds() + PUT_BACK_FOR
        in_hand.plan = Plan({}, in_hand.work.attempt, at, "done")
        self._recorder.record(in_hand)

    def _not_claimed(self, reason: Failure, lane: Lane) -> None:
        reason.trap(StoreFailed)
        if lane.name not in self._unread:
            self._unread.add(lane.name)
            _log.error("lane {name}: {why}", name=lane.name, why=reason.getErrorMessage())
            self._observe(Alarm(f"mail for {lane.name}", reason.getErrorMessage()))
        lane.claiming = 0
        lane.note_due(self._clock.seconds() + CLAIM_RETRY)
        self._pump(lane)

    def _can_be_read(self, lane: Lane) -> None:
        """Or nobody wants to any more."""
        if lane.name in self._unread:
            self._unread.discard(lane.name)
            self._observe(AlarmOver(f"mail for {lane.name}"))

    def _arm_wake(self, lane: Lane, now: float) -> None:
        at = lane.wake_at()
        armed = lane.wake_call
        if armed is not None and at is not None and now < armed.getTime() <= at:
            return  # it looks again then
        self._cancel_wake(lane)
        if at is not None and at > now:
            lane.wake_call = self._clock.callLater(at - now, self._woken, lane)

    def _woken(self, lane: Lane) -> None:
        lane.wake_call = None
        self._pump(lane)

    def _cancel_wake(self, lane: Lane) -> None:
        call, lane.wake_call = lane.wake_call, None
        if call is not None:
            call.cancel()

    def _check_idle(self) -> None:
        """Nothing is under way, or nothing that can be recorded: the stop need not wait."""
        if self._when_idle is None or self._recorder.is_trying:
            return
        if self._works_in_hand == self._recorder.waiting:
            done, self._when_idle = self._when_idle, None
            done.callback(None)


def _those(recipients: tuple[Recipient, ...], ids: tuple[int, ...]) -> tuple[Recipient, ...]:
    return tuple([recipient for recipient in recipients if recipient.id in ids])


def _belongs_there(work: Work) -> bool:
    """Nobody routes mail anew."""
    return False


def _leave_there(queue_id: str) -> None:
    """Likewise."""


def _broken(reason: Failure, in_hand: InHand) -> Attempt:
    _log.failure("delivery of {queue_id} broke", reason, queue_id=in_hand.work.message.queue_id)
    waits = Delayed(Reply(451, "4.3.0", ("local trouble while delivering",)), "")
    outcomes: dict[int, Outcome] = {r.id: waits for r in in_hand.work.recipients}
    return Attempt(outcomes)


def _held_octets(content: Content) -> int:
    """What a work in hand keeps in memory: content in a file is read as it goes."""
    return content.size if type(content) is InlineContent else 0
