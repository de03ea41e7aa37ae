"""Makes the DSNs that settlements owe: who is told, of what, along which lane (RFC 3461, 3464).

A DSN is a message like any other: null reverse-path, routed by its recipient. What it says is
`relay.mail.dsn`'s; that it is stored together with its cause is the manager's.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from relay.mail import dsn
from relay.mail.content import InlineContent
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.mail.outcome import Delayed, Failed, Outcome, Relayed
from relay.queue.store import UNROUTED, Message, NewMessage, Work

LOCAL = Origin("", "")
"""The origin of mail that was made here."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A DSN to be inserted, and whom it speaks of."""

    new: NewMessage
    kind: str  # failed, delayed, relayed
    recipients: tuple[str, ...]

    @property
    def is_routed(self) -> bool:
        return UNROUTED not in self.new.lanes


class ReportMaker:
    """`lane_for(forward_path)` is the lane of mail made here, or None where no route leads."""

    def __init__(
        self,
        hostname: str,
        postmaster: str | None,
        lane_for: Callable[[str], str | None],
        next_id: Callable[[], str],
    ) -> None:
        self._hostname = hostname
        self._postmaster = postmaster
        self._lane_for = lane_for
        self._next_id = next_id

    def change(self, hostname: str, postmaster: str | None) -> None:
        """Those of another config from now on."""
        self._hostname = hostname
        self._postmaster = postmaster

    def of_settlement(self, work: Work, outcomes: Mapping[int, Outcome], now: float) -> Owed | None:
        """The one DSN that this settlement owes, or None."""
        reported = [
            (recipient, outcome)
            for recipient in work.recipients
            if (outcome := outcomes.get(recipient.id)) is not None and _is_owed(recipient, outcome)
        ]
        if not reported:
            return None
        has_failed = any(isinstance(outcome, Failed) for _, outcome in reported)
        addressee = self._addressee(work, has_failed)
        if addressee is None:
            return None
        kind = "failed" if has_failed else "relayed"
        return self._make(kind, work, addressee, reported, now, None)

    def of_delay(
        self,
        works: Iterable[Work],
        now: float,
        gives_up_at: float,
        trouble_of: Callable[[str], str],
    ) -> Owed | None:
        """The delay warning for what a message still owes, or None where none is wanted.

        `trouble_of(lane)`: what keeps a whole lane waiting, "" if nothing does.
        """
        reported: list[tuple[Recipient, Outcome]] = []
        first = None
        for work in works:
            first = first or work
            trouble = trouble_of(work.lane)
            outcome = Delayed(
                replace(dsn.NOT_YET, lines=(trouble,)) if trouble else dsn.NOT_YET, ""
            )
            reported += [(r, outcome) for r in work.recipients if r.wants_delay]
        if first is None or not reported or not first.message.envelope.reverse_path:
            return None
        addressee = first.message.envelope.reverse_path
        return self._make("delayed", first, addressee, reported, now, gives_up_at)

    def _addressee(self, work: Work, has_failed: bool) -> str | None:
        """Who is told. Failed mail with a null reverse-path is told to the postmaster, if any."""
        reverse_path = work.message.envelope.reverse_path
        if reverse_path or not has_failed:
            return reverse_path or None
        if work.recipients[0].forward_path == self._postmaster:
            return None  # what we told the postmaster failed: telling him again would never end
        return self._postmaster

    def _make(
        self,
        kind: str,
        work: Work,
        addressee: str,
        reported: list[tuple[Recipient, Outcome]],
        now: float,
        gives_up_at: float | None,
    ) -> Owed:
        queue_id = self._next_id()
        addressee, lane = self._route(addressee)
        envelope = work.message.envelope
        report = dsn.Report(
            kind=kind,
            hostname=self._hostname,
            reverse_path=addressee,
            envid=envelope.envid,
            ret="HDRS" if envelope.requires_tls else envelope.ret,  # RFC 8689 5
            accepted_at=work.message.accepted_at,
            made_at=now,
            dsn_queue_id=queue_id,
            original_queue_id=work.message.queue_id,
            recipients=tuple(_described(r, o, now, gives_up_at) for r, o in reported),
            original=work.message.content,
            smtputf8=envelope.smtputf8,
        )
        return Owed(
            self._message(
                queue_id, addressee, lane, dsn.compose(report), now, envelope.requires_tls
            ),
            kind,
            tuple(recipient.forward_path for recipient, _ in reported),
        )

    def _message(
        self,
        queue_id: str,
        addressee: str,
        lane: str,
        content: bytes,
        now: float,
        requires_tls: bool,
    ) -> NewMessage:
        body = "" if content.isascii() else "8BITMIME"
        recipients = (Recipient(1, addressee),)
        is_utf8 = not addressee.isascii()
        envelope = Envelope("", recipients, body, is_utf8, requires_tls=requires_tls)
        message = Message(queue_id, envelope, LOCAL, InlineContent(content), now)
        return NewMessage(message, {lane: (1,)})

    def _route(self, addressee: str) -> tuple[str, str]:
        """No route to him: the postmaster; none to the postmaster: kept, with an alarm."""
        lane = self._lane_for(addressee)
        if lane is None and self._postmaster and addressee != self._postmaster:
            postmaster_lane = self._lane_for(self._postmaster)
            if postmaster_lane is not None:
                return self._postmaster, postmaster_lane
        return addressee, UNROUTED if lane is None else lane


def _is_owed(recipient: Recipient, outcome: Outcome) -> bool:
    if isinstance(outcome, Failed):
        return recipient.wants_failure
    return isinstance(outcome, Relayed) and recipient.wants_success and not outcome.reports_success


def _described(
    recipient: Recipient, outcome: Outcome, now: float, gives_up_at: float | None
) -> dsn.ReportedRecipient:
    action = {Failed: "failed", Relayed: "relayed", Delayed: "delayed"}[type(outcome)]
    return dsn.ReportedRecipient(
        forward_path=recipient.forward_path,
        orcpt=recipient.orcpt,
        action=action,
        reply=outcome.reply,
        host=outcome.host,
        last_attempt_at=now if outcome.host else None,  # else time alone decided
        will_retry_until=gives_up_at,
    )
