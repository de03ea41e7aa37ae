"""What calls on the store write: one transaction for a whole group of them, in few fat statements.

Every statement that SQLite runs gives up Python's lock and must win it back from a busy reactor,
so the common calls of a group (insertions, settlements that end a message) are batched; the rest
run one by one in their order. Memory (`InHand`) follows the commit, never precedes it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apsw

from relay.mail.content import Content, InlineContent
from relay.mail.outcome import Delayed, Relayed
from relay.queue.content_files import INLINE_MAX
from relay.queue.group_commit import Call
from relay.queue.ids import from_int, to_int
from relay.queue.in_hand import NOT_WHOLE, Changes, InHand
from relay.queue.spool import Spool
from relay.queue.sqlite_operations import SqliteOperations, delete_work, owed_on
from relay.queue.sqlite_rows import (
    MESSAGE_COLUMNS,
    Row,
    message_row,
    numbers_text,
    owed_text,
)
from relay.queue.sqlite_schema import trouble
from relay.queue.store import LaneState, NewMessage, Settled, Settlement

MAX_ROWS = 64
"""Rows of one INSERT: each number up to it is a prepared statement of its own."""

_DISK_TROUBLE = (
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.NoMemError,
    apsw.BusyError,
    OSError,
)
"""No call's own fault: dividing the group would not help."""

_REMOVED = Settled(is_removed=True)
_UNKNOWN = Settled(is_removed=False, is_known=False)
_KEPT = Settled(is_removed=False)


