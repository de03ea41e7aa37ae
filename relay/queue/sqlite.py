"""The store on SQLite: what is kept survives the loss of power at any moment.

Joins the parts: the spool directory, the writers of content, the thread that commits in groups,
and what it writes and reads. Design note: docs/queue.rst.
"""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw
from twisted.internet.defer import Deferred
from zope.interface import implementer

from relay.queue.content_files import (
    MAX_BUFFERED,
    ContentBuffers,
    ContentFile,
    ContentWriter,
    FileContent,
)
from relay.queue.group_commit import Call, GroupCommit, Reactor
from relay.queue.ids import from_int
from relay.queue.in_hand import InHand
from relay.queue.promise import Promise
from relay.queue.spool import Spool
from relay.queue.sqlite_reads import COUNTS, SqliteReads
from relay.queue.sqlite_schema import connect, damaged, next_start_number, trouble
from relay.queue.sqlite_writes import SqliteWrites
from relay.queue.store import (
    Claim,
    IStore,
    LaneState,
    Listed,
    NewMessage,
    Opened,
    Selection,
    Settlement,
    StoreFailed,
    StoreUnusable,
    Work,
)


class SqliteLedger:
    """The database and its spool, as the committing thread uses them."""

    def __init__(self, spool: Spool, buffers: ContentBuffers, vfs: str | None) -> None:
        self._spool = spool
        self._buffers = buffers
        self._vfs = vfs

    def open(self) -> Opened:
        self._spool.open()
        try:
            return self._open_database()
        except BaseException:
            self._spool.close()
            raise

    def _open_database(self) -> Opened:
        self._database = database = connect(self._spool.database, self._vfs)
        try:
            counts: Any = database.execute(COUNTS).fetchall()
            in_hand = InHand(dict(counts))
            self._writes = SqliteWrites(database, in_hand, self._spool)
            self._reads = SqliteReads(database, in_hand, self._spool)
            troubles = self._clear_content()
            return Opened(next_start_number(database), self._reads.lanes(), troubles)
        except (apsw.NotADBError, apsw.CorruptError) as error:
            database.close()
            raise damaged(self._spool.database, error) from error
        except (apsw.Error, OSError, StoreFailed) as error:
            database.close()
            raise StoreUnusable(f"{self._spool.database} cannot be used: {error}") from error

    def _clear_content(self) -> tuple[str, ...]:
        """Mail whose content is gone cannot be relayed, nor may it vanish: it is held."""
        rows = self._database.execute("SELECT id FROM message WHERE in_file")
        missing = self._spool.clear([from_int(number) for (number,) in rows])
        if missing:
            self._writes.commit([Call("hold", (missing,), is_write=True)])
        return tuple(
            f"the content of {queue_id} is missing ({self._spool.path(queue_id)}): it is held;"
            " put the file back and release it, or remove it"
            for queue_id in missing
        )

    def commit(self, calls: Sequence[Call]) -> Sequence[Any]:
        results = self._writes.commit(calls)
        gone = self._writes.files_gone()
        if gone:
            self._buffers.run(lambda: self._spool.remove(gone))
        return results

    def read(self, call: Call) -> Any:
        try:
            answer = getattr(self._reads, call.name)(*call.arguments)
        except apsw.Error as error:
            raise trouble(self._spool.database, "read", error) from error
        return self._slices(answer) if isinstance(answer, Generator) else answer

    def _slices(self, answer: Generator[None, None, Any]) -> Generator[None, None, Any]:
        try:
            return (yield from answer)
        except apsw.Error as error:
            raise trouble(self._spool.database, "read", error) from error

    def close(self) -> None:
        self._buffers.close()
        try:
            self._database.close()
        except apsw.Error as error:
            raise StoreFailed(f"the queue's log was not put away: {error}") from error
        finally:
            self._spool.close()

    def __repr__(self) -> str:
        return f"<SqliteLedger {self._spool!r}>"


