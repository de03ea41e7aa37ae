"""What happened to mail and sessions, as frozen values that rise to whoever observes.

Each becomes one line of the traffic log. Whoever raises one calls a `Observer`; observers never
raise and never block.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
    """Something an operator should mend. `what` names it always the same way, `why` explains."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class AlarmOver:
    what: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Connected:
    session: str
    client: str
    listener: str
    via: str = ""  # the proxy that named the client


@dataclass(frozen=True, slots=True)
class Disconnected:
    session: str
    client: str
    listener: str
    reason: str
    transactions: int
    helo: str = ""
    user: str = ""
    tls: str = ""


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


@dataclass(frozen=True, slots=True)
class Accepted:
    queue_id: str
    origin: Origin
    reverse_path: str
    recipients: tuple[str, ...]
    size: int
    message_id: str
    delivery: str  # store | hybrid | proxy: what was really done


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


@dataclass(frozen=True, slots=True)
class Attempted:
    """One recipient's outcome in one attempt: logged as relayed, delayed or failed."""

    queue_id: str
    recipient: str
    upstream: str
    outcome: Outcome
    attempt: int
    delay: float  # seconds since the message was accepted
    size: int
    next_attempt_at: float | None = None  # unix seconds, for delayed


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


@dataclass(frozen=True, slots=True)
class Removed:
    """why: done, failed, operator, expired, undeliverable."""

    queue_id: str
    why: str


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
