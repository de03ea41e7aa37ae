"""Content on its way in: memory bounded, the disk's trouble told, nothing left behind."""

import os
import tracemalloc
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from relay.mail.content import InlineContent
from relay.queue.content_files import (
    BATCH,
    INLINE_MAX,
    MAX_UNWRITTEN,
    ContentBuffers,
    ContentWriter,
    FileContent,
)
from relay.queue.spool import Spool
from relay.queue.sqlite import SqliteStore
from relay.queue.store import StoreFailed
from tests.contract.messages import RELAYED, new, octets, queue_id, settlement

DEADLINE = 20.0
_PAUSE = 0.001


async def until(condition) -> None:
    """A condition's first truth, within a deadline."""
    end = reactor.seconds() + DEADLINE
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("it did not happen")
        await deferLater(reactor, _PAUSE)


class Sender:
    """Writes as fast as it may; notes the most that was in memory."""

    def __init__(self, buffers: ContentBuffers, writer: ContentWriter, octets: int) -> None:
        self.most_buffered = self.pauses = 0
        self.done: Deferred[None] = Deferred()
        self._buffers, self._writer, self._left = buffers, writer, octets
        self._chunk = b"0123456789abcdef" * 4096
        self._is_paused = False
        writer.registerProducer(self)
        reactor.callLater(0, self._send)

    def _send(self) -> None:
        while self._left and not self._is_paused:
            self._writer.write(self._chunk[: self._left])
            self._left -= min(self._left, len(self._chunk))
            self.most_buffered = max(self.most_buffered, self._buffers.buffered)
        if not self._left and not self.done.called:
            self.done.callback(None)

    def pauseProducing(self) -> None:
        assert not self._is_paused
        self._is_paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        assert self._is_paused
        self._is_paused = False
        self._send()

    def stopProducing(self) -> None:
        raise AssertionError("never asked for")


class WriterTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def buffers(self, cap: int = 64 * 2**20) -> ContentBuffers:
        buffers = ContentBuffers(reactor, lambda queue_id: self.folder / queue_id, cap)
        self.addCleanup(buffers.close)
        return buffers

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def test_small_content_stays_in_memory(self) -> None:
        buffers = self.buffers()
        writer = buffers.writer("A")
        writer.write(b"x" * (INLINE_MAX - 1))
        writer.write(b"y")
        content = writer.finish()
        self.assertIsInstance(content, InlineContent)
        self.assertEqual(octets(content), b"x" * (INLINE_MAX - 1) + b"y")
        self.assertEqual((buffers.buffered, self.files()), (0, []))

    def test_content_that_comes_in_crumbs_costs_no_more_than_its_octets(self) -> None:
        writer = self.buffers().writer("A")
        crumbs = [b"%02d" % (n % 100) for n in range(30_000)]
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for crumb in crumbs:
            writer.write(crumb[:1] + crumb[1:])  # each a new object, as from a socket
        self.assertLess(tracemalloc.get_traced_memory()[0], 2 * 60_000)
        self.assertEqual(octets(writer.finish()), b"".join(crumbs))

    async def test_memory_is_bounded_while_100_mib_stream_in(self) -> None:
        buffers = self.buffers()
        writer = buffers.writer("A")
        sender = Sender(buffers, writer, 100 * 2**20)
        await sender.done
        content = writer.finish()
        await buffers.sync(content.file)
        await until(lambda: buffers.buffered == 0)
        self.assertLessEqual(sender.most_buffered, MAX_UNWRITTEN + BATCH + 65536)
        self.assertEqual((self.folder / "A").stat().st_size, 100 * 2**20)
        self.assertEqual(content.size, 100 * 2**20)

    async def test_memory_is_bounded_over_all_messages(self) -> None:
        cap = 2**20
        buffers = self.buffers(cap)
        writers = [buffers.writer(str(n)) for n in range(8)]
        senders = [Sender(buffers, writer, 4 * 2**20) for writer in writers]
        for sender in senders:
            await sender.done
        contents = [writer.finish() for writer in writers]
        for content in contents:
            await buffers.sync(content.file)
        await until(lambda: buffers.buffered == 0)
        most = max(sender.most_buffered for sender in senders)
        self.assertLessEqual(most, cap + len(senders) * 65536)
        self.assertTrue(any(sender.pauses for sender in senders))
        for content in contents:
            self.assertEqual(octets(content), b"0123456789abcdef" * (4 * 2**16))

    def test_above_the_cap_small_content_goes_to_a_file(self) -> None:
        buffers = self.buffers(cap=1000)
        idle = buffers.writer("A")
        idle.write(b"x" * 1000)
        writer = buffers.writer("B")
        writer.write(b"y")
        content = writer.finish()
        self.assertIsInstance(content, FileContent)
        self.assertEqual(octets(content), b"y")
        return buffers.sync(content.file)

    async def test_discard_leaves_no_file_and_no_memory(self) -> None:
        buffers = self.buffers()
        for is_finished in (False, True):
            writer = buffers.writer("A")
            writer.write(b"x" * (INLINE_MAX + 1))
            writer.write(b"x" * 10)
            await until(self.files)
            if is_finished:
                await buffers.sync(writer.finish().file)
            writer.discard()
            await until(lambda: not self.files() and buffers.buffered == 0)

    def test_content_can_be_read_before_it_is_written(self) -> None:
        buffers = self.buffers()
        writer = buffers.writer("A")
        for _ in range(3):
            writer.write(b"x" * INLINE_MAX)
        content = writer.finish()
        self.assertEqual(octets(content), b"x" * (3 * INLINE_MAX))
        return buffers.sync(content.file)

    async def test_trouble_is_kept_until_somebody_asks(self) -> None:
        self.folder.rmdir()
        buffers = self.buffers()
        writer = buffers.writer("A")
        writer.write(b"x" * 1_000_000)
        content = writer.finish()
        await buffers.sync(content.file)
        self.assertRaises(OSError, octets, content)
        self.folder.mkdir()


