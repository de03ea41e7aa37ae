"""What happened to mail and sessions, as frozen values that rise to whoever observes.

Each becomes one line of the traffic log. Whoever raises one calls a `Observer`; observers never
raise and never block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from relay.mail.envelope import Origin
from relay.mail.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Started:
    what: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Stopped:
    what: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Another config is in use. `changes`: the keys that differ, without values."""

    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an operator should mend. `what` names it always the same way, `why` explains;
    `is_passing`: nothing will tell when it is over."""

    what: str
    why: str
    is_passing: bool = False


@dataclass(frozen=True, slots=True)
class AlarmOver:
    what: str
    why: str = ""


@dataclass(slots=True, init=False, unsafe_hash=True)
class Connected:
    session: Final[str]
    client: Final[str]
    listener: Final[str]
    via: Final[str]  # the proxy that named the client

    def __init__(
        self,
        session: str,
        client: str,
        listener: str,
        via: str = "",
    ) -> None:
        self.session = session
        self.client = client
        self.listener = listener
        self.via = via


@dataclass(slots=True, init=False, unsafe_hash=True)
class Disconnected:
    session: Final[str]
    client: Final[str]
    listener: Final[str]
    reason: Final[str]
    transactions: Final[int]
    helo: Final[str]
    user: Final[str]
    tls: Final[str]

    def __init__(
        self,
        session: str,
        client: str,
        listener: str,
        reason: str,
        transactions: int,
        helo: str = "",
        user: str = "",
        tls: str = "",
    ) -> None:
        self.session = session
        self.client = client
        self.listener = listener
        self.reason = reason
        self.transactions = transactions
        self.helo = helo
        self.user = user
        self.tls = tls


@dataclass(frozen=True, slots=True)
class Authenticated:
    session: str
    client: str
    listener: str
    helo: str
    user: str
    mechanism: str


@dataclass(frozen=True, slots=True)
class ShutOut:
    """An address is not let authenticate for a while. client: an IP address, or an IPv6 /64."""

    client: str
    listener: str
    failures: int


@dataclass(slots=True, init=False, unsafe_hash=True)
class Accepted:
    queue_id: Final[str]
    origin: Final[Origin]
    reverse_path: Final[str]
    recipients: Final[tuple[str, ...]]
    size: Final[int]
    message_id: Final[str]
    delivery: Final[str]  # store | hybrid | proxy: what was really done

    def __init__(
        self,
        queue_id: str,
        origin: Origin,
        reverse_path: str,
        recipients: tuple[str, ...],
        size: int,
        message_id: str,
        delivery: str,
    ) -> None:
        self.queue_id = queue_id
        self.origin = origin
        self.reverse_path = reverse_path
        self.recipients = recipients
        self.size = size
        self.message_id = message_id
        self.delivery = delivery


@dataclass(frozen=True, slots=True)
class Rejected:
    session: str
    client: str
    listener: str
    helo: str
    command: str
    reply: str
    recipient: str = ""
    queue_id: str = ""
    why: str = ""  # what the client was not told
    user: str = ""
    tls: str = ""
    reverse_path: str | None = None  # of the mail transaction, where there is one


@dataclass(slots=True, init=False, unsafe_hash=True)
class Attempted:
    """One recipient's outcome in one attempt: logged as relayed, delayed or failed."""

    queue_id: Final[str]
    recipient: Final[str]
    upstream: Final[str]
    outcome: Final[Outcome]
    attempt: Final[int]
    delay: Final[float]  # seconds since the message was accepted
    size: Final[int]
    next_attempt_at: Final[float | None]  # unix seconds, for delayed

    def __init__(
        self,
        queue_id: str,
        recipient: str,
        upstream: str,
        outcome: Outcome,
        attempt: int,
        delay: float,
        size: int,
        next_attempt_at: float | None = None,
    ) -> None:
        self.queue_id = queue_id
        self.recipient = recipient
        self.upstream = upstream
        self.outcome = outcome
        self.attempt = attempt
        self.delay = delay
        self.size = size
        self.next_attempt_at = next_attempt_at


@dataclass(frozen=True, slots=True)
class Reported:
    """A DSN was made (event `dsn`). kind: failed, delayed, relayed."""

    queue_id: str
    dsn_queue_id: str
    recipients: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Held:
    queue_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Released:
    queue_id: str
    why: str


@dataclass(slots=True, init=False, unsafe_hash=True)
class Removed:
    """why: done, failed, operator, expired, undeliverable."""

    queue_id: Final[str]
    why: Final[str]

    def __init__(
        self,
        queue_id: str,
        why: str,
    ) -> None:
        self.queue_id = queue_id
        self.why = why


Notice = (
    Started
    | Stopped
    | Reloaded
    | Alarm
    | AlarmOver
    | Connected
    | Disconnected
    | Authenticated
    | ShutOut
    | Accepted
    | Rejected
    | Attempted
    | Reported
    | Held
    | Released
    | Removed
)

Observer = Callable[[Notice], None]