class SqliteWrites:
    """`commit` is all that others call; `files_gone` may be unlinked after it."""

    def __init__(self, database: apsw.Connection, in_hand: InHand, spool: Spool) -> None:
        self._database = database
        self._execute: Callable[..., Any] = database.execute
        self._in_hand = in_hand
        self._spool = spool
        self._changes = Changes()
        self._one_by_one: dict[str, Callable[..., object]] = {
            "settle": self._settle,
            "warned": self._warned,
            "save_lane": self._save_lane,
        }
        operations = SqliteOperations(self._execute, in_hand)
        self._operations: dict[str, Callable[..., object]] = {
            "move": operations.move,
            "hold": operations.hold,
            "release": operations.release,
            "retry": operations.retry,
            "remove": operations.remove,
        }

    def commit(self, calls: Sequence[Call]) -> list[Any]:
        """The results in the order of the calls, once all are on stable storage.

        Raises StoreFailed for trouble with the disk, ValueError for what cannot be recorded;
        nothing was recorded then.
        """
        if self._database.in_transaction:  # the last rollback failed
            self._roll_back()
        self._changes = changes = Changes()
        try:
            self._execute("BEGIN IMMEDIATE")
            results = self._run(calls)
            if changes.has_new_files:
                self._spool.sync()
            self._execute("COMMIT")
        except _DISK_TROUBLE as error:
            self._roll_back()
            raise trouble(self._spool.database, "written", error) from error
        except apsw.Error as error:
            self._roll_back()
            raise ValueError(str(error)) from error
        except BaseException:
            self._roll_back()
            raise
        changes.make(self._in_hand)
        return results

    def files_gone(self) -> list[str]:
        """Queue ids whose content files the last commit left without a message."""
        return self._changes.files_gone

    def _roll_back(self) -> None:
        """SQLite may have done so itself."""
        self._spool.remove(self._changes.files_made)
        self._changes = Changes()
        if self._database.in_transaction:
            try:
                self._execute("ROLLBACK")
            except apsw.Error as error:
                raise trouble(self._spool.database, "written", error) from error

    def _run(self, calls: Sequence[Call]) -> list[Any]:
        results: list[Any] = [None] * len(calls)
        new: list[NewMessage] = []
        finished: list[tuple[str, int]] = []
        others: list[int] = []
        for index, call in enumerate(calls):
            if call.name == "insert":
                new.append(call.arguments[0])
            elif call.name == "settle" and (number := self._finished(call.arguments[0])):
                finished.append((call.arguments[0].lane, number))
                results[index] = _REMOVED
            else:
                others.append(index)
        if new:
            self._insert(new)
        if finished:
            self._remove_finished(finished)
        for index in others:
            call = calls[index]
            operation = self._operations.get(call.name)
            if operation is not None:
                results[index] = operation(self._changes, *call.arguments)
            else:
                results[index] = self._one_by_one[call.name](*call.arguments)
        return results

    # --- in batches -----------------------------------------------------------------------------

    def _insert(self, news: Sequence[NewMessage]) -> None:
        messages: list[Row] = []
        contents: list[Row] = []
        works: list[Row] = []
        for new in news:
            message = new.message
            number = to_int(message.queue_id)
            octets = self._inline(message.queue_id, message.content)
            messages.append(message_row(number, message, octets is None))
            if octets is not None:
                contents.append((number, octets))
            works += _work_rows(number, new)
            self._note_new(number, new, octets is None)
        self._insert_rows("message", MESSAGE_COLUMNS, messages)
        self._insert_rows("content", "message, octets", contents)
        self._insert_rows("work", "message, lane, next_attempt_at, owed", works)
        for new in news:
            for settlement in new.settlements:
                self._settle(settlement)

    def _inline(self, queue_id: str, content: Content) -> bytes | None:
        """The octets to be kept in the database, or None: they are in a file, synced."""
        if isinstance(content, InlineContent) and content.size <= INLINE_MAX:
            return content.octets
        if not self._spool.holds(queue_id, content):
            self._changes.files_made.append(queue_id)
            self._spool.write(queue_id, content)
        self._changes.has_new_files = True
        return None

    def _note_new(self, number: int, new: NewMessage, in_file: bool) -> None:
        changes, lanes = self._changes, new.lanes
        is_whole = len(lanes) == 1 and not in_file
        for lane in new.in_hand:
            changes.taken.append((lane, number, lanes[lane] if is_whole else NOT_WHOLE))
        for lane in lanes:
            changes.waiting.append((lane, 1))

    def _insert_rows(self, table: str, columns: str, rows: list[Row]) -> None:
        for start in range(0, len(rows), MAX_ROWS):
            some = rows[start : start + MAX_ROWS]
            self._execute(
                _insert_statement(table, columns, len(some)), [v for row in some for v in row]
            )

    def _finished(self, settlement: Settlement) -> int:
        """The message's number where this ends it, as far as memory alone can tell; else 0."""
        outcomes = settlement.outcomes
        number = to_int(settlement.queue_id)
        whole = self._in_hand.whole(settlement.lane, number)
        if whole == NOT_WHOLE or settlement.reports or len(whole) != len(outcomes):
            return 0
        for recipient in whole:
            outcome = outcomes.get(recipient)
            if outcome is None or type(outcome) is Delayed:
                return 0
        return number

    def _remove_finished(self, finished: Sequence[tuple[str, int]]) -> None:
        self._execute(
            "DELETE FROM message WHERE id IN (SELECT value FROM json_each(?))",
            (numbers_text([number for _, number in finished]),),
        )
        self._changes.dropped += finished
        self._changes.waiting += [(lane, -1) for lane, _ in finished]

    # --- one by one -----------------------------------------------------------------------------

    def _settle(self, settlement: Settlement) -> Settled:
        number, lane = to_int(settlement.queue_id), settlement.lane
        self._changes.dropped.append((lane, number))
        found = owed_on(self._execute, number, lane)
        if found is None:
            return _UNKNOWN
        owed, in_file = found
        done = _divide(owed, settlement)
        is_removed = not owed and not self._has_other_work(number, lane)
        had_failed = is_removed and self._has_failed(number)
        if is_removed:
            self._drop_message(number, lane, in_file)
        else:
            self._update_work(number, settlement, owed)
            self._insert_rows(
                "done",
                "message, recipient, lane, state, last_reply",
                [(number, recipient, lane, *rest) for recipient, *rest in done],
            )
        if settlement.reports:
            self._insert(settlement.reports)
        return Settled(True, had_failed=had_failed) if is_removed else _KEPT

    def _has_failed(self, number: int) -> bool:
        """A recipient has, as recorded until now."""
        failed = "SELECT 1 FROM done WHERE message = ? AND state = 'failed' LIMIT 1"
        return self._execute(failed, (number,)).fetchone() is not None

    def _has_other_work(self, number: int, lane: str) -> bool:
        return (
            self._execute(
                "SELECT 1 FROM work WHERE message = ? AND lane <> ? LIMIT 1", (number, lane)
            ).fetchone()
            is not None
        )

    def _drop_message(self, number: int, lane: str, in_file: bool) -> None:
        self._execute("DELETE FROM message WHERE id = ?", (number,))
        self._changes.waiting.append((lane, -1))
        if in_file:
            self._changes.files_gone.append(from_int(number))

    def _update_work(self, number: int, settlement: Settlement, owed: Mapping[int, str]) -> None:
        if not owed:
            delete_work(self._execute, self._changes, number, settlement.lane)
            return
        self._execute(
            "UPDATE work SET owed = ?, attempt = ?, next_attempt_at = ?,"
            " is_graced = is_graced AND attempt = ?"  # put back untried: its attempt is to come yet
            " WHERE message = ? AND lane = ?",
            (
                owed_text(owed),
                settlement.attempt,
                settlement.next_attempt_at,
                settlement.attempt,
                number,
                settlement.lane,
            ),
        )

    def _warned(self, queue_id: str, reports: Sequence[NewMessage]) -> bool:
        self._execute("UPDATE work SET is_warned = 1 WHERE message = ?", (to_int(queue_id),))
        if not self._database.changes():
            return False
        if reports:
            self._insert(reports)
        return True

    def _save_lane(self, state: LaneState) -> None:
        held = state.is_held + 2 * state.is_paused
        if self._lane_held(state.name) & ~held:
            self._execute("UPDATE work SET is_graced = 1 WHERE lane = ?", (state.name,))
        if not (state.attempt or held):  # says nothing: no domain is remembered for ever
            self._execute("DELETE FROM lane WHERE name = ?", (state.name,))
            return
        self._execute(
            "INSERT OR REPLACE INTO lane (name, attempt, next_attempt_at, is_held, last_reply)"
            " VALUES (?, ?, ?, ?, ?)",
            (state.name, state.attempt, state.next_attempt_at, held, state.last_reply),
        )

    def _lane_held(self, name: str) -> int:
        """As stored. Asked first: as a condition of the UPDATE it would be asked of each waiting
        message."""
        return self._execute("SELECT is_held FROM lane WHERE name = ?", (name,)).get or 0


