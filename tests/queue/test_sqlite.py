"""What only a store on disk can do: lose power, be killed, be locked, be sick, and come back."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from errno import EIO, ENOSPC, EROFS
from pathlib import Path
from typing import Any

import apsw
from twisted.internet import reactor
from twisted.internet.defer import DeferredList, gatherResults
from twisted.trial.unittest import TestCase

from relay.queue import spool as spool_module
from relay.queue import sqlite_reads
from relay.queue.group_commit import Call
from relay.queue.in_hand import InHand
from relay.queue.open_store import open_store, spool_of
from relay.queue.spool import Spool
from relay.queue.sqlite import SqliteStore
from relay.queue.sqlite_reads import SqliteReads
from relay.queue.sqlite_schema import PAGE_SIZE, connect
from relay.queue.sqlite_writes import SqliteWrites
from relay.queue.store import IStore, LaneState, Selection, StoreFailed, StoreUnusable
from tests.contract.messages import (
    DELAYED,
    FAILED,
    NOW,
    ORIGIN,
    RELAYED,
    ids,
    new,
    octets,
    queue_id,
    settlement,
)

SESSIONS = 20
"""Of the child: each has one call under way."""

CHILD = Path(__file__).with_name("inserting_child.py")


LEAF = 0x0D
"""The first octet of a page with rows of a table."""


def _damage_messages(database: Path) -> None:
    """The pages where their rows lie, but for the table's first one: the store can be opened."""
    octets = bytearray(database.read_bytes())
    for at in range(0, len(octets), PAGE_SIZE):
        page = octets[at : at + PAGE_SIZE]
        if page[0] == LEAF and b"sender@a.example" in page:
            octets[at : at + 8] = bytes(8)
    database.write_bytes(octets)


