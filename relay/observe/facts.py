"""What the traffic log says of each notice: its line's fields, in their order.

A field that does not apply is left out; the time is put in by the log. On the hot path: one plain
dict for each line, the second's text is kept.
"""

from collections.abc import Callable
from time import gmtime, strftime
from typing import Any, Final

from relay.mail.envelope import Origin
from relay.mail.outcome import Delayed, Failed, Relayed
from relay.notices import (
    Accepted,
    Alarm,
    AlarmOver,
    Attempted,
    Authenticated,
    Connected,
    Disconnected,
    Held,
    Rejected,
    Released,
    Reloaded,
    Removed,
    Reported,
    ShutOut,
    Started,
    Stopped,
)

Fields = dict[str, Any]

_EVENTS: Final = {Relayed: "relayed", Delayed: "delayed", Failed: "failed"}


class _Kept:
    """The second that was told last, and its text."""

    __slots__ = ("second", "text")

    def __init__(self) -> None:
        self.second = -1
        self.text = ""


_kept: Final = _Kept()


def rfc3339(at: float) -> str:
    """Unix seconds as RFC 3339 text in UTC with microseconds."""
    micro = int(at * 1e6 + 0.5)
    second = micro // 1000000
    kept = _kept
    if second != kept.second:
        kept.text = strftime("%Y-%m-%dT%H:%M:%S.", gmtime(second))
        kept.second = second
    return f"{kept.text}{str(micro % 1000000 + 1000000)[1:]}Z"


def _without_blanks(event: str, **fields: str) -> Fields:
    return {
        "time": "",
        "event": event,
        **{name: value for name, value in fields.items() if value},
    }


def _what(event: str) -> Callable[[Started | Stopped | Alarm | AlarmOver], Fields]:
    return lambda notice: _without_blanks(event, what=notice.what, why=notice.why)


def _connected(notice: Connected) -> Fields:
    fields: Fields = {
        "time": "",
        "event": "connected",
        "session": notice.session,
        "client": notice.client,
        "listener": notice.listener,
    }
    if notice.via:
        fields["via"] = notice.via
    return fields


def _disconnected(notice: Disconnected) -> Fields:
    fields: Fields = {
        "time": "",
        "event": "disconnected",
        "session": notice.session,
        "client": notice.client,
        "listener": notice.listener,
    }
    if notice.helo:
        fields["helo"] = notice.helo
    if notice.user:
        fields["user"] = notice.user
    if notice.tls:
        fields["tls"] = notice.tls
    fields["reason"] = notice.reason
    fields["transactions"] = notice.transactions
    return fields


def _authenticated(notice: Authenticated) -> Fields:
    return {
        "time": "",
        "event": "authenticated",
        "session": notice.session,
        "client": notice.client,
        "listener": notice.listener,
        "helo": notice.helo,
        "user": notice.user,
        "mechanism": notice.mechanism,
    }


def _shut_out(notice: ShutOut) -> Fields:
    return {
        "time": "",
        "event": "shut_out",
        "client": notice.client,
        "listener": notice.listener,
        "failures": notice.failures,
    }


def _begin_accepted(queue_id: str, origin: Origin) -> Fields:
    if not origin.client:  # made here: a DSN
        return {"time": "", "event": "accepted", "queue_id": queue_id}
    fields: Fields = {
        "time": "",
        "event": "accepted",
        "queue_id": queue_id,
        "session": origin.session,
        "client": origin.client,
        "listener": origin.listener,
        "helo": origin.helo,
    }
    if origin.user:
        fields["user"] = origin.user
    if origin.tls:
        fields["tls"] = origin.tls
    if origin.certificate:
        fields["certificate"] = origin.certificate
    return fields


def _accepted(notice: Accepted) -> Fields:
    fields = _begin_accepted(notice.queue_id, notice.origin)
    fields["reverse_path"] = notice.reverse_path
    fields["recipients"] = notice.recipients
    fields["size"] = notice.size
    if notice.message_id:
        fields["message_id"] = notice.message_id
    fields["delivery"] = notice.delivery
    return fields


def _rejected(notice: Rejected) -> Fields:
    fields = _without_blanks(
        "rejected",
        queue_id=notice.queue_id,
        session=notice.session,
        client=notice.client,
        listener=notice.listener,
        helo=notice.helo,
        user=notice.user,
        tls=notice.tls,
        command=notice.command,
        reply=notice.reply,
        recipient=notice.recipient,
        why=notice.why,
    )
    if notice.reverse_path is not None:
        fields["reverse_path"] = notice.reverse_path
    return fields


def _attempted(notice: Attempted) -> Fields:
    outcome = notice.outcome
    reply = outcome.reply
    fields: Fields = {
        "time": "",
        "event": _EVENTS[outcome.__class__],
        "queue_id": notice.queue_id,
        "recipient": notice.recipient,
        "upstream": notice.upstream,
        "host": outcome.host,
        "reply": reply.brief(),
        # Many servers send no status; a class alone is what RFC 3463 3.1 has for that.
        "status": reply.status or f"{reply.code // 100}.0.0",
        "attempt": notice.attempt,
        "delay": round(notice.delay, 3),
        "size": notice.size,
    }
    if outcome.tls:
        fields["upstream_tls"] = outcome.tls
    if outcome.__class__ is Delayed:
        if notice.next_attempt_at is not None:
            fields["next_attempt_at"] = rfc3339(notice.next_attempt_at)
        if outcome.is_unknown:
            fields["outcome"] = "unknown"
    return fields


def _reported(notice: Reported) -> Fields:
    return {
        "time": "",
        "event": "dsn",
        "queue_id": notice.queue_id,
        "dsn_queue_id": notice.dsn_queue_id,
        "recipients": notice.recipients,
        "kind": notice.kind,
    }


def _why(event: str) -> Callable[[Held | Released | Removed], Fields]:
    return lambda notice: {
        "time": "",
        "event": event,
        "queue_id": notice.queue_id,
        "why": notice.why,
    }


FACTS: Final[dict[type, Callable[[Any], Fields]]] = {
    Started: _what("started"),
    Stopped: _what("stopped"),
    Reloaded: lambda notice: {"time": "", "event": "reloaded", "changes": notice.changes},
    Alarm: _what("alarm"),
    AlarmOver: _what("alarm_over"),
    Connected: _connected,
    Disconnected: _disconnected,
    Authenticated: _authenticated,
    ShutOut: _shut_out,
    Accepted: _accepted,
    Rejected: _rejected,
    Attempted: _attempted,
    Reported: _reported,
    Held: _why("held"),
    Released: _why("released"),
    Removed: _why("removed"),
}
