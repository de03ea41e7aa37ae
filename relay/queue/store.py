"""The contract that every queue store keeps, and the values that go in and out of it.

A store owns what must survive: messages, their recipients, their place in the lanes, the lanes'
own state. It decides nothing: times, attempts and outcomes are told to it. All methods are called
in the reactor's thread and every Deferred fires there. A Deferred that fired without error means:
committed to stable storage. One that failed with StoreFailed means: nothing of it was recorded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import Attribute, Interface

from relay.mail.content import Content
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.mail.outcome import Outcome

UNROUTED = ""
"""The lane of recipients that no route leads to: kept with an alarm, never claimed."""


class StoreFailed(Exception):
    """The store could not do it (disk full, I/O error ...). Its text is for operators only."""


class StoreUnusable(StoreFailed):
    """The store cannot be opened: locked, unwritable, damaged ... One clear line."""


@dataclass(slots=True, init=False, unsafe_hash=True)
class Message:
    """One message as stored. `accepted_at` in unix seconds; the queue id sorts by time."""

    queue_id: Final[str]
    envelope: Final[Envelope]
    origin: Final[Origin]
    content: Final[Content]
    accepted_at: Final[float]

    def __init__(
        self,
        queue_id: str,
        envelope: Envelope,
        origin: Origin,
        content: Content,
        accepted_at: float,
    ) -> None:
        self.queue_id = queue_id
        self.envelope = envelope
        self.origin = origin
        self.content = content
        self.accepted_at = accepted_at


@dataclass(slots=True, init=False, unsafe_hash=True)
class NewMessage:
    """A message to insert. Each recipient id stands in exactly one lane.

    `in_hand`: the lanes whose work the caller takes in hand with this very insertion, so that no
    claim yields it; it stays in hand until it is settled or the process ends. `settlements`: what
    attempts made before the insertion came to, recorded in its very transaction.
    """

    message: Final[Message]
    lanes: Final[Mapping[str, tuple[int, ...]]]
    in_hand: Final[tuple[str, ...]]
    settlements: Final[tuple["Settlement", ...]]

    def __init__(
        self,
        message: Message,
        lanes: Mapping[str, tuple[int, ...]],
        in_hand: tuple[str, ...] = (),
        settlements: tuple["Settlement", ...] = (),
    ) -> None:
        self.message = message
        self.lanes = lanes
        self.in_hand = in_hand
        self.settlements = settlements


@dataclass(slots=True, init=False, unsafe_hash=True)
class Work:
    """The unit of work: what one message still owes on one lane. `attempt`: charged so far."""

    message: Final[Message]
    lane: Final[str]
    recipients: Final[tuple[Recipient, ...]]
    attempt: Final[int]

    def __init__(
        self,
        message: Message,
        lane: str,
        recipients: tuple[Recipient, ...],
        attempt: int = 0,
    ) -> None:
        self.message = message
        self.lane = lane
        self.recipients = recipients
        self.attempt = attempt


@dataclass(frozen=True, slots=True)
class Claim:
    """Work taken in hand. `next_due_at`: when the lane's next waiting work is due, None: none."""

    works: tuple[Work, ...]
    next_due_at: float | None


@dataclass(slots=True, init=False, unsafe_hash=True)
class Settlement:
    """What one attempt at one (message, lane) came to; recorded in one transaction, all or nothing.

    Relayed and Failed recipients are done. Delayed ones, and those not named, stay owed and wait
    for `next_attempt_at` under `attempt`. `reports` (DSNs) are inserted in the same transaction,
    but only where the message still exists (an operator may have removed it meanwhile).
    """

    queue_id: Final[str]
    lane: Final[str]
    outcomes: Final[Mapping[int, Outcome]]
    attempt: Final[int]
    next_attempt_at: Final[float]
    reports: Final[tuple[NewMessage, ...]]

    def __init__(
        self,
        queue_id: str,
        lane: str,
        outcomes: Mapping[int, Outcome],
        attempt: int,
        next_attempt_at: float,
        reports: tuple[NewMessage, ...] = (),
    ) -> None:
        self.queue_id = queue_id
        self.lane = lane
        self.outcomes = outcomes
        self.attempt = attempt
        self.next_attempt_at = next_attempt_at
        self.reports = reports


@dataclass(slots=True, init=False, unsafe_hash=True)
class Settled:
    """`is_removed`: nothing is owed on any lane any more; message and content are gone.

    `is_known` is False where the message was removed before: nothing was recorded, no report made.
    `had_failed`: a recipient of the removed message had failed before, in an earlier settlement.
    """

    is_removed: Final[bool]
    is_known: Final[bool]
    had_failed: Final[bool]

    def __init__(
        self,
        is_removed: bool,
        is_known: bool = True,
        had_failed: bool = False,
    ) -> None:
        self.is_removed = is_removed
        self.is_known = is_known
        self.had_failed = had_failed


