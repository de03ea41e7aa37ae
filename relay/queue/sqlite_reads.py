"""What the SQLite store reads: claims, sweeps and an operator's questions.

Nothing here ever scans a table at one go: what may have to look at many rows is a generator that
pauses after each slice of them, so that commits pass in between.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import groupby
from typing import Any, TypeVar

import apsw

from relay.mail.content import Content, InlineContent
from relay.queue.ids import first_after, from_int, known_numbers, to_int
from relay.queue.in_hand import NOT_WHOLE, InHand
from relay.queue.spool import Spool
from relay.queue.sqlite_rows import (
    Row,
    message_from,
    numbers_text,
    owed_from,
    places_text,
    recipients_from,
)
from relay.queue.store import (
    UNROUTED,
    Claim,
    LaneState,
    Listed,
    ListedRecipient,
    Selection,
    Work,
)

T = TypeVar("T")
Sliced = Generator[None, None, T]

SLICE = 2000
"""Rows looked at between two commits: a few milliseconds."""

Place = tuple[int, str]
"""A work's (message, lane)."""

DUE = """
SELECT group_concat(message) FROM (
    SELECT message FROM work WHERE lane = ? AND is_held = 0 AND next_attempt_at <= ?
    ORDER BY next_attempt_at, message LIMIT ?)
"""

NEXT_DUE = """
SELECT message, next_attempt_at FROM work WHERE lane = ? AND is_held = 0 AND next_attempt_at > ?
ORDER BY next_attempt_at, message
"""

DUE_AT = "SELECT next_attempt_at FROM work WHERE message = ? AND lane = ?"

WORKS = """
SELECT m.id, reverse_path, recipients, body, smtputf8, ret, envid, listener, client, helo, user,
    session, m.name, protocol, accepted_at, size, in_file,
    requires_tls, lane, attempt, owed, octets
FROM json_each(?) AS place
CROSS JOIN work AS w ON w.message = place.value ->> 0 AND w.lane = place.value ->> 1
CROSS JOIN message AS m ON m.id = w.message
LEFT JOIN content AS c ON c.message = w.message
"""

SLICE_END = """
SELECT message FROM work WHERE message > ? AND message < ? ORDER BY message LIMIT 1 OFFSET ?
"""

WAITED = """
SELECT w.message, w.lane FROM work AS w CROSS JOIN message AS m ON m.id = w.message
WHERE w.message > ? AND w.message <= ? AND w.is_held = 0 AND {condition}
    AND w.lane NOT IN (SELECT name FROM lane WHERE lane.is_held & 1) AND m.accepted_at < ?
ORDER BY w.message, w.lane
"""

NOT_PAUSED = "w.lane NOT IN (SELECT name FROM lane WHERE lane.is_held & 2)"

COUNTS = "SELECT lane, count(*) FROM work GROUP BY lane"

FOUND_END = "SELECT id FROM message WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"

FOUND = """
SELECT id, reverse_path, recipients, listener, user, size, accepted_at, is_held FROM message AS m
WHERE id > :after AND id <= :end{conditions} ORDER BY id LIMIT :limit
"""

CONDITIONS = {
    "queue_ids": "id IN (SELECT value FROM json_each(:queue_ids))",
    "lane": "EXISTS (SELECT 1 FROM work WHERE message = m.id AND lane = :lane)",
    "sender": "lower(reverse_path) GLOB :sender",
    "recipient": "EXISTS (SELECT 1 FROM json_each(m.recipients) AS r"
    " WHERE lower(r.value ->> 1) GLOB :recipient AND NOT EXISTS (SELECT 1 FROM done"
    " WHERE done.message = m.id AND done.recipient = r.value ->> 0))",
    "accepted_before": "accepted_at < :accepted_before",
}

_LAST = (1 << 63) - 1


