"""Hybrid delivery: a message is tried upstream while its client waits, and stored only when needed.

Accepted upstream: 250, nothing is written. Every recipient refused for good: the client is told,
no DSN. Else what is still owed is committed, with what was decided and its DSN, then 250. Client
gone: no 250 was given, nothing is stored. Room, lanes and failure policy are the manager's.
"""

from collections.abc import Callable, Mapping
from enum import Enum

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from relay.mail.outcome import Attempt, Delayed, Failed, Outcome, Relayed
from relay.mail.reply import Reply
from relay.notices import Observer, Removed
from relay.queue.manager import QueueManager
from relay.queue.recorder import InHand
from relay.queue.reports import Owed, ReportMaker
from relay.queue.store import IStore, Message, NewMessage, StoreFailed, Work
from relay.queue.story import tell_accepted, tell_attempted, tell_relayed
from relay.waits import Wait, Waits

Lanes = Mapping[str, tuple[int, ...]]


class _State(Enum):
    TRYING = "the client waits for the upstream"
    STORING = "the client waits for the store"
    STORED = "in the queue; attempts that still run settle it"
    OVER = "nobody waits, nothing is stored"


class Hybrid:
    """Takes messages of hybrid routes with `accept`."""

    def __init__(
        self,
        manager: QueueManager,
        store: IStore,
        reports: ReportMaker,
        clock: IReactorTime,
        observe: Observer,
    ) -> None:
        self.manager = manager
        self.store = store
        self.reports = reports
        self.clock = clock
        self.observe = observe
        self._waits: dict[float, Waits] = {}  # by their length: one for each in the config

    def waits_of(self, seconds: float) -> Waits:
        if seconds not in self._waits:
            self._waits[seconds] = Waits(self.clock, seconds)
        return self._waits[seconds]

    def accept(
        self,
        message: Message,
        lanes: Lanes,
        message_id: str,
        wait: float,
        discard: Callable[[], None],
    ) -> "Trial":
        """To be begun. `wait` in seconds. `discard` is called where the content is not needed any
        more and was not stored. A lane that is down, held or full: stored untried."""
        return Trial(self, message, lanes, message_id, wait, discard)


def _to_nobody(_: object) -> None:
    """It was told, or the client is gone."""


