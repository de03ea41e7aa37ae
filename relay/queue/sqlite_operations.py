"""What an operator's calls write, and the moving of works between lanes.

Each runs inside the transaction of its group and notes in `changes` what follows the commit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from relay.queue.ids import from_int, known_numbers, to_int
from relay.queue.in_hand import Changes, InHand
from relay.queue.sqlite_rows import numbers_text, owed_from, owed_text, recipients_from

Execute = Callable[..., Any]
"""A connection's."""


class SqliteOperations:
    """`in_hand` is only looked at."""

    def __init__(self, execute: Execute, in_hand: InHand) -> None:
        self._execute = execute
        self._in_hand = in_hand

    def move(self, changes: Changes, queue_id: str, lane: str, to: Mapping[int, str]) -> bool:
        number = to_int(queue_id)
        found = owed_on(self._execute, number, lane)
        if found is None or self._in_hand.has(lane, number):
            return False
        owed, _ = found
        moving: dict[str, dict[int, str]] = {}
        for recipient, target in to.items():
            if recipient in owed and target != lane:
                moving.setdefault(target, {})[recipient] = owed.pop(recipient)
        for target, theirs in moving.items():
            self._move_to(changes, number, lane, target, theirs)
        if not owed:
            delete_work(self._execute, changes, number, lane)
        elif moving:
            self._execute(
                "UPDATE work SET owed = ? WHERE message = ? AND lane = ?",
                (owed_text(owed), number, lane),
            )
        return True

    def _move_to(
        self, changes: Changes, number: int, lane: str, target: str, owed: dict[int, str]
    ) -> None:
        already = owed_on(self._execute, number, target)
        if already is None:
            self._execute(
                "INSERT INTO work (message, lane, attempt, is_held, is_warned, is_graced, owed)"
                " SELECT message, ?, attempt, is_held, is_warned, is_graced, ? FROM work"
                " WHERE message = ? AND lane = ?",
                (target, owed_text(owed), number, lane),
            )
            changes.waiting.append((target, 1))
            return
        self._execute(
            "UPDATE work SET owed = ?1, next_attempt_at = 0, attempt = max(attempt,"
            " (SELECT attempt FROM work WHERE message = ?2 AND lane = ?4))"
            " WHERE message = ?2 AND lane = ?3",
            (owed_text(already[0] | owed), number, target, lane),
        )

    def hold(self, changes: Changes, queue_ids: Sequence[str]) -> list[str]:
        found = self._update_messages("is_held = 1", "TRUE", queue_ids)
        self._update_works("is_held = 1", found)
        return found

    def release(self, changes: Changes, queue_ids: Sequence[str], now: float) -> list[str]:
        found = self._update_messages("is_held = 0", "is_held", queue_ids)
        self._update_works(
            "is_held = 0, is_graced = 1, next_attempt_at = min(next_attempt_at, ?)", found, now
        )
        return found

    def retry(self, changes: Changes, queue_ids: Sequence[str], now: float) -> list[str]:
        rows = self._execute(
            "SELECT id FROM message WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (numbers_text(known_numbers(queue_ids)),),
        )
        found = [from_int(number) for (number,) in rows]
        self._update_works("is_graced = 1, next_attempt_at = min(next_attempt_at, ?)", found, now)
        return found

    def _update_messages(self, change: str, condition: str, queue_ids: Sequence[str]) -> list[str]:
        rows = self._execute(
            f"UPDATE message SET {change} WHERE {condition} AND id IN"  # noqa: S608
            " (SELECT value FROM json_each(?)) RETURNING id",
            (numbers_text(known_numbers(queue_ids)),),
        )
        return sorted([from_int(number) for (number,) in rows])

    def _update_works(self, change: str, queue_ids: Iterable[str], *values: float) -> None:
        numbers = numbers_text([to_int(queue_id) for queue_id in queue_ids])
        self._execute(
            f"UPDATE work SET {change} WHERE message IN (SELECT value FROM json_each(?))",  # noqa: S608
            (*values, numbers),
        )

    def remove(self, changes: Changes, queue_ids: Sequence[str]) -> list[str]:
        numbers = numbers_text(known_numbers(queue_ids))
        rows = self._execute(
            "SELECT id, in_file, lane FROM message JOIN work ON message = id"
            " WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (numbers,),
        ).fetchall()
        self._execute(
            "DELETE FROM message WHERE id IN (SELECT value FROM json_each(?))", (numbers,)
        )
        found = list(dict.fromkeys([from_int(number) for number, _, _ in rows]))
        for number, _, lane in rows:
            changes.dropped.append((lane, number))
            changes.waiting.append((lane, -1))
        changes.files_gone += {from_int(n): None for n, in_file, _ in rows if in_file}
        return found


def owed_on(execute: Execute, number: int, lane: str) -> tuple[dict[int, str], bool] | None:
    """What a work owes, and whether the content is in a file. None: there is no such work."""
    row = execute(
        "SELECT recipients, owed, in_file FROM work JOIN message ON id = message"
        " WHERE message = ? AND lane = ?",
        (number, lane),
    ).fetchone()
    if row is None:
        return None
    return owed_from(row[1], recipients_from(row[0])), bool(row[2])


def delete_work(execute: Execute, changes: Changes, number: int, lane: str) -> None:
    execute("DELETE FROM work WHERE message = ? AND lane = ?", (number, lane))
    changes.waiting.append((lane, -1))