def _work_rows(number: int, new: NewMessage) -> list[Row]:
    """Owed is NULL where one lane has every recipient, untried: nearly always."""
    due_at, lanes = new.message.accepted_at, new.lanes
    owed = [i for ids in lanes.values() for i in ids]
    if len(owed) != len(new.message.envelope.recipients) or not owed:
        raise ValueError(f"{new.message.queue_id}: not every recipient stands in one lane")
    if len(lanes) == 1:
        return [(number, next(iter(lanes)), due_at, None)]
    return [(number, lane, due_at, owed_text(dict.fromkeys(i, ""))) for lane, i in lanes.items()]


def _divide(owed: dict[int, str], settlement: Settlement) -> list[tuple[int, str, str]]:
    """Takes the recipients that are done out of `owed`; notes the reply of those that are not."""
    done = []
    for recipient, outcome in settlement.outcomes.items():
        if recipient not in owed:
            continue
        if isinstance(outcome, Delayed):
            owed[recipient] = outcome.reply.brief()
            continue
        del owed[recipient]
        state = "relayed" if isinstance(outcome, Relayed) else "failed"
        done.append((recipient, state, outcome.reply.brief()))
    return done


_statements: dict[tuple[str, int], str] = {}


def _insert_statement(table: str, columns: str, rows: int) -> str:
    statement = _statements.get((table, rows))
    if statement is None:
        row = "(" + ", ".join("?" * (columns.count(",") + 1)) + ")"
        statement = f"INSERT INTO {table} ({columns}) VALUES " + ", ".join([row] * rows)  # noqa: S608
        _statements[table, rows] = statement
    return statement
