"""The simulated disk as programs see it: SQLite by a VFS, the rest by the functions of `os`.

The VFS does for durability what SQLite's own for Unix does, and no more: the directory of a journal
or write-ahead log is synced with the first sync of that file.
"""

import errno
import os
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import apsw

from tests.sim.disk import Disk, Inode

VFS = "simulated"

_JOURNALS = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL


class DatabaseFile:
    """What SQLite opened."""

    def __init__(self, disk: Disk, path: str, *, is_temporary: bool, syncs_name: bool) -> None:
        self._disk = disk
        self._path = path
        self._inode = disk.names[path] if path in disk.names else disk.create(path)
        self._is_temporary = is_temporary
        self._syncs_name = syncs_name

    def xRead(self, amount: int, offset: int) -> bytearray:
        return self._inode.octets[offset : offset + amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        try:
            self._disk.write(self._inode, offset, bytes(data))
        except OSError as error:
            raise apsw.FullError(error.strerror) from error

    def xTruncate(self, newsize: int) -> None:
        self._disk.truncate(self._inode, newsize)

    def xSync(self, flags: int) -> None:
        try:
            self._disk.sync(self._inode)
            if self._syncs_name:
                self._syncs_name = False
                self._disk.sync_directory(os.path.dirname(self._path))
        except OSError as error:
            raise apsw.IOError(error.strerror) from error

    def xFileSize(self) -> int:
        return len(self._inode.octets)

    def xClose(self) -> None:
        if self._is_temporary:
            self._disk.names.pop(self._path, None)

    def xLock(self, level: int) -> None:
        """There is no other program."""

    def xUnlock(self, level: int) -> None:
        """Nor was there a lock."""

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 4096

    def xDeviceCharacteristics(self) -> int:
        return 0


class DiskVfs(apsw.VFS):
    """SQLite's way to the disks; `disks` by the first folder of a path, which all call /disk."""

    def __init__(self) -> None:
        super().__init__(VFS, "")
        self.disks: dict[str, Callable[[], Disk]] = {}
        self._temporary = 0

    def _find(self, path: str) -> tuple[Disk, str]:
        root, _, rest = path[1:].partition("/")
        return self.disks[root](), f"/disk/{rest}"

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        is_temporary = name is None
        if is_temporary:
            self._temporary += 1
            name = f"/disk/temporary {self._temporary}"
        given = str(name.filename() if isinstance(name, apsw.URIFilename) else name)
        disk, path = self._find(given)
        is_new = path not in disk.names
        if is_new and not flags[0] & apsw.SQLITE_OPEN_CREATE:
            raise apsw.CantOpenError(path)
        flags[1] = flags[0]
        syncs_name = is_new and bool(flags[0] & _JOURNALS)
        try:
            return DatabaseFile(disk, path, is_temporary=is_temporary, syncs_name=syncs_name)
        except OSError as error:
            raise apsw.CantOpenError(error.strerror) from error

    def xDelete(self, filename: str, syncdir: bool) -> None:
        disk, path = self._find(filename)
        try:
            disk.unlink(path)
            if syncdir:
                disk.sync_directory(os.path.dirname(path))
        except FileNotFoundError:
            missing = apsw.IOError(filename)
            missing.extendedresult = apsw.SQLITE_IOERR_DELETE_NOENT
            raise missing from None
        except OSError as error:
            raise apsw.IOError(error.strerror) from error

    def xAccess(self, pathname: str, flags: int) -> bool:
        disk, path = self._find(pathname)
        return path in disk.names

    def xFullPathname(self, filename: str) -> str:
        return filename

    def xSleep(self, microseconds: int) -> int:
        return microseconds


class SimulatedPath(PurePosixPath):
    """A `Path` on the simulated disk; folders always exist."""

    system: "SimulatedSystem"

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """It is there."""

    def exists(self) -> bool:
        return True

    def stat(self) -> Any:
        """It belongs to whoever runs the relay."""
        return os.stat_result((0o40700, 0, 0, 1, self.system.geteuid(), 0, 0, 0, 0, 0))

    def chmod(self, mode: int) -> None:
        """Nobody else is here."""

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self.system.disk.unlink(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def open(self, mode: str, buffering: int = -1) -> "OpenFile":
        return OpenFile(self.system, self.system.open(str(self), os.O_RDONLY))


class OpenFile:
    """A descriptor as a file object."""

    def __init__(self, system: "SimulatedSystem", descriptor: int) -> None:
        self._system = system
        self._descriptor = descriptor

    def __enter__(self) -> "OpenFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._system.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def read(self, size: int) -> bytes:
        return self._system.read(self._descriptor, size)

    def write(self, octets: bytes) -> int:
        return self._system.write(self._descriptor, octets)


class SimulatedSystem:
    """What the spool uses of `os` and `fcntl`, by the same names."""

    O_RDONLY, O_WRONLY, O_RDWR = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
    O_CREAT, O_EXCL, O_TRUNC = os.O_CREAT, os.O_EXCL, os.O_TRUNC
    O_CLOEXEC, O_DIRECTORY = os.O_CLOEXEC, os.O_DIRECTORY
    LOCK_EX = LOCK_NB = 0

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._opened: dict[int, tuple[str, Inode | None, int]] = {}  # path, inode, position
        self._last = 100

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        path = str(path)
        inode = None
        if not flags & os.O_DIRECTORY:
            inode = self.disk.names.get(path)
            if inode is None and not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if inode is None:
                inode = self.disk.create(path)
            elif flags & os.O_EXCL:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            elif flags & os.O_TRUNC:
                self.disk.truncate(inode, 0)
        self._last += 1
        self._opened[self._last] = (path, inode, 0)
        return self._last

    def close(self, descriptor: int) -> None:
        path, _, _ = self._opened.pop(descriptor)
        if self.disk.locks.get(path) == descriptor:
            del self.disk.locks[path]

    def read(self, descriptor: int, size: int) -> bytes:
        path, inode, at = self._opened[descriptor]
        assert inode is not None
        octets = bytes(inode.octets[at : at + size])
        self._opened[descriptor] = (path, inode, at + len(octets))
        return octets

    def write(self, descriptor: int, octets: Any) -> int:
        path, inode, at = self._opened[descriptor]
        assert inode is not None
        self.disk.write(inode, at, bytes(octets))
        self._opened[descriptor] = (path, inode, at + len(octets))
        return len(octets)

    def fsync(self, descriptor: int) -> None:
        path, inode, _ = self._opened[descriptor]
        if inode is None:
            self.disk.sync_directory(path)
        else:
            self.disk.sync(inode)

    def listdir(self, path: Any) -> list[str]:
        return [os.path.basename(p) for p in self.disk.names if os.path.dirname(p) == str(path)]

    def pread(self, descriptor: int, size: int, at: int) -> bytes:
        inode = self._opened[descriptor][1]
        assert inode is not None
        return bytes(inode.octets[at : at + size])

    def pwrite(self, descriptor: int, octets: bytes, at: int) -> int:
        inode = self._opened[descriptor][1]
        assert inode is not None
        self.disk.write(inode, at, octets)
        return len(octets)

    def ftruncate(self, descriptor: int, size: int) -> None:
        inode = self._opened[descriptor][1]
        assert inode is not None
        self.disk.truncate(inode, size)

    def getpid(self) -> int:
        return 1

    def geteuid(self) -> int:
        return 0

    def flock(self, descriptor: int, operation: int) -> None:
        """One process holds it; a dead one lets go."""
        path = self._opened[descriptor][0]
        if path in self.disk.locks:
            raise BlockingIOError
        self.disk.locks[path] = descriptor

    def fdopen(self, descriptor: int, mode: str, buffering: int = -1) -> OpenFile:
        return OpenFile(self, descriptor)
