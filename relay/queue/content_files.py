"""Takes content as it comes in: small content stays in memory, large content streams to a file.

The disk is written and synced by a few threads, never by the reactor; memory is bounded per
message and over all of them, by pausing whoever sends. RFC 5321 4.5.3.1.7 sets no upper size.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import classImplements

from relay.mail.content import Content, InlineContent
from relay.queue.group_commit import Reactor
from relay.queue.store import IContentWriter

INLINE_MAX: Final = 64 * 2**10
"""Octets of content that are kept in the database; from here on a file costs less than rows."""

BATCH: Final = 512 * 2**10
"""Octets that go to the disk in one piece."""

MAX_UNWRITTEN: Final = 2 * 2**20
"""Octets of one message that may wait for the disk before its sender is paused."""

MAX_BUFFERED: Final = 64 * 2**20
"""Octets of content in memory over all messages coming in; above it all of it goes to files. The
config's queue.max_content_memory."""

THREADS: Final = 4
"""Enough to keep a disk busy; more would only queue in the kernel."""


class ContentFile:
    """One file being written: batches are added by the reactor, written by any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failed: OSError | None = None
        self.is_kept = False
        self._batches: deque[bytearray] = deque()
        self._lock = Lock()
        self._descriptor = -1
        self._is_removed = False

    def add(self, batch: bytearray) -> None:
        self._batches.append(batch)

    def write(self) -> None:
        """Write what was added so far; trouble is kept in `failed`."""
        with self._lock:
            while self._batches:
                octets = memoryview(self._batches.popleft())
                if self.failed is None and not self._is_removed:
                    self._append(octets)

    def sync(self) -> None:
        """Write the rest, onto stable storage."""
        self.write()
        with self._lock:
            if self._descriptor >= 0:
                try:
                    os.fsync(self._descriptor)
                except OSError as error:
                    self.failed = self.failed or error
                self._close()

    def remove(self) -> None:
        with self._lock:
            self._is_removed = True
            self._close()
            self.path.unlink(missing_ok=True)

    def _append(self, octets: memoryview) -> None:
        try:
            if self._descriptor < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._descriptor = os.open(self.path, flags, 0o600)
            while octets:
                written = os.write(self._descriptor, octets)  # mypyc runs calls in slices twice
                octets = octets[written:]
        except OSError as error:
            self.failed = error

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __repr__(self) -> str:
        return f"<ContentFile {self.path.name} {self.failed or 'well'}>"


class FileContent:
    """Content in a file of the spool. `file` is set until its message is committed."""

    __slots__ = ("_size", "file", "path")

    def __init__(self, path: Path, size: int, file: ContentFile | None = None) -> None:
        self.path = path
        self.file = file
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        if self.file is not None:
            self.file.write()
            if self.file.failed is not None:
                raise self.file.failed
        with self.path.open("rb", buffering=0) as file:
            while chunk := file.read(size):
                yield chunk

    def __repr__(self) -> str:
        return f"<FileContent {self.path.name} {self._size} octets>"


class ContentBuffers:
    """Makes the writers, counts what they hold in memory, and runs their disk work in threads."""

    def __init__(
        self,
        reactor: Reactor,
        path_of: Callable[[str], Path],
        max_buffered: int = MAX_BUFFERED,
    ) -> None:
        self.buffered = 0
        self._max_buffered = max_buffered
        self._reactor = reactor
        self._path_of = path_of
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="content")

    @property
    def is_full(self) -> bool:
        return self.buffered > self._max_buffered

    def writer(self, queue_id: str) -> "ContentWriter":
        return ContentWriter(self, queue_id)

    def path(self, queue_id: str) -> Path:
        return self._path_of(queue_id)

    def run(self, work: Callable[[], None], then: Callable[[], object] = int) -> None:
        """`work` in a thread, then `then` in the reactor."""
        self._threads.submit(self._work, work, then)

    def _work(self, work: Callable[[], None], then: Callable[[], object]) -> None:
        try:
            work()
        finally:
            self._reactor.callFromThread(then)

    def sync(self, file: ContentFile) -> Deferred[None]:
        """Fires when all of it is on stable storage, or `file.failed` tells why not."""
        synced: Deferred[None] = Deferred()
        self.run(file.sync, lambda: synced.callback(None))
        return synced

    def close(self) -> None:
        """Finish what is under way. Blocks; for the thread that closes the store."""
        self._threads.shutdown()

    def __repr__(self) -> str:
        return f"<ContentBuffers {self.buffered} octets>"


class ContentWriter:
    """Holds octets until they make a batch, or the content is over."""

    __slots__ = (
        "_buffers",
        "_file",
        "_held",
        "_is_paused",
        "_producer",
        "_queue_id",
        "_unwritten",
        "size",
    )

    def __init__(self, buffers: ContentBuffers, queue_id: str) -> None:
        self.size = 0
        self._buffers = buffers
        self._queue_id = queue_id
        self._file: ContentFile | None = None
        self._held = bytearray()  # a list of pieces would cost a trickling sender nothing, us much
        self._unwritten = 0
        self._producer: IPushProducer | None = None
        self._is_paused = False

    def registerProducer(self, producer: IPushProducer) -> None:
        self._producer = producer

    def write(self, chunk: bytes) -> None:
        octets = len(chunk)
        self.size += octets
        self._held += chunk
        buffers = self._buffers
        buffers.buffered += octets
        most = INLINE_MAX if self._file is None else BATCH
        if len(self._held) > most or buffers.is_full:
            self._spill()

    def finish(self) -> Content:
        if self._file is None:
            octets = bytes(self._held)
            self._let_go()
            return InlineContent(octets)
        file = self._file
        self._spill()
        return FileContent(file.path, self.size, file)

    def discard(self) -> None:
        self._let_go()
        file = self._file
        if file is not None and not file.is_kept:
            self._file = None
            self._buffers.run(file.remove)

    def _spill(self) -> None:
        """Hand what is held to the disk; pause the sender while that is behind."""
        if self._file is None:
            self._file = ContentFile(self._buffers.path(self._queue_id))
        octets = len(self._held)
        self._file.add(self._held)
        self._held = bytearray()
        self._unwritten += octets
        self._buffers.run(self._file.write, lambda: self._written(octets))
        if self._unwritten > MAX_UNWRITTEN or self._buffers.is_full:
            self._pause()

    def _written(self, octets: int) -> None:
        self._unwritten -= octets
        self._buffers.buffered -= octets
        if self._is_paused and self._may_resume():
            self._is_paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    def _may_resume(self) -> bool:
        if self._buffers.is_full:
            return not self._unwritten
        return self._unwritten <= MAX_UNWRITTEN // 2

    def _pause(self) -> None:
        if self._producer is not None and not self._is_paused:
            self._is_paused = True
            self._producer.pauseProducing()

    def _let_go(self) -> None:
        self._buffers.buffered -= len(self._held)
        self._held = bytearray()

    def __repr__(self) -> str:
        place = "memory" if self._file is None else repr(self._file)
        return f"<ContentWriter {self.size} octets, {place}>"


classImplements(ContentWriter, IContentWriter)
