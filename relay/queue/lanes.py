"""One lane's place in memory: how much of it may be in hand now, and when it is next due.

Pure bookkeeping: whoever holds a lane asks `room`, tells it what became of attempts, and stores
what changed. A site's failure is the lane's: it backs off as a whole, recovers by one probe, then
grows (design notes: docs/queue.rst).
"""

from twisted.internet.interfaces import IDelayedCall

from relay.queue.store import LaneState

FIRST_WINDOW = 2
"""The window after a successful probe; each further success doubles it."""


class Lane:
    """A next hop's waiting line. `next_due_at`: when stored work is due, None: none is known."""

    __slots__ = (
        "_max_in_hand",
        "attempt",
        "claiming",
        "generation",
        "in_hand",
        "is_closed",
        "is_held",
        "is_lasting",
        "is_paused",
        "last_reply",
        "name",
        "next_attempt_at",
        "next_due_at",
        "wake_call",
        "window",
    )

    def __init__(self, state: LaneState, max_in_hand: int, *, is_lasting: bool = True) -> None:
        self.is_lasting = is_lasting  # stays in memory when nothing waits there
        self._max_in_hand = max_in_hand
        self.name = state.name
        self.attempt = state.attempt
        self.next_attempt_at = state.next_attempt_at
        self.is_held = state.is_held
        self.is_paused = state.is_paused  # by a refused login; it is probed as a failing one is
        self.last_reply = state.last_reply
        self.next_due_at: float | None = 0.0 if state.waiting else None
        self.window = max_in_hand
        self.in_hand = 0
        self.generation = 0
        self.claiming = 0  # places of those that are being read
        self.is_closed = False  # its next hop is gone: nothing more is taken in hand
        self.wake_call: IDelayedCall | None = None

    def room(self, now: float) -> int:
        """How many more works may be taken in hand at this moment."""
        if self.is_held or self.is_closed:
            return 0
        if self.attempt:
            is_idle = self.in_hand == 0 and self.claiming == 0
            return 1 if is_idle and now >= self.next_attempt_at else 0
        return self.window - self.in_hand - self.claiming

    @property
    def is_empty(self) -> bool:
        """Nothing is in hand or known to wait, and no operator's word must be kept."""
        if self.in_hand or self.claiming or self.is_held:
            return False
        return self.next_due_at is None

    def has_due(self, now: float) -> bool:
        """Stored work is due, or being claimed: what comes now stands behind it."""
        return self.claiming > 0 or (self.next_due_at is not None and self.next_due_at <= now)

    def is_worth_claiming(self, now: float) -> bool:
        """Due work is known, and there is room for a batch of it rather than for one at a time."""
        if self.claiming or self.next_due_at is None or self.next_due_at > now:
            return False
        room = self.room(now)
        return room > 0 and (self.attempt > 0 or 2 * room >= self.window)

    def wake_at(self) -> float | None:
        """When to look again, if nothing else happens before."""
        if self.next_due_at is None or self.is_held or self.is_closed:
            return None
        return max(self.next_due_at, self.next_attempt_at) if self.attempt else self.next_due_at

    def note_due(self, at: float) -> None:
        """Stored work became due at `at`."""
        if self.next_due_at is None or at < self.next_due_at:
            self.next_due_at = at

    def site_failed(
        self, generation: int, retry_at: float, reply: str, *, is_refusal: bool = False
    ) -> bool:
        """An attempt begun under `generation` found no usable host. True: the lane changed.
        `is_refusal`: our login is refused, and the lane pauses until that is mended.

        Attempts that were under way when the lane failed already do not charge it again.
        """
        if generation != self.generation:
            return False
        self.generation += 1
        self.attempt += 1
        self.next_attempt_at = retry_at
        self.last_reply = reply
        self.is_paused = is_refusal
        return True

    def site_answered(self, generation: int) -> bool:
        """An attempt reached a host. True: the lane had been failing and has recovered."""
        if not self.attempt:
            if self.window < self._max_in_hand:
                self.window = min(self._max_in_hand, self.window * 2)
            return False
        if generation != self.generation:
            return False
        self.attempt = 0
        self.next_attempt_at = 0.0
        self.last_reply = ""
        self.is_paused = False
        self.window = min(FIRST_WINDOW, self._max_in_hand)
        return True

    def forget_trouble(self) -> None:
        """An operator asked for an attempt now: the next one is a probe, due at once.

        Asking again and again must not make the lane wait the longer: its backoff begins anew.
        """
        self.attempt = min(self.attempt, 1)
        self.next_attempt_at = 0.0

    def next_hop_changed(self) -> None:
        """What attempts find out that began before says nothing of the lane any more."""
        self.generation += 1
        self.forget_trouble()

    def resize(self, max_in_hand: int) -> None:
        """Another most is allowed from now on."""
        is_grown = self.window >= self._max_in_hand
        self.window = max_in_hand if is_grown else min(self.window, max_in_hand)
        self._max_in_hand = max_in_hand

    def state(self) -> LaneState:
        """What is stored of it."""
        return LaneState(
            self.name,
            self.attempt,
            self.next_attempt_at,
            self.is_held,
            0,
            self.last_reply,
            self.is_paused,
        )

    def __repr__(self) -> str:
        mood = "held" if self.is_held else f"failing {self.attempt}" if self.attempt else "well"
        return f"<Lane {self.name} {mood} in_hand={self.in_hand}/{self.window}>"