@dataclass(frozen=True, slots=True)
class LaneState:
    """A lane as stored. `attempt` 0: healthy. `waiting`: its works, those in hand included.

    `is_paused`: the next hop does not let us in as who we say we are; it is probed, and its works
    do not expire meanwhile.
    """

    name: str
    attempt: int = 0
    next_attempt_at: float = 0.0
    is_held: bool = False
    waiting: int = 0
    last_reply: str = ""
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """`start_number` grows with each opening of this store; `lanes` that have work or state.

    `troubles`: what an operator must be told (content that is missing), one line each.
    """

    start_number: int
    lanes: tuple[LaneState, ...]
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages an operator means. Globs are case-insensitive; "<>" is the null reverse-path.

    All conditions that are set must hold; a message matches `lane` and `recipient` by any of its
    recipients still owed. Empty: every message.
    """

    queue_ids: tuple[str, ...] = ()
    lane: str | None = None
    sender: str | None = None
    recipient: str | None = None
    accepted_before: float | None = None


@dataclass(frozen=True, slots=True)
class ListedRecipient:
    """state: waiting, in_hand, relayed, failed. `next_attempt_at` is the work's, not the lane's."""

    id: int
    forward_path: str
    state: str
    lane: str
    attempt: int
    next_attempt_at: float
    last_reply: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A message as operators see it. `listener`, `user`: whence it came, and whose it is."""

    queue_id: str
    reverse_path: str
    listener: str
    user: str
    size: int
    accepted_at: float
    is_held: bool
    recipients: tuple[ListedRecipient, ...] = field(default_factory=tuple)


class Answer(Protocol):
    """What one may ask: a Deferred, or less than that. It is asked once, and at once."""

    def addCallbacks(
        self,
        callback: Callable[..., Any],
        errback: Callable[..., Any],
        *,
        callbackArgs: tuple[Any, ...] = (),
        errbackArgs: tuple[Any, ...] = (),
    ) -> object: ...


class IContentWriter(Interface):
    """Takes the content of one message as it comes in. Memory stays bounded whatever the size."""

    size = Attribute("octets written so far")

    def registerProducer(producer: IPushProducer) -> None:
        """`producer` is paused while the disk is behind, and resumed after."""

    def write(chunk: bytes) -> None:
        """Append. Never raises for disk trouble: that makes `insert` fail."""

    def finish() -> Content:
        """No more is coming. Synced only by the `insert` of a message with this content."""

    def discard() -> None:
        """Forget it all, the file too. Harmless after `finish`, unless it was inserted."""


class IStore(Interface):
    """One open queue. `now` and all times are unix seconds."""

    def open() -> Deferred[Opened]:
        """Clear what a crash left. Fails with StoreUnusable."""

    def close() -> Deferred[None]:
        """Commit what waits, then let go. Nothing may be called after it."""

    def new_content(queue_id: str) -> IContentWriter:
        """A writer for the message that will be inserted under `queue_id`."""

    def insert(new: NewMessage) -> Answer:
        """Content and rows on stable storage, all or nothing."""

    def claim(lane: str, now: float, limit: int) -> Deferred[Claim]:
        """Take in hand up to `limit` due works of a lane, the longest due first.

        Skips what is in hand and what is held; whether the lane is held or backing off is the
        caller's business.
        """

    def settle(settlement: Settlement) -> Answer:
        """Record an attempt's outcomes; the work is no longer in hand. Yields a Settled."""

    def claim_expired(accepted_before: float, limit: int) -> Deferred[Sequence[Work]]:
        """Take in hand works of messages accepted before then, oldest first.

        Skips what is in hand, held messages, held and paused lanes, and work released or retried
        by an operator, itself or its lane, or whose lane's pause ended, without an attempt since.
        """

    def overdue(accepted_before: float, limit: int) -> Deferred[Sequence[Work]]:
        """Works (not taken in hand) of messages accepted before then and not yet warned about.

        Skips held messages and lanes. All works of one message come in the same answer.
        """

    def warned(queue_id: str, reports: tuple[NewMessage, ...]) -> Deferred[bool]:
        """Note the delay warning and insert its DSN in one transaction. False: message is gone."""

    def save_lane(state: LaneState) -> Deferred[None]:
        """Store a lane's attempt, next_attempt_at, is_held, is_paused, last_reply (`waiting` is
        ignored); forget the state of one that is well and not held.

        Where this ends a hold or a pause, each of its works gets one attempt before it may expire.
        """

    def lanes() -> Deferred[Sequence[LaneState]]:
        """Every lane that has work or stored state, by name."""

    def move(queue_id: str, lane: str, to: Mapping[int, str]) -> Deferred[bool]:
        """Put owed recipients of a lane on other lanes, due at once, attempts kept.

        False where the message is gone or in hand on that lane.
        """

    def find(selection: Selection, after: str, limit: int) -> Deferred[Sequence[Listed]]:
        """Messages by queue id, those after `after` ("": from the first). Fewer than `limit`: there
        are no more."""

    def works(queue_ids: Sequence[str]) -> Deferred[Sequence[Work]]:
        """The waiting works of these messages, without taking them in hand."""

    def hold(queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        """Hold messages: their works are not claimed until released. Yields the ids found."""

    def release(queue_ids: Sequence[str], now: float) -> Deferred[Sequence[str]]:
        """End the hold; their works are due now. Yields the ids that were held."""

    def retry(queue_ids: Sequence[str], now: float) -> Deferred[Sequence[str]]:
        """Make their works due now (held ones stay held). Yields the ids found."""

    def remove(queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        """Remove messages whole, in hand or not. Yields the ids found."""