class InsertionTests(TestCase):
    async def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.contents = self.directory / "0" / "content"
        self.store = SqliteStore(self.directory, reactor)
        await self.store.open()

    async def tearDown(self) -> None:
        await self.store.close()

    def large(self, number: int = 0):
        writer = self.store.new_content(queue_id(100, number))
        writer.write(b"x" * 300_000)
        return new(number, content=writer.finish())

    def files(self) -> list[str]:
        return sorted(path.name for path in self.contents.iterdir())

    async def test_what_is_not_stored_is_not_synced(self) -> None:
        """Hybrid delivery: accepted upstream, it was never to be on this disk."""
        synced: list[int] = []
        self.patch(os, "fsync", synced.append)
        large = self.large()
        self.assertEqual(300_000, len(octets(large.message.content)))
        await deferLater(reactor, 0.1)  # for what a thread might do
        self.assertEqual([], synced)
        await self.store.insert(large)
        self.assertGreater(len(synced), 0)

    async def test_the_file_goes_with_its_message(self) -> None:
        await self.store.insert(self.large(0))
        await self.store.insert(self.large(1))
        self.assertEqual(self.files(), [queue_id(100, 0), queue_id(100, 1)])
        await self.store.remove([queue_id(100, 0)])
        await until(lambda: self.files() == [queue_id(100, 1)])

    async def test_the_file_goes_with_the_last_settlement(self) -> None:
        large = self.large()
        message = type(large)(large.message, large.lanes, in_hand=("east",))
        await self.store.insert(message)
        self.assertTrue((await self.store.settle(settlement(message, {1: RELAYED}))).is_removed)
        await until(lambda: not self.files())

    async def test_the_directory_is_synced_before_the_row_is_committed(self) -> None:
        def fails(spool: Spool) -> None:
            raise OSError("no sync")

        self.patch(Spool, "sync", fails)
        await self.assertFailure(self.store.insert(self.large()).deferred(), StoreFailed)
        self.assertEqual(list(await self.store.lanes()), [])

    async def test_a_file_that_could_not_be_written_is_no_message(self) -> None:
        away = self.contents.rename(self.directory / "away")
        await self.assertFailure(self.store.insert(self.large()).deferred(), StoreFailed)
        self.assertEqual(list(await self.store.lanes()), [])
        away.rename(self.contents)
        await self.store.insert(self.large())
        self.assertEqual(self.files(), [queue_id(100)])

    async def test_a_refused_message_leaves_no_file(self) -> None:
        await self.store.insert(new(0))
        await self.assertFailure(self.store.insert(self.large()).deferred(), StoreFailed)
        await until(lambda: not self.files())
        made_here = new(0, content=InlineContent(b"x" * 300_000))
        await self.assertFailure(self.store.insert(made_here).deferred(), StoreFailed)
        await until(lambda: not self.files())
