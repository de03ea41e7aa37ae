"""Records settlements, and keeps those that the store could not record until it can.

Delivering on without a record would make duplicates: while `is_recording` is False nothing is to
be accepted or attempted. One small record is tried at intervals; what waits follows once it is
through.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.notices import Alarm, AlarmOver, Observer
from relay.queue.lanes import Lane
from relay.queue.reports import Owed
from relay.queue.schedule import Plan
from relay.queue.store import IStore, NewMessage, Settled, Settlement, Work

RETRY = 1.0
"""Seconds between tries while the store fails."""

_log = Logger()


@dataclass(slots=True, init=False)
class InHand:
    """A work in hand, from claim to record. `octets`: what it holds of memory.

    `is_attempt` False: taken only to be expired, outside of the lane's room. `plan` and `owed`
    stand once the attempt is over, for the record and for what is said after it.
    """

    work: Work
    lane: Lane
    octets: int
    is_attempt: bool
    generation: int
    plan: Plan | None
    owed: Owed | None

    def __init__(
        self,
        work: Work,
        lane: Lane,
        octets: int,
        is_attempt: bool = True,
        generation: int = 0,
    ) -> None:
        self.work = work
        self.lane = lane
        self.octets = octets
        self.is_attempt = is_attempt
        self.generation = generation
        self.plan = None
        self.owed = None

    def settlement(self, reports: tuple[NewMessage, ...]) -> Settlement:
        """The record of its plan, with the DSNs that go with it."""
        planned = self.plan
        assert planned is not None
        return Settlement(
            self.work.message.queue_id,
            self.work.lane,
            planned.outcomes,
            planned.attempt,
            planned.next_attempt_at,
            reports,
        )


class Recorder:
    """`recorded` hears of each settlement once it is committed, `changed` of the store's health."""

    def __init__(
        self,
        store: IStore,
        clock: IReactorTime,
        observe: Observer,
        recorded: Callable[[Settled, InHand, Plan], None],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._observe = observe
        self._recorded = recorded
        self._changed = changed
        self._waiting: list[InHand] = []
        self._retry_call: IDelayedCall | None = None
        self.is_trying = False  # whether the store is well again

    @property
    def is_recording(self) -> bool:
        return self._retry_call is None

    @property
    def waiting(self) -> int:
        """Settlements that could not be recorded yet."""
        return len(self._waiting)

    def record(self, in_hand: InHand) -> None:
        """Record the outcomes with the DSN they cause, commit, then say so."""
        planned = in_hand.plan
        assert planned is not None
        settlement = in_hand.settlement(() if in_hand.owed is None else (in_hand.owed.new,))
        self._store.settle(settlement).addCallbacks(
            self._recorded,
            self._not_recorded,
            callbackArgs=(in_hand, planned),
            errbackArgs=(in_hand,),
        )

    def _not_recorded(self, reason: Failure, in_hand: InHand) -> None:
        self._waiting.append(in_hand)
        if self._retry_call is None:
            _log.error("outcomes cannot be recorded: {why}", why=reason.getErrorMessage())
            self._observe(Alarm("queue store", reason.getErrorMessage()))
            self._retry_call = self._clock.callLater(RETRY, self._try)

    def try_now(self) -> None:
        """What waits for the store is lost by a stop: it may be well again."""
        if self._retry_call is not None and self._retry_call.active():
            self._retry_call.cancel()
            self._try()

    def _try(self) -> None:
        self.is_trying = True
        probe = self._store.save_lane(self._waiting[0].lane.state())
        probe.addCallbacks(self._is_well, self._is_ill)

    def _is_ill(self, reason: Failure) -> None:
        self.is_trying = False
        self._retry_call = self._clock.callLater(RETRY, self._try)
        self._changed()

    def _is_well(self, _: None) -> None:
        self.is_trying = False
        self._retry_call = None
        waiting, self._waiting = self._waiting, []
        self._observe(AlarmOver("queue store", f"{len(waiting)} outcomes are being recorded"))
        for in_hand in waiting:
            self.record(in_hand)
        self._changed()
