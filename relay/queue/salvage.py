"""Saves what can still be read of a damaged queue into a new one; the damaged one stays as it is.

Reads a copy, row by row, from both ends of each table, so that one bad page costs the rows on it
and few others. A message is saved whole or named as lost. One of which it cannot be told who has
it already is saved as held: relayed blindly, it could come twice.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import orjson

from relay.mail.content import Content, InlineContent
from relay.queue.ids import from_int
from relay.queue.spool import Spool
from relay.queue.sqlite_rows import MESSAGE_COLUMNS, Row, message_from, recipients_from
from relay.queue.sqlite_schema import PAGE_SIZE, connect
from relay.queue.store import UNROUTED, StoreUnusable

_LAST = 2**63 - 1

_WORK_COLUMNS = "message, lane, next_attempt_at, attempt, is_held, is_warned, is_graced, owed"
_DONE_COLUMNS = "message, recipient, lane, state, last_reply"
_LANE_COLUMNS = "name, attempt, next_attempt_at, is_held, last_reply"

_PAGE_COUNT = slice(28, 32)
_FREE_LIST = slice(32, 40)
"""Of the database's first page (SQLite's file format, 1.3)."""


class NothingLeft(StoreUnusable):
    """Nothing can be read of one queue. The text is one line for the operator."""


_START_NUMBERS = 1 << 9
"""Where the old start number cannot be read: half of the numbers away from a young queue's."""


@dataclass(slots=True)
class Salvaged:
    """Queue ids."""

    saved: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    """Of those saved: what they owe could not be read."""
    lost: list[str] = field(default_factory=list)
    is_whole: bool = True
    """False: something could not be read, and may have told of more."""


def salvage(directory: Path, number: int, to: Path) -> Salvaged:
    """From DIRECTORY/NUMBER to TO/NUMBER, which must not exist yet. Raises StoreUnusable, and of
    these NothingLeft where another queue may still be saved."""
    source, target = Spool(directory, number), Spool(to, number)
    source.open()
    try:
        target.open()
        try:
            return _salvage(source, target)
        finally:
            target.close()
    except OSError as error:
        raise StoreUnusable(f"{to} cannot be written: {error.strerror}") from error
    finally:
        source.close()


def _salvage(source: Spool, target: Spool) -> Salvaged:
    folder = target.database.parent / "copy"
    folder.mkdir(0o700)
    try:
        old = _open_copy(source.database, folder)
        try:
            new = connect(target.database)
            try:
                return _Saving(old, new, source, target).run()
            finally:
                new.close()
        finally:
            old.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open_copy(path: Path, folder: Path) -> apsw.Connection:
    """With another first page where its own is damaged: all else hangs on that one."""
    copy = folder / path.name
    for name in (path.name, f"{path.name}-wal"):
        if (path.parent / name).exists():
            _copy(path.parent / name, folder / name)
    _count_pages(copy)
    try:
        return _opened(copy)
    except StoreUnusable:
        _replace_first_page(copy, folder / "new.db")
    try:
        return _opened(copy)
    except StoreUnusable:
        raise NothingLeft(f"nothing can be read of {path}: restore it from a backup") from None


def _copy(path: Path, copy: Path) -> None:
    """With zeros in the place of pages that the disk does not yield any more. Raises OSError."""
    try:
        shutil.copyfile(path, copy)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        with path.open("rb", buffering=0) as source, copy.open("wb") as target:
            for at in range(0, path.stat().st_size, PAGE_SIZE):
                target.write(_page(source.fileno(), at))


def _page(descriptor: int, at: int) -> bytes:
    try:
        return os.pread(descriptor, PAGE_SIZE, at)
    except OSError:
        return bytes(PAGE_SIZE)


def _count_pages(path: Path) -> None:
    """A database that was cut short is refused whole, unless it says so itself."""
    with path.open("r+b") as file:
        pages = file.seek(0, 2) // PAGE_SIZE
        file.seek(_PAGE_COUNT.start)
        if int.from_bytes(file.read(4), "big") > pages:
            file.seek(_PAGE_COUNT.start)
            file.write(pages.to_bytes(4, "big"))


def _opened(path: Path) -> apsw.Connection:
    database = connect(path)
    try:
        database.pragma("cell_size_check", True)
        database.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        database.execute("SELECT id FROM message LIMIT 0").fetchall()
    except apsw.Error as error:
        database.close()
        raise StoreUnusable(f"{path.name} cannot be read at all: {error}") from None
    return database


def _replace_first_page(path: Path, fresh: Path) -> None:
    """Our tables lie where they lie in every database of this layout."""
    connect(fresh).close()
    page = bytearray(fresh.read_bytes()[:PAGE_SIZE])
    with path.open("r+b") as file:
        pages = file.seek(0, 2) // PAGE_SIZE
        page[_PAGE_COUNT] = pages.to_bytes(4, "big")
        page[_FREE_LIST] = bytes(8)
        file.seek(0)
        file.write(page)


