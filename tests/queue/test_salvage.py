"""Pages that point back: a walk over a damaged database comes to an end all the same."""

from itertools import islice
from pathlib import Path
from struct import unpack_from
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from relay.queue.salvage import _opened, _Saving
from relay.queue.sqlite_schema import PAGE_SIZE, connect

COUNT = 2000

COLUMNS = (
    "id, reverse_path, recipients, body, smtputf8, ret, envid, listener, client, helo, user,"
    " session, accepted_at, size, in_file"
)

HEADER = 12
"""Octets before the cells' places in an interior page (https://sqlite.org/fileformat.html 1.6)."""


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