class StoreTestCase(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.contents = self.directory / "0" / "content"

    async def opened(self, directory: Path | None = None, vfs: str | None = None) -> SqliteStore:
        store = SqliteStore(directory or self.directory, reactor, vfs)
        self.troubles = (await store.open()).troubles
        return store

    async def found(self, store: IStore) -> list[str]:
        found = await store.find(Selection(), "", 10_000)
        return [listed.queue_id for listed in found]


class GroupTests(StoreTestCase):
    async def test_a_bad_call_harms_no_other_of_its_group(self) -> None:
        store = await self.opened()
        await store.insert(new(5))
        news = [new(n) for n in range(10)]
        calls = [store.insert(each).deferred() for each in news]
        calls.append(store.hold([queue_id(100, 3)]))
        results = await DeferredList(calls, consumeErrors=True)
        told = [is_done for is_done, _ in results]
        self.assertEqual(told, [n != 5 for n in range(10)] + [True])
        results[5][1].trap(StoreFailed)
        self.assertEqual(await self.found(store), ids(news))
        self.assertEqual([s.waiting for s in await store.lanes()], [10])
        await store.close()

    async def test_text_that_cannot_be_stored_harms_no_other(self) -> None:
        store = await self.opened()
        calls = [
            store.insert(new(0, reverse_path="\udcff@a.example")).deferred(),
            store.insert(new(1)).deferred(),
        ]
        (bad, _), (good, _) = await DeferredList(calls, consumeErrors=True)
        self.assertEqual((bad, good), (False, True))
        self.assertEqual(await self.found(store), ids([new(1)]))
        await store.close()

    async def test_groups_of_every_size(self) -> None:
        store = await self.opened()
        number = 0
        for size in (1, 2, 63, 64, 65, 129, 300):
            news = [new(number + n, in_hand=("east",)) for n in range(size)]
            number += size
            await DeferredList(
                [store.insert(each).deferred() for each in news], fireOnOneErrback=True
            )
            self.assertEqual(await self.found(store), ids(news))
            done = [store.settle(settlement(each, {1: RELAYED})).deferred() for each in news]
            results = await DeferredList(done, fireOnOneErrback=True)
            self.assertTrue(all(settled.is_removed for _, settled in results))
            self.assertEqual(await self.found(store), [])
        await store.close()

    async def test_a_settlement_and_a_removal_in_one_group(self) -> None:
        store = await self.opened()
        news = [new(n, in_hand=("east",)) for n in range(4)]
        await DeferredList([store.insert(each).deferred() for each in news], fireOnOneErrback=True)
        calls = [
            store.remove(ids(news[:2])),
            store.settle(settlement(news[0], {1: RELAYED})).deferred(),
            store.settle(settlement(news[1], {1: DELAYED})).deferred(),
            store.settle(settlement(news[2], {1: FAILED})).deferred(),
        ]
        await DeferredList(calls, fireOnOneErrback=True)
        self.assertEqual(await self.found(store), ids(news[3:]))
        self.assertEqual([s.waiting for s in await store.lanes()], [1])
        await store.close()

    async def test_close_commits_what_waits(self) -> None:
        store = await self.opened()
        inserted = store.insert(new(0)).deferred()
        await store.close()
        await inserted
        store = await self.opened()
        self.assertEqual(await self.found(store), ids([new(0)]))
        await store.close()

    async def test_commits_pass_between_the_slices_of_a_long_read(self) -> None:
        self.patch(sqlite_reads, "SLICE", 5)
        store = await self.opened()
        news = [new(n, reverse_path="rare@a.example" if n in (3, 47) else "") for n in range(50)]
        await DeferredList([store.insert(each).deferred() for each in news], fireOnOneErrback=True)
        order = []
        reading = store.find(Selection(sender="rare@*"), "", 10)
        reading.addCallback(lambda found: order.append([each.queue_id for each in found]))
        reactor.callLater(0, lambda: writing())
        written = [None]

        def writing() -> None:
            written[0] = store.insert(new(99)).deferred().addCallback(order.append)

        await reading
        await written[0]
        self.assertIn(ids([news[3], news[47]]), order)
        works = await store.claim_expired(NOW, 200)
        self.assertEqual(ids(works), ids([*news, new(99)]))
        self.assertEqual(len(await store.overdue(NOW, 200)), 0)
        await store.close()

    async def test_a_sweep_that_breaks_off_keeps_nothing_in_hand(self) -> None:
        """With the database damaged where a later slice lies, say."""
        self.patch(sqlite_reads, "SLICE", 2)
        store = await self.opened()
        news = [new(n) for n in range(6)]
        await DeferredList([store.insert(each).deferred() for each in news], fireOnOneErrback=True)
        slices = SqliteReads._waited

        def breaking(*arguments: Any) -> Any:
            for number, rows in enumerate(slices(*arguments)):
                if number == 2:
                    raise apsw.CorruptError("damaged")
                yield rows

        self.patch(SqliteReads, "_waited", breaking)
        await self.assertFailure(store.claim_expired(NOW, 200), StoreFailed)
        claimed = await store.claim("east", NOW, 10)
        self.assertEqual(ids(claimed.works), ids(news))
        await store.close()

    async def test_what_goes_between_the_slices_of_a_sweep_harms_no_other(self) -> None:
        """Removed, moved or settled meanwhile."""
        self.patch(sqlite_reads, "SLICE", 2)
        store = await self.opened()
        news = [new(n) for n in range(6)]
        await DeferredList([store.insert(each).deferred() for each in news], fireOnOneErrback=True)
        sweep = store._calls._ledger._reads.claim_expired(NOW, 200)
        next(sweep)
        await store.remove(ids([news[0], news[3]]))
        with self.assertRaises(StopIteration) as end:
            while True:
                next(sweep)
        self.assertEqual(ids(end.exception.value), ids([*news[:3], *news[4:]]))
        for work in end.exception.value:
            await store.settle(settlement(work, {1: DELAYED}, at=NOW))
        claimed = await store.claim("east", NOW, 10)
        self.assertEqual(ids(claimed.works), ids([*news[1:3], *news[4:]]))
        await store.close()


class SpoolTests(StoreTestCase):
    async def unusable(self, directory: Path | None = None) -> str:
        store = SqliteStore(directory or self.directory, reactor)
        error = await self.assertFailure(store.open(), StoreUnusable)
        self.assertNotIn("\n", str(error))
        return str(error)

    async def test_a_second_relay_is_refused_and_told_by_whom(self) -> None:
        store = await self.opened()
        said = await self.unusable()
        self.assertIn(
            f"spool {self.directory} is in use by another relay (pid {os.getpid()})", said
        )
        await store.close()
        await (await self.opened()).close()

    async def test_no_other_program_gets_at_the_database(self) -> None:
        store = await self.opened()
        await store.insert(new(0))
        other = apsw.Connection(str(self.directory / "0" / "queue.db"))
        self.assertRaises(apsw.BusyError, other.execute, "SELECT * FROM message")
        other.close()
        await store.close()

    async def test_what_could_not_be_opened_can_be_closed(self) -> None:
        await SqliteStore(self.directory, reactor).close()
        self.directory.write_text("")
        store = SqliteStore(self.directory, reactor)
        opening, closing = store.open(), store.close()
        await self.assertFailure(opening, StoreUnusable)
        await closing
        await store.close()

    async def test_what_is_no_directory_cannot_be_the_spool(self) -> None:
        self.directory.write_text("")
        said = await self.unusable()
        self.assertIn(f"spool {self.directory} cannot be written", said)
        self.assertIn("make it a directory that belongs to", said)

    async def test_trouble_of_the_disk_is_not_told_as_trouble_with_rights(self) -> None:
        for number, hint in (
            (EIO, "look at that disk"),
            (ENOSPC, "make room"),
            (EROFS, "writable"),
        ):

            def ill(path: object, number: int = number) -> None:
                raise OSError(number, os.strerror(number))

            self.patch(spool_module, "_sync_directory", ill)
            self.assertIn(hint, await self.unusable())

    async def test_a_newer_layout_is_refused(self) -> None:
        await (await self.opened()).close()
        database = connect(self.directory / "0" / "queue.db")
        database.pragma("user_version", 999)
        database.close()
        self.assertIn("written by a newer relay (layout 999", await self.unusable())

    async def test_an_older_layout_is_brought_up_to_date(self) -> None:
        """Layout 1 knew no name of a client and no protocol, and layout 2 no REQUIRETLS."""
        store = await self.opened()
        await store.insert(new(0))
        await store.close()
        database = connect(self.directory / "0" / "queue.db")
        for column in ("name", "protocol", "requires_tls"):
            database.execute(f"ALTER TABLE message DROP COLUMN {column}")
        database.pragma("user_version", 1)
        database.close()
        store = await self.opened()
        (work,) = await store.works(await self.found(store))
        self.assertEqual(replace(ORIGIN, name="", protocol=""), work.message.origin)
        await store.close()

    async def test_a_damaged_database_is_refused(self) -> None:
        await (await self.opened()).close()
        (self.directory / "0" / "queue.db").write_bytes(b"no database " * 1000)
        self.assertIn("is damaged", await self.unusable())

    async def test_a_damage_that_is_met_later_is_told_as_one(self) -> None:
        """Whatever is read, in slices or at once: no defect of ours, and what to do."""
        store = await self.opened()
        news = [new(number) for number in range(300)]
        await gatherResults([store.insert(each).deferred() for each in news])
        await store.close()
        _damage_messages(self.directory / "0" / "queue.db")
        store = await self.opened()
        for reading in (
            store.find(Selection(), "", 100),
            store.claim("east", 1e10, 100),
            store.claim_expired(1e10, 100),
            store.overdue(1e10, 100),
            store.works(ids(news)),
        ):
            error = await self.assertFailure(reading, StoreFailed)
            self.assertIn("queue.db is damaged", str(error))
            self.assertIn("relayctl salvage DIRECTORY", str(error))
        await store.close()

    async def test_nobody_else_reads_the_mail(self) -> None:
        store = await self.opened()
        for folder in (self.directory, self.directory / "0", self.contents):
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        await store.close()

    async def test_leftovers_are_cleared(self) -> None:
        store = await self.opened()
        writer = store.new_content(queue_id(100))
        writer.write(b"x" * 300_000)
        await store.insert(new(0, content=writer.finish()))
        await store.close()
        (self.contents / queue_id(5)).write_bytes(b"of a message that never was")
        store = await self.opened()
        self.assertEqual([path.name for path in self.contents.iterdir()], [queue_id(100)])
        self.assertEqual(self.troubles, ())
        await store.close()

    async def test_a_message_without_its_content_is_held_and_told(self) -> None:
        store = await self.opened()
        writer = store.new_content(queue_id(100))
        writer.write(b"x" * 300_000)
        await store.insert(new(0, content=writer.finish()))
        await store.insert(new(1))
        await store.close()
        (self.contents / queue_id(100)).unlink()
        store = await self.opened()
        (trouble,) = self.troubles
        self.assertIn(f"the content of {queue_id(100)} is missing", trouble)
        self.assertEqual(ids((await store.claim("east", NOW, 9)).works), ids([new(1)]))
        await store.close()

    def test_urls(self) -> None:
        self.assertEqual(spool_of("sqlite:/var/spool/relay"), Path("/var/spool/relay"))
        self.assertIsNone(spool_of("memory:"))
        for url in ("sqlite:", "postgresql://x", "/var/spool"):
            self.assertRaises(ValueError, open_store, url, reactor)


class SickFile(apsw.VFSFile):
    def __init__(self, vfs: "SickDisk", name, flags) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs
        self._path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._vfs.is_full:
            raise apsw.FullError("disk full")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self._vfs.is_sick:
            raise apsw.IOError("sync failed")
        super().xSync(flags)
        if self._vfs.stable is not None:
            shutil.copy(self._path, self._vfs.stable / self._path.name)


class SickDisk(apsw.VFS):
    """A file system that fails when told, and whose synced state is kept apart in `stable`."""

    is_full = is_sick = False
    stable: Path | None = None

    def __init__(self, name: str) -> None:
        super().__init__(name, "")

    def xOpen(self, name, flags):
        return SickFile(self, name, flags)

    def xDelete(self, name: str, sync_directory: bool) -> None:
        super().xDelete(name, sync_directory)
        if self.stable is not None:
            (self.stable / Path(name).name).unlink(missing_ok=True)


class TroubleTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.disk = SickDisk(self.id())
        self.addCleanup(self.disk.unregister)

    async def test_a_full_disk_refuses_all_and_heals(self) -> None:
        await self.fails_and_heals("is_full")

    async def test_a_sick_disk_refuses_all_and_heals(self) -> None:
        await self.fails_and_heals("is_sick")

    async def test_a_disk_that_is_sick_at_the_end_is_no_defect(self) -> None:
        store = await self.opened(vfs=self.id())
        await store.insert(new(0))
        self.disk.is_sick = True
        await store.close()
        self.assertEqual([], self.flushLoggedErrors())
        self.disk.is_sick = False
        store = await self.opened()
        self.assertEqual(await self.found(store), ids([new(0)]))
        await store.close()

    async def fails_and_heals(self, trouble: str) -> None:
        store = await self.opened(vfs=self.id())
        old = new(0, in_hand=("east",))
        await store.insert(old)
        for _ in range(2):
            setattr(self.disk, trouble, True)
            failing = [
                store.insert(new(1)).deferred(),
                store.settle(settlement(old, {1: RELAYED})).deferred(),
                store.hold([queue_id(100)]),
            ]
            for is_done, reason in await DeferredList(failing, consumeErrors=True):
                self.assertFalse(is_done)
                reason.trap(StoreFailed)
            setattr(self.disk, trouble, False)
            self.assertEqual(await self.found(store), ids([old]))
        await store.insert(new(1))
        self.assertTrue((await store.settle(settlement(old, {1: RELAYED}))).is_removed)
        await store.close()
        store = await self.opened()
        self.assertEqual(await self.found(store), ids([new(1)]))
        await store.close()

    async def test_power_lost_at_any_moment_takes_nothing_that_was_acknowledged(self) -> None:
        self.disk.stable = Path(self.mktemp()) / "0"
        self.disk.stable.mkdir(parents=True)
        store = await self.opened(vfs=self.id())
        kept = []
        for number in range(60):
            one = new(number, in_hand=("east",))
            await store.insert(one)
            kept.append(one)
            if number % 3 == 0:
                await store.settle(settlement(kept.pop(0), {1: RELAYED}))
            if number % 10 == 9:
                self.assertEqual(await self.after_power_loss(), ids(kept))
        await store.close()

    async def after_power_loss(self) -> list[str]:
        assert self.disk.stable is not None
        copy = Path(self.mktemp())
        shutil.copytree(self.disk.stable.parent, copy)
        store = await self.opened(copy)
        found = await self.found(store)
        await store.close()
        return found


class CrashTests(StoreTestCase):
    async def test_what_a_killed_relay_acknowledged_is_there(self) -> None:
        child = subprocess.Popen(
            [sys.executable, str(CHILD), str(self.directory)], stdout=subprocess.PIPE, text=True
        )
        try:
            told = [child.stdout.readline().split() for _ in range(400)]
        finally:
            child.send_signal(signal.SIGKILL)
            rest, _ = child.communicate()
        told += [line.split() for line in rest.splitlines() if line.endswith(".")]
        inserted = {queue_id for what, queue_id, _ in told if what == "inserted"}
        settled = {queue_id for what, queue_id, _ in told if what == "settled"}
        self.assertTrue(inserted and settled)
        store = await self.opened()
        found = set(await self.found(store))
        self.assertLessEqual(len(inserted - settled - found), SESSIONS)  # settled, not yet told
        self.assertEqual(settled & found, set())
        self.assertEqual(self.troubles, ())
        for work in await store.works(sorted(found)):
            self.assertEqual(len(octets(work.message.content)), work.message.content.size)
        await store.close()


class PlanTests(StoreTestCase):
    """No question walks through the whole queue: with a million waiting it would stop the relay."""

    def plan(self, statement: str) -> str:
        database = connect(Path(self.mktemp()))
        database.execute("ANALYZE")
        names = dict.fromkeys(["after", "end", "limit", *sqlite_reads.CONDITIONS])
        bindings = (None,) * statement.count("?") or names
        rows = database.execute(f"EXPLAIN QUERY PLAN {statement}", bindings).fetchall()
        database.close()
        return "; ".join(row[3] for row in rows)

    def test_claims_walk_the_index_of_their_lane_in_its_order(self) -> None:
        for statement in (sqlite_reads.DUE, sqlite_reads.NEXT_DUE):
            plan = self.plan(statement)
            self.assertIn("USING COVERING INDEX work_due (lane=? AND is_held=? AND", plan)
            self.assertNotIn("TEMP B-TREE", plan)

    def test_works_are_read_by_their_keys(self) -> None:
        plan = self.plan(sqlite_reads.WORKS)
        self.assertEqual(plan.count("SCAN"), 1, plan)
        self.assertIn("SCAN place VIRTUAL TABLE", plan)

    def test_sweeps_and_searches_walk_a_range_of_ids_in_order(self) -> None:
        waited = sqlite_reads.WAITED.format(condition="w.is_warned = 0")
        found = [
            sqlite_reads.FOUND.format(conditions=f" AND {condition}")
            for name, condition in sqlite_reads.CONDITIONS.items()
            if name != "queue_ids"
        ]
        ranged = [sqlite_reads.SLICE_END, sqlite_reads.FOUND_END, waited, *found]
        for statement in ranged:
            plan = self.plan(statement)
            self.assertRegex(plan, r"SEARCH \w+ USING (INTEGER )?PRIMARY KEY \((rowid|message)>\?")
            self.assertNotIn("TEMP B-TREE", plan)
            for table in ("message", "work", "content", "done"):
                self.assertNotRegex(plan, rf"SCAN ({table}|m|w|c)\b(?! VIRTUAL)")

    def test_a_lane_that_fails_again_costs_the_same_whatever_waits(self) -> None:
        """In steps of SQLite's machine, not in seconds."""
        database = connect(Path(self.mktemp()))
        self.addCleanup(database.close)
        writes = SqliteWrites(database, InHand(), Spool(self.directory))
        steps = []
        for count in (1, 1000):
            news = [new(count + n) for n in range(count)]
            writes.commit([Call("insert", (each,), is_write=True) for each in news])
            writes.commit([Call("save_lane", (LaneState("east", 1),), is_write=True)])
            taken: list[int] = []
            database.set_progress_handler(lambda taken=taken: bool(taken.append(1)), 1)
            writes.commit([Call("save_lane", (LaneState("east", 2),), is_write=True)])
            database.set_progress_handler(None)
            steps.append(len(taken))
        self.assertEqual(*steps)

    def test_opening_counts_in_an_index(self) -> None:
        self.assertEqual(self.plan(sqlite_reads.COUNTS), "SCAN work USING COVERING INDEX work_due")
        self.assertIn("message_in_file", self.plan("SELECT id FROM message WHERE in_file"))