class _Saving:
    """From the one database to the other."""

    def __init__(
        self, old: apsw.Connection, new: apsw.Connection, source: Spool, target: Spool
    ) -> None:
        self._old, self._new = old, new
        self._source, self._target = source, target
        self._found = Salvaged()

    def run(self) -> Salvaged:
        numbers = sorted(
            {
                *self._walk("message", "id"),
                *self._walk("content", "message"),
                *self._walk("work", "message"),
            }
        )
        with self._new:
            self._go_on_counting()
            for row in self._rows(f"SELECT {_LANE_COLUMNS} FROM lane") or ():  # noqa: S608
                self._insert("lane", _LANE_COLUMNS, row)
            for number in numbers:
                self._one(number)
        self._target.sync()
        return self._found

    def _walk(self, table: str, column: str) -> Iterator[int]:
        """The numbers in a table, forwards to its end or to a bad page, then backwards."""
        for order, sign, at in (("ASC", ">", -1), ("DESC", "<", _LAST)):
            question = f"SELECT {column} FROM {table} WHERE {column} {sign} ?"  # noqa: S608
            question += f" ORDER BY {column} {order} LIMIT 1"
            while rows := self._rows(question, at):
                ((found,),) = rows
                if (found <= at) if sign == ">" else (found >= at):  # a bad page leads back
                    self._found.is_whole = False
                    rows = None
                    break
                at = found
                yield at
            if rows is not None:
                return

    def _rows(self, question: str, *values: object) -> list[Row] | None:
        """None: they cannot be read."""
        try:
            return self._old.execute(question, values).fetchall()
        except apsw.Error:
            self._found.is_whole = False
            return None

    def _insert(self, table: str, columns: str, row: Row) -> None:
        places = ", ".join("?" * len(row))
        self._new.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", row)  # noqa: S608

    def _go_on_counting(self) -> None:
        rows = self._rows("SELECT start_number FROM meta")
        start = rows[0][0] if rows else _START_NUMBERS
        self._new.execute("UPDATE meta SET start_number = ?", (start,))

    def _one(self, number: int) -> None:
        queue_id = from_int(number)
        rows = self._rows(f"SELECT {MESSAGE_COLUMNS}, is_held FROM message WHERE id = ?", number)  # noqa: S608
        row = rows[0] if rows else None
        if row is None or not self._save_content(queue_id, number, row):
            self._found.lost.append(queue_id)
            return
        works = self._rows(f"SELECT {_WORK_COLUMNS} FROM work WHERE message = ?", number)  # noqa: S608
        done = self._rows(f"SELECT {_DONE_COLUMNS} FROM done WHERE message = ?", number)  # noqa: S608
        if not works or done is None or not _tells_all(row, works, done):
            works, done = [(number, UNROUTED, 0.0, 0, 1, 0, 0, None)], []
            row = (*row[:-1], 1)
            self._found.held.append(queue_id)
        self._insert("message", f"{MESSAGE_COLUMNS}, is_held", row)
        for work in works:
            self._insert("work", _WORK_COLUMNS, work)
        for each in done:
            self._insert("done", _DONE_COLUMNS, each)
        self._found.saved.append(queue_id)

    def _save_content(self, queue_id: str, number: int, row: Row) -> bool:
        """Whether the message can be read whole."""
        size, in_file = row[15], row[16]
        content: Content
        if in_file:
            content = self._source.content(queue_id, size)
            try:
                is_whole = self._source.path(queue_id).stat().st_size == size
            except OSError:
                return False
        else:
            rows = self._rows("SELECT octets FROM content WHERE message = ?", number)
            octets = rows[0][0] if rows else b""
            content, is_whole = InlineContent(octets), len(octets) == size
        if not is_whole or not _is_message(queue_id, row, content):
            return False
        if in_file:
            return self._copy_file(queue_id, content)
        self._insert("content", "message, octets", (number, octets))
        return True

    def _copy_file(self, queue_id: str, content: Content) -> bool:
        try:
            self._target.write(queue_id, _Damaged(content))
        except _Unreadable:
            self._target.remove([queue_id])
            return False
        return True


class _Unreadable(Exception):
    """The old queue's disk does not yield it any more."""


class _Damaged:
    """Content of the old queue. Trouble in reading it is its own, trouble in writing the end."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.size = content.size

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        try:
            yield from self._content.chunks(size)
        except OSError as error:
            raise _Unreadable from error


def _is_message(queue_id: str, row: Row, content: Content) -> bool:
    try:
        return bool(message_from(queue_id, row, content).envelope.recipients)
    except (ValueError, TypeError):
        return False


def _tells_all(row: Row, works: list[Row], done: list[Row]) -> bool:
    """Whether each recipient is owed to, or done with: else a row is missing."""
    try:
        recipients = {r.id for r in recipients_from(row[2])}
        told = {each[1] for each in done}
        for work in works:
            owed: Any = work[-1]
            ids = recipients if owed is None else {i for i, _ in orjson.loads(owed)}
            if not ids:
                return False
            told |= ids
    except (ValueError, TypeError):
        return False
    return recipients <= told