class Trial:
    """One such message."""

    __slots__ = (
        "_answer",
        "_discard",
        "_ended",
        "_failed",
        "_hybrid",
        "_lanes",
        "_message",
        "_message_id",
        "_running",
        "_state",
        "_wait",
        "_wait_for",
        "_waits",
    )

    def __init__(
        self,
        hybrid: Hybrid,
        message: Message,
        lanes: Lanes,
        message_id: str,
        wait: float,
        discard: Callable[[], None],
    ) -> None:
        self._hybrid = hybrid
        self._message = message
        self._lanes = lanes
        self._message_id = message_id
        self._wait_for = wait
        self._discard = discard
        self._running: list[InHand] = []
        self._ended: list[InHand] = []  # `plan` is None where the attempt was withdrawn
        self._state = _State.TRYING
        self._waits: Waits | None = None
        self._wait: Wait | None = None
        self._answer: Callable[[Reply | None], object]
        self._failed: Callable[[Failure], object]

    def begin(
        self, answer: Callable[[Reply | None], object], failed: Callable[[Failure], object]
    ) -> None:
        """One of them is called once. `answer`: None for 250, or the upstream's refusal; `failed`:
        with StoreFailed, where what is owed could not be stored."""
        self._answer, self._failed = answer, failed
        hybrid = self._hybrid
        if not hybrid.manager.is_recording:
            self._give_up(Failure(StoreFailed("outcomes cannot be recorded")))
            return
        taken = hybrid.manager.take(self._message, self._lanes)
        if not taken:
            self._state = _State.STORING
            hybrid.manager.accept(
                self._message, self._lanes, self._message_id, self._tell, self._give_up
            )
            return
        self._running = list(taken)
        self._waits = hybrid.waits_of(self._wait_for)
        self._wait = self._waits.begin(self._rang)
        for in_hand in taken:
            hybrid.manager.deliver(in_hand, self._attempted)

    def client_left(self) -> None:
        """Attempts under way end by themselves; whom they reach is told."""
        if self._state is _State.TRYING:
            self._cancel_wait()
            self._end()
            self._answer = self._failed = _to_nobody

    def _rang(self) -> None:
        self._store()

    def _cancel_wait(self) -> None:
        if self._waits is not None and self._wait is not None:
            self._waits.cancel(self._wait)

    def _tell(self, refusal: Reply | None) -> None:
        answer = self._answer
        self._answer = self._failed = _to_nobody  # who asked holds this trial, too
        answer(refusal)

    def _fail(self, reason: Failure) -> None:
        failed = self._failed
        self._answer = self._failed = _to_nobody
        failed(reason)

    # --- attempts end -------------------------------------------------------------------------

    def _attempted(self, attempt: Attempt, in_hand: InHand) -> None:
        manager = self._hybrid.manager
        self._running.remove(in_hand)
        if self._state is _State.STORED:
            manager.attempted(attempt, in_hand)
            return
        if not attempt.is_withdrawn:
            manager.judge(attempt, in_hand)
        self._ended.append(in_hand)
        if self._state is _State.OVER:
            self._end()
        elif self._state is _State.TRYING and not self._running:
            self._cancel_wait()
            self._decide()

    def _decide(self) -> None:
        """All have ended while the client waited."""
        outcomes = self._outcomes()
        kinds = [type(outcome) for outcome in outcomes.values()]
        recipients = self._message.envelope.recipients
        if len(outcomes) < len(recipients) or Delayed in kinds:
            self._store()
        elif Relayed not in kinds:
            self._refuse(outcomes[recipients[0].id].reply)
        else:
            has_failed = Failed in kinds
            owed = self._owed(outcomes)
            if owed is None:
                self._done(None, has_failed)
                return
            self._state = _State.STORING
            self._hybrid.store.insert(owed.new).addCallbacks(
                lambda _: self._done(owed, has_failed), self._not_stored
            )

    def _outcomes(self) -> dict[int, Outcome]:
        return {
            recipient: outcome
            for in_hand in self._ended
            if in_hand.plan is not None
            for recipient, outcome in in_hand.plan.outcomes.items()
        }

    def _owed(self, outcomes: Mapping[int, Outcome]) -> Owed | None:
        """One DSN for all that is decided, whatever the lane."""
        whole = Work(self._message, "", self._message.envelope.recipients)
        return self._hybrid.reports.of_settlement(whole, outcomes, self._hybrid.clock.seconds())

    # --- nothing is owed any more -------------------------------------------------------------

    def _done(self, owed: Owed | None, has_failed: bool) -> None:
        """Accepted upstream, at least for some; who was refused has his DSN in the queue."""
        hybrid, queue_id = self._hybrid, self._message.queue_id
        tell_accepted(hybrid.observe, self._message, self._message_id, "hybrid")
        self._tell_ended()
        if owed is not None:
            hybrid.manager.say_reported(queue_id, owed)
        hybrid.observe(Removed(queue_id, "failed" if has_failed else "done"))
        self._end()
        self._tell(None)

    def _refuse(self, refusal: Reply) -> None:
        """Nobody was reached, and the client still holds the message: its own to report."""
        self._tell_ended()
        self._end()
        self._tell(refusal)

    def _tell_ended(self) -> None:
        hybrid = self._hybrid
        now = hybrid.clock.seconds()
        for in_hand in self._ended:
            if in_hand.plan is not None:
                tell_attempted(hybrid.observe, in_hand.work, in_hand.plan, in_hand.lane, now)
                in_hand.plan = None

    def _end(self) -> None:
        """Nothing of it is stored. Tells whom it reached all the same, if that was not told."""
        self._state = _State.OVER
        hybrid = self._hybrid
        ended, self._ended = self._ended, []
        for in_hand in ended:
            if in_hand.plan is not None:
                now = hybrid.clock.seconds()
                tell_relayed(hybrid.observe, in_hand.work, in_hand.plan, now)
            hybrid.manager.let_go(in_hand)
        if not self._running:
            self._discard()

    # --- something is owed --------------------------------------------------------------------

    def _store(self) -> None:
        """Commit what is owed and what is decided; attempts that run on keep it in hand."""
        self._state = _State.STORING
        owed = self._owed(self._outcomes())
        reports = () if owed is None else (owed.new,)
        settlements = []
        for in_hand in self._ended:
            if in_hand.plan is not None:
                settlements.append(in_hand.settlement(reports))
                reports = ()
        new = NewMessage(
            self._message,
            self._lanes,
            tuple(in_hand.lane.name for in_hand in self._running),
            tuple(settlements),
        )
        self._hybrid.store.insert(new).addCallbacks(
            self._stored, self._not_stored, callbackArgs=(len(self._ended), owed)
        )

    def _stored(self, _: None, decided: int, owed: Owed | None) -> None:
        """`decided`: so many attempts stand in the commit; those that ended since do not."""
        hybrid = self._hybrid
        manager = hybrid.manager
        self._state = _State.STORED
        since = self._ended[decided:]
        del self._ended[decided:]
        due = [
            (ended.work, ended.plan.next_attempt_at if ended.plan else 0.0) for ended in self._ended
        ]
        tell_accepted(hybrid.observe, self._message, self._message_id)
        self._tell_ended()
        if owed is not None:
            manager.say_reported(self._message.queue_id, owed)
        for in_hand in self._ended:
            manager.let_go(in_hand)
        for work, at in due:
            manager.waits(work, at)
        for in_hand in since:
            manager.settle(in_hand)
        self._tell(None)

    def _not_stored(self, reason: Failure) -> None:
        self._end()
        self._fail(reason)

    def _give_up(self, reason: Failure) -> None:
        """It was never tried."""
        self._state = _State.OVER
        self._discard()
        self._fail(reason)

    def __repr__(self) -> str:
        return f"<Trial {self._message.queue_id} {self._state.name.lower()}>"
