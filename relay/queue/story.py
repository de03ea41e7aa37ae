"""Tells what was committed: the notices of a message's life, in their order.

Called after commits only. Knows the lanes' times, for they say when a delayed message is due.
"""

from relay.mail.envelope import Recipient
from relay.mail.header import Header
from relay.mail.outcome import Relayed
from relay.notices import Accepted, Alarm, Attempted, Observer, Removed, Reported
from relay.queue.lane_book import upstream_of
from relay.queue.lanes import Lane
from relay.queue.reports import Owed
from relay.queue.schedule import Plan
from relay.queue.store import Message, Work


def tell_accepted(
    observe: Observer, message: Message, message_id: str, delivery: str = "store"
) -> None:
    """The client is about to be told 250; mail made here has nobody to tell."""
    observe(
        Accepted(
            message.queue_id,
            message.origin,
            message.envelope.reverse_path,
            tuple([r.forward_path for r in message.envelope.recipients]),
            message.content.size,
            message_id,
            delivery,
        )
    )


def tell_attempted(observe: Observer, work: Work, planned: Plan, lane: Lane, now: float) -> None:
    """What became of each recipient. A failing lane keeps mail back beyond its own time."""
    due_at = planned.next_attempt_at
    if lane.attempt:
        due_at = max(due_at, lane.next_attempt_at)
    for recipient in work.recipients:
        _tell_outcome(observe, work, recipient, planned, due_at, now)


def tell_relayed(observe: Observer, work: Work, planned: Plan, now: float) -> None:
    """The message is not in the queue (any more): whom it reached all the same must be known."""
    for recipient in work.recipients:
        if isinstance(planned.outcomes.get(recipient.id), Relayed):  # none: it was put back
            _tell_outcome(observe, work, recipient, planned, now, now)


def _tell_outcome(
    observe: Observer, work: Work, recipient: Recipient, planned: Plan, due_at: float, now: float
) -> None:
    message = work.message
    observe(
        Attempted(
            message.queue_id,
            recipient.forward_path,
            upstream_of(work.lane),
            planned.outcomes[recipient.id],
            planned.attempt,
            now - message.accepted_at,
            message.content.size,
            due_at,
        )
    )


def tell_reported(observe: Observer, queue_id: str, owed: Owed) -> None:
    """A DSN is in the queue now, like any other message."""
    message = owed.new.message
    observe(Reported(queue_id, message.queue_id, owed.recipients, owed.kind))
    first = next(iter(message.content.chunks()), b"")
    tell_accepted(observe, message, Header(first).value(b"message-id"))
    if not owed.is_routed:
        addressee = message.envelope.recipients[0].forward_path
        why = (
            f"{message.queue_id} to <{addressee}> is kept in the queue: add a route that leads"
            " there, or set postmaster to an address that has one"
        )
        observe(Alarm("no route for a DSN", why, is_passing=True))


def tell_removed(observe: Observer, message: Message, planned: Plan, had_failed: bool) -> None:
    """Nothing is owed any more. What failed and has nobody to be returned to is undeliverable."""
    why = "failed" if planned.why == "done" and had_failed else planned.why
    is_lost = why != "done" and not message.envelope.reverse_path
    observe(Removed(message.queue_id, "undeliverable" if is_lost else why))
