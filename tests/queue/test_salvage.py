"""Pages that point back: a walk over a damaged database comes to an end all the same."""

import os
import shutil
from errno import EIO
from itertools import islice
from pathlib import Path
from struct import unpack_from
from typing import Any, cast

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.mail.content import InlineContent
from relay.queue.content_files import FileContent
from relay.queue.salvage import _opened, _Saving, salvage
from relay.queue.sqlite import SqliteStore
from relay.queue.sqlite_schema import PAGE_SIZE, connect
from relay.queue.store import NewMessage
from tests.contract.messages import ids, new

COUNT = 2000

COLUMNS = (
    "id, reverse_path, recipients, body, smtputf8, ret, envid, listener, client, helo, user,"
    " session, accepted_at, size, in_file"
)

HEADER = 12
"""Octets before the cells' places in an interior page (https://sqlite.org/fileformat.html 1.6)."""


class SavingTests(TestCase):
    """What the disk yields no more, and what its database lacks without a word."""

    def setUp(self) -> None:
        self.old, self.new = Path(self.mktemp()), Path(self.mktemp())

    async def filled(self, *news: NewMessage) -> list[str]:
        store = SqliteStore(self.old, reactor)
        await store.open()
        for each in news:
            await store.insert(each)
        await store.close()
        return ids(news)

    def change(self, statement: str) -> None:
        database = connect(self.old / "0" / "queue.db")
        database.execute(statement)
        database.close()

    async def test_a_content_file_that_cannot_be_read_is_one_message_lost(self) -> None:
        one, two = await self.filled(new(0, content=InlineContent(b"x" * 300_000)), new(1))
        self.patch(FileContent, "chunks", unreadable)
        found = salvage(self.old, 0, self.new)
        self.assertEqual(([two], [one]), (found.saved, found.lost))
        self.assertEqual([], list((self.new / "0" / "content").iterdir()), "nothing half written")

    async def test_a_page_that_cannot_be_read_is_one_page_lost(self) -> None:
        queue_ids = await self.filled(*[new(n) for n in range(40)])
        self.patch(shutil, "copyfile", unreadable)
        bad = (self.old / "0" / "queue.db").stat().st_size // PAGE_SIZE // 2 * PAGE_SIZE
        pread = os.pread

        def read(descriptor: int, size: int, at: int) -> bytes:
            return unreadable() if at == bad else pread(descriptor, size, at)

        self.patch(os, "pread", read)
        found = salvage(self.old, 0, self.new)
        self.assertFalse(found.is_whole and not found.lost and not found.held)
        self.assertGreater(len(found.saved), 20)
        self.assertLessEqual(set(found.saved), set(queue_ids))

    async def test_a_recipient_that_no_row_tells_of_is_not_forgotten(self) -> None:
        """The message is held, whole: an operator is to say who has it."""
        lanes = {"east": ["x@b.example"], "west": ["y@b.example"]}
        one, two = await self.filled(new(0, lanes), new(1, lanes))
        first = "message = (SELECT min(id) FROM message)"
        self.change(f"DELETE FROM work WHERE lane = 'west' AND {first}")
        found = salvage(self.old, 0, self.new)
        self.assertEqual(([one, two], [one]), (found.saved, found.held))


def unreadable(*_: object) -> Any:
    raise OSError(EIO, "Input/output error")


class WalkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        database = connect(self.path)
        row = ("a" * 100, "b", "", 0, "", "", "l", "c", "h", "u", "s", 0.0, 1, 0)
        places = ", ".join("?" * (1 + len(row)))
        with database:
            for number in range(1, COUNT + 1):
                database.execute(
                    f"INSERT INTO message ({COLUMNS}) VALUES ({places})",
                    (number, *row),
                )
        of_table = "SELECT rootpage FROM sqlite_schema WHERE name = 'message'"
        self.root = cast(int, database.execute(of_table).get)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        database.close()

    def test_a_child_that_leads_back(self) -> None:
        octets = bytearray(self.path.read_bytes())
        page = (self.root - 1) * PAGE_SIZE
        first, later = (
            page + unpack_from(">H", octets, page + HEADER + 2 * cell)[0] for cell in (1, 5)
        )
        octets[later : later + 4] = octets[first : first + 4]
        self.path.write_bytes(octets)
        database = _opened(self.path)
        self.addCleanup(database.close)
        nothing: Any = None
        walk = _Saving(database, nothing, nothing, nothing)._walk("message", "id")
        found = list(islice(walk, 3 * COUNT))
        self.assertLess(len(found), 2 * COUNT)
        self.assertGreater(len(set(found)), COUNT * 9 // 10)
