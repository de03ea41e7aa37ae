"""The spool directory of one process: who holds it, where its files lie, what a crash left in it.

A relay that is one process has DIR/0; of several workers each has the folder of its number. There,
queue.db is the database, content/ID the content of a message too large for it. Whoever holds the
lock on the file `lock`, which tells its pid, owns them all.
"""

import fcntl
import os
from collections.abc import Iterable
from errno import EACCES, EDQUOT, EEXIST, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path

from relay.mail.content import Content
from relay.queue.content_files import FileContent
from relay.queue.store import StoreUnusable

_MODE = 0o700
"""Mail is for nobody else to read."""

_OWN_IT = "make it a directory that belongs to the user the relay runs as"
_WHAT_TO_DO = {
    EACCES: _OWN_IT,
    EPERM: _OWN_IT,
    ENOENT: _OWN_IT,
    ENOTDIR: _OWN_IT,
    EEXIST: _OWN_IT,
    ENOSPC: "make room on that disk",
    EDQUOT: "make room, or raise the quota of the user the relay runs as",
    EROFS: "mount it writable, or name another place in queue.store",
}
"""For operators."""


class Spool:
    """Use `open` first; everything else is for whoever holds it."""

    def __init__(self, directory: Path, number: int = 0) -> None:
        self._root = directory
        self._directory = directory / str(number)
        self._contents = self._directory / "content"
        self._lock = -1
        self._contents_descriptor = -1

    @property
    def database(self) -> Path:
        return self._directory / "queue.db"

    def open(self) -> None:
        """Make and lock it. Raises StoreUnusable."""
        try:
            if not self._root.exists():
                self._root.mkdir(_MODE, parents=True, exist_ok=True)
            self._directory.mkdir(_MODE, exist_ok=True)
            self._contents.mkdir(_MODE, exist_ok=True)
            if self._root.stat().st_uid == os.geteuid():  # else its owner decides
                self._root.chmod(_MODE)
            self._directory.chmod(_MODE)
            self._take_lock()
            self._contents_descriptor = os.open(self._contents, os.O_RDONLY | os.O_DIRECTORY)
            _sync_directory(self._root)
            _sync_directory(self._directory)
        except OSError as error:
            self.close()
            hint = _WHAT_TO_DO.get(error.errno or 0, "look at that disk; dmesg may tell more")
            raise StoreUnusable(
                f"spool {self._root} cannot be written ({error.strerror}): {hint}"
            ) from error
        except StoreUnusable:
            self.close()
            raise

    def close(self) -> None:
        for descriptor in (self._contents_descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._contents_descriptor = self._lock = -1

    def path(self, queue_id: str) -> Path:
        return self._contents / queue_id

    def content(self, queue_id: str, size: int) -> FileContent:
        return FileContent(self.path(queue_id), size)

    def holds(self, queue_id: str, content: Content) -> bool:
        """`content` lies, written and synced, where it belongs."""
        return isinstance(content, FileContent) and content.path == self.path(queue_id)

    def write(self, queue_id: str, content: Content) -> None:
        """A content file, written and synced here and now."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with open(os.open(self.path(queue_id), flags, 0o600), "wb", buffering=0) as file:
            for chunk in content.chunks(2**20):
                file.write(chunk)
            os.fsync(file.fileno())

    def sync(self) -> None:
        """The names of new content files onto stable storage."""
        os.fsync(self._contents_descriptor)

    def remove(self, queue_ids: Iterable[str]) -> None:
        """Files that outlive this (a crash, a sick disk) are cleared at the next start."""
        for queue_id in queue_ids:
            try:
                self.path(queue_id).unlink(missing_ok=True)
            except OSError:
                continue

    def clear(self, expected: Iterable[str]) -> list[str]:
        """Remove content files that belong to no message; yields the messages without theirs."""
        found = set(os.listdir(self._contents))
        wanted = set(expected)
        self.remove(found - wanted)
        return sorted(wanted - found)

    def _take_lock(self) -> None:
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreUnusable(
                f"spool {self._root} is in use by another relay (pid {pid}): stop that one first,"
                " or give this one a spool of its own"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def __repr__(self) -> str:
        return f"<Spool {self._directory} {'held' if self._lock >= 0 else 'not held'}>"


def folders_of(directory: Path) -> list[int]:
    """The numbers of the folders that hold a queue. Raises OSError where it cannot be read."""
    if not directory.is_dir():
        return []
    names = [path.parent.name for path in directory.glob("*/queue.db")]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