class SqliteReads:
    """Every answer is of committed rows. Claims are noted in `in_hand`."""

    def __init__(self, database: apsw.Connection, in_hand: InHand, spool: Spool) -> None:
        self._execute: Callable[..., Any] = database.execute
        self._in_hand = in_hand
        self._spool = spool

    # --- claims ---------------------------------------------------------------------------------

    def claim(self, lane: str, now: float, limit: int) -> Claim:
        taken = self._in_hand.of(lane)
        most = limit + self._in_hand.count(lane) + 1
        due = self._execute(DUE, (lane, now, most)).get or ""
        numbers = [n for n in map(int, due.split(",")) if n not in taken] if due else []
        is_more = len(numbers) > limit
        next_due_at = self._due_at(numbers[limit], lane) if is_more else self._due_after(now, lane)
        return Claim(self._take([(number, lane) for number in numbers[:limit]]), next_due_at)

    def _due_at(self, number: int, lane: str) -> float:
        at: float = self._execute(DUE_AT, (number, lane)).get
        return at

    def _due_after(self, now: float, lane: str) -> float | None:
        taken = self._in_hand.of(lane)
        for number, next_attempt_at in self._execute(NEXT_DUE, (lane, now)):
            if number not in taken:
                due_at: float = next_attempt_at
                return due_at
        return None

    def claim_expired(self, accepted_before: float, limit: int) -> Sliced[tuple[Work, ...]]:
        """Each slice's works are in hand before a commit, or another claim, can pass."""
        works: tuple[Work, ...] = ()
        condition = f"w.is_graced = 0 AND w.lane <> '{UNROUTED}' AND {NOT_PAUSED}"
        try:
            for rows in self._waited(accepted_before, condition):
                free = [place for place in rows if not self._in_hand.has(place[1], place[0])]
                works += self._take(free[: limit - len(works)])
                if len(works) >= limit:
                    break
                yield
        except BaseException:  # nobody hears of them
            for work in works:
                self._in_hand.drop(work.lane, to_int(work.message.queue_id))
            raise
        return works

    def overdue(self, accepted_before: float, limit: int) -> Sliced[tuple[Work, ...]]:
        works: tuple[Work, ...] = ()
        for rows in self._waited(accepted_before, "w.is_warned = 0"):
            places: list[Place] = []
            for _, group in groupby(rows, key=lambda place: place[0]):
                lanes = list(group)
                if len(works) + len(places) < limit and not self._any_in_hand(lanes):
                    places += lanes
            works += self._load(places)
            if len(works) >= limit:
                break
            yield
        return works

    def works(self, queue_ids: Sequence[str]) -> tuple[Work, ...]:
        numbers = numbers_text(known_numbers(queue_ids))
        places = self._execute(
            "SELECT message, lane FROM work WHERE message IN (SELECT value FROM json_each(?))"
            " ORDER BY message, lane",
            (numbers,),
        ).fetchall()
        return self._load([place for place in places if not self._any_in_hand([place])])

    def _waited(self, accepted_before: float, condition: str) -> Iterable[list[Place]]:
        """Works of messages accepted before then, by age, a slice at a time.

        Ids sort by acceptance: `first_after` bounds the search, `accepted_at` decides.
        """
        after, bound = 0, first_after(accepted_before)
        while after < bound:
            end = self._execute(SLICE_END, (after, bound, SLICE)).get or bound
            yield self._execute(
                WAITED.format(condition=condition), (after, end, accepted_before)
            ).fetchall()
            after = end

    def _any_in_hand(self, places: Iterable[Place]) -> bool:
        return any(self._in_hand.has(lane, number) for number, lane in places)

    def _take(self, places: list[Place]) -> tuple[Work, ...]:
        works = self._load(places)
        for work in works:
            is_whole = len(work.recipients) == len(work.message.envelope.recipients)
            is_inline = isinstance(work.message.content, InlineContent)
            ids = tuple([r.id for r in work.recipients]) if is_whole and is_inline else NOT_WHOLE
            self._in_hand.take(work.lane, to_int(work.message.queue_id), ids)
        return works

    def _load(self, places: list[Place]) -> tuple[Work, ...]:
        if not places:
            return ()
        rows = self._execute(WORKS, (places_text(places),)).fetchall()
        return tuple([self._work(row) for row in rows])

    def _work(self, row: Row) -> Work:
        queue_id = from_int(row[0])
        in_file, _, lane, attempt, owed, octets = row[16:]
        content: Content = (
            self._spool.content(queue_id, row[15]) if in_file else InlineContent(octets)
        )
        message = message_from(queue_id, row, content)
        recipients = message.envelope.recipients
        if owed is not None:
            ids = owed_from(owed, recipients)
            recipients = tuple([r for r in recipients if r.id in ids])
        return Work(message, lane, recipients, attempt)

    # --- questions ------------------------------------------------------------------------------

    def lanes(self) -> tuple[LaneState, ...]:
        waiting = self._in_hand.waiting
        states = {
            name: LaneState(
                name, attempt, at, bool(held & 1), waiting[name], last_reply, bool(held & 2)
            )
            for name, attempt, at, held, last_reply in self._execute("SELECT * FROM lane")
        }
        for name, works in waiting.items():
            if works and name not in states:
                states[name] = LaneState(name, waiting=works)
        return tuple([states[name] for name in sorted(states)])

    def find(self, selection: Selection, after: str, limit: int) -> Sliced[list[Listed]]:
        start = to_int(after) if after else 0
        values = _values(selection)
        statement = FOUND.format(conditions="".join(f" AND {CONDITIONS[n]}" for n in values))
        found: list[Listed] = []
        while len(found) < limit and start < _LAST:
            end = _LAST
            if "queue_ids" not in values:
                end = self._execute(FOUND_END, (start, SLICE)).get or _LAST
            bounds = {"after": start, "end": end, "limit": limit - len(found)}
            found += self._listed(self._execute(statement, bounds | values).fetchall())
            start = end
            yield
        return found

    def _listed(self, rows: list[Row]) -> list[Listed]:
        recipients = self._listed_recipients(rows)
        return [
            Listed(
                from_int(number),
                reverse_path,
                listener,
                user,
                size,
                accepted_at,
                bool(is_held),
                tuple(recipients[number][r.id] for r in recipients_from(text)),
            )
            for number, reverse_path, text, listener, user, size, accepted_at, is_held in rows
        ]

    def _listed_recipients(self, rows: list[Row]) -> dict[int, dict[int, ListedRecipient]]:
        numbers = numbers_text([row[0] for row in rows])
        envelopes = {row[0]: recipients_from(row[2]) for row in rows}
        paths = {n: {r.id: r.forward_path for r in found} for n, found in envelopes.items()}
        listed: dict[int, dict[int, ListedRecipient]] = {number: {} for number in paths}
        for number, lane, at, attempt, owed in self._execute(
            "SELECT message, lane, next_attempt_at, attempt, owed FROM work"
            " WHERE message IN (SELECT value FROM json_each(?))",
            (numbers,),
        ):
            state = "in_hand" if self._in_hand.has(lane, number) else "waiting"
            for i, last_reply in owed_from(owed, envelopes[number]).items():
                listed[number][i] = ListedRecipient(
                    i, paths[number][i], state, lane, attempt, at, last_reply
                )
        for number, i, lane, state, last_reply in self._execute(
            "SELECT message, recipient, lane, state, last_reply FROM done"
            " WHERE message IN (SELECT value FROM json_each(?))",
            (numbers,),
        ):
            listed[number][i] = ListedRecipient(
                i, paths[number][i], state, lane, 0, 0.0, last_reply
            )
        return listed


def _values(selection: Selection) -> dict[str, str | float]:
    """The conditions that are set, by name."""
    values: dict[str, str | float] = {}
    if selection.queue_ids:
        values["queue_ids"] = numbers_text(known_numbers(selection.queue_ids))
    if selection.lane is not None:
        values["lane"] = selection.lane
    if selection.sender is not None:
        values["sender"] = glob("" if selection.sender == "<>" else selection.sender)
    if selection.recipient is not None:
        values["recipient"] = glob(selection.recipient)
    if selection.accepted_before is not None:
        values["accepted_before"] = selection.accepted_before
    return values


def glob(pattern: str) -> str:
    """Our globs know * and ? alone; SQLite's know [...] as well."""
    return pattern.lower().replace("[", "[[]")
