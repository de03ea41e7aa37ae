"""What one attempt at a work comes to: a pure function from (work, attempt, time) to a plan.

The manager carries the plan out. Whatever is still owed gets a time; what grew too old meanwhile is
the sweep's to find (RFC 5321 4.5.4.1), for that knows what an operator holds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from relay.mail.outcome import Attempt, Delayed, Failed, Outcome, Relayed
from relay.mail.reply import Reply
from relay.queue.backoff import delay_after
from relay.queue.store import Work


@dataclass(frozen=True, slots=True)
class Terms:
    """How patient the queue is: seconds everywhere; `warn_after` None: never."""

    retry: Sequence[float]
    warn_after: float | None
    expire_after: float


@dataclass(slots=True, init=False, unsafe_hash=True)
class Plan:
    """The outcomes to record, for every recipient of the work, and when the owed ones are due.

    `why` is the reason for `removed` should nothing be owed any more: done, failed or expired.
    """

    outcomes: Final[Mapping[int, Outcome]]
    attempt: Final[int]
    next_attempt_at: Final[float]
    why: Final[str]

    def __init__(
        self,
        outcomes: Mapping[int, Outcome],
        attempt: int,
        next_attempt_at: float,
        why: str,
    ) -> None:
        self.outcomes = outcomes
        self.attempt = attempt
        self.next_attempt_at = next_attempt_at
        self.why = why


def plan(
    work: Work,
    attempt: Attempt,
    now: float,
    terms: Terms,
    random: Callable[[], float],
    lane_retry_at: float | None = None,
) -> Plan:
    """`lane_retry_at`: when the lane itself is tried again, where its site failed."""
    outcomes = attempt.outcomes
    if attempt.site is None and _is_all_relayed(work, outcomes):
        return Plan(outcomes, work.attempt + 1, now, "done")
    outcomes = _complete(work, attempt)
    charged = work.attempt + 1
    next_attempt_at = now + delay_after(charged, terms.retry, random)
    if attempt.site is not None and lane_retry_at is not None:
        # The lane keeps it back as long as that fails. Once it has recovered, what had been tried
        # must not wait out the lane's old hours; behind what was not tried it stands all the same.
        next_attempt_at = min(lane_retry_at, now + delay_after(1, terms.retry, random))
    has_failed = any(isinstance(outcome, Failed) for outcome in outcomes.values())
    return Plan(outcomes, charged, next_attempt_at, "failed" if has_failed else "done")


def expire(work: Work, last_replies: Mapping[int, str]) -> Plan:
    """The plan for a work whose time ran out while it waited; last replies by recipient id."""
    outcomes = {r.id: Failed(_expired_after(last_replies.get(r.id)), "") for r in work.recipients}
    return Plan(outcomes, work.attempt, work.message.accepted_at, "expired")


def _expired_after(last: object) -> Reply:
    text = f"delivery time expired, last reply: {last}" if last else "delivery time expired"
    return Reply(451, "4.4.7", (text,))


def _is_all_relayed(work: Work, outcomes: Mapping[int, Outcome]) -> bool:
    if len(outcomes) != len(work.recipients):
        return False
    return all(type(outcome) is Relayed for outcome in outcomes.values())


def _complete(work: Work, attempt: Attempt) -> dict[int, Outcome]:
    """Recipients that the attempt does not name share the site's trouble."""
    reply = Reply(451, "4.3.0", ("the attempt ended without a word on this recipient",))
    host = ""
    if attempt.site is not None:
        reply, host = attempt.site.reply, attempt.site.host
    undecided = Delayed(reply, host)
    return {r.id: attempt.outcomes.get(r.id, undecided) for r in work.recipients}