@implementer(IStore)
class SqliteStore:
    """`directory` is the spool's; nothing is touched before `open`. `vfs` names one of apsw's."""

    def __init__(
        self,
        directory: Path,
        reactor: Reactor,
        vfs: str | None = None,
        max_content_memory: int = MAX_BUFFERED,
        number: int = 0,
    ) -> None:
        self._spool = Spool(directory, number)
        self.buffers = ContentBuffers(reactor, self._spool.path, max_content_memory)
        self._calls = GroupCommit(reactor, SqliteLedger(self._spool, self.buffers, vfs))

    def open(self) -> Deferred[Opened]:
        return self._calls.open()

    def close(self) -> Deferred[None]:
        return self._calls.close()

    def new_content(self, queue_id: str) -> ContentWriter:
        return self.buffers.writer(queue_id)

    def insert(self, new: NewMessage) -> Promise:
        content = new.message.content
        if type(content) is FileContent and content.file is not None:
            return self._insert_synced(new, content, content.file)
        return self._calls.write("insert", new)

    def _insert_synced(self, new: NewMessage, content: FileContent, file: ContentFile) -> Promise:
        """The row follows its file's sync. A refused message's file goes; a kept one's stays."""
        inserted = Promise()
        file.is_kept = True

        def record(_: None) -> None:
            if file.failed is not None:
                failed(StoreFailed(f"{file.path} cannot be written: {file.failed.strerror}"))
                return
            self._calls.write("insert", new).addCallbacks(kept, failed)

        def kept(_: None) -> None:
            content.file = None
            inserted.keep(None)

        def failed(reason: Any) -> None:
            file.is_kept = False
            self.buffers.run(file.remove)
            inserted.break_(reason)

        self.buffers.sync(file).addCallback(record)
        return inserted

    def claim(self, lane: str, now: float, limit: int) -> Deferred[Claim]:
        return self._calls.read("claim", lane, now, limit)

    def settle(self, settlement: Settlement) -> Promise:
        return self._calls.write_patiently("settle", settlement)

    def claim_expired(self, accepted_before: float, limit: int) -> Deferred[Sequence[Work]]:
        return self._calls.read("claim_expired", accepted_before, limit)

    def overdue(self, accepted_before: float, limit: int) -> Deferred[Sequence[Work]]:
        return self._calls.read("overdue", accepted_before, limit)

    def warned(self, queue_id: str, reports: tuple[NewMessage, ...]) -> Deferred[bool]:
        return self._calls.write("warned", queue_id, reports).deferred()

    def save_lane(self, state: LaneState) -> Deferred[None]:
        return self._calls.write("save_lane", state).deferred()

    def lanes(self) -> Deferred[Sequence[LaneState]]:
        return self._calls.read("lanes")

    def move(self, queue_id: str, lane: str, to: Mapping[int, str]) -> Deferred[bool]:
        return self._calls.write("move", queue_id, lane, to).deferred()

    def find(self, selection: Selection, after: str, limit: int) -> Deferred[Sequence[Listed]]:
        return self._calls.read("find", selection, after, limit)

    def works(self, queue_ids: Sequence[str]) -> Deferred[Sequence[Work]]:
        return self._calls.read("works", queue_ids)

    def hold(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        return self._calls.write("hold", queue_ids).deferred()

    def release(self, queue_ids: Sequence[str], now: float) -> Deferred[Sequence[str]]:
        return self._calls.write("release", queue_ids, now).deferred()

    def retry(self, queue_ids: Sequence[str], now: float) -> Deferred[Sequence[str]]:
        return self._calls.write("retry", queue_ids, now).deferred()

    def remove(self, queue_ids: Sequence[str]) -> Deferred[Sequence[str]]:
        return self._calls.write("remove", queue_ids).deferred()

    def __repr__(self) -> str:
        return f"<SqliteStore {self._spool!r} {self._calls!r}>"
