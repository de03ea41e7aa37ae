"""Values to rows and back: how a message, what it owes and its content lie in SQLite's tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from relay.mail.content import Content
from relay.mail.envelope import Envelope, Origin, Recipient
from relay.queue.store import Message

Row = tuple[Any, ...]

MESSAGE_COLUMNS = (
    "id, reverse_path, recipients, body, smtputf8, ret, envid, listener, client, helo, user,"
    " session, name, protocol, accepted_at, size, in_file, requires_tls"
)
"""In the order of `message_row`."""


def message_row(number: int, message: Message, in_file: bool) -> Row:
    envelope, origin = message.envelope, message.origin
    recipients = [(r.id, r.forward_path, r.notify, r.orcpt) for r in envelope.recipients]
    return (
        number,
        envelope.reverse_path,
        orjson.dumps(recipients).decode(),
        envelope.body,
        envelope.smtputf8,
        envelope.ret,
        envelope.envid,
        origin.listener,
        origin.client,
        origin.helo,
        origin.user,
        origin.session,
        origin.name,
        origin.protocol,
        message.accepted_at,
        message.content.size,
        in_file,
        envelope.requires_tls,
    )


def message_from(queue_id: str, row: Row, content: Content) -> Message:
    """`row` in the order of MESSAGE_COLUMNS; more may follow."""
    (_, reverse_path, recipients, body, smtputf8, ret, envid) = row[:7]
    return Message(
        queue_id,
        Envelope(
            reverse_path,
            recipients_from(recipients),
            body,
            bool(smtputf8),
            ret,
            envid,
            bool(row[17]),
        ),
        Origin(*row[7:14]),
        content,
        row[14],
    )


def recipients_from(text: str) -> tuple[Recipient, ...]:
    return tuple([Recipient(*fields) for fields in orjson.loads(text)])


def owed_from(text: str | None, recipients: Sequence[Recipient]) -> dict[int, str]:
    """What a work owes: recipient id to its last reply. None: every recipient, none tried."""
    if text is None:
        return {recipient.id: "" for recipient in recipients}
    return dict(orjson.loads(text))


def owed_text(owed: Mapping[int, str]) -> str:
    return orjson.dumps(list(owed.items())).decode()


def numbers_text(numbers: Sequence[int]) -> str:
    """For `IN (SELECT value FROM json_each(?))`: one statement for any number of them."""
    return orjson.dumps(numbers).decode()


def places_text(places: Sequence[tuple[int, str]]) -> str:
    """Works by (message, lane), for `json_each`."""
    return orjson.dumps(places).decode()
