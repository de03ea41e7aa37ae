"""A simulated disk: what was not synced is lost, or partly lost, when the power fails.

Names and contents are two things, as on a real one: a file's octets survive once the file was
synced, its name once its directory was. Directories themselves are taken as durable. A crash of the
process alone loses nothing that was written. Each change is a moment at which the machine may stop.
"""

import errno
import os
from collections.abc import Callable
from random import Random

SECTOR = 512
"""Octets that a disk writes whole or not at all."""


class Inode:
    """One file: what programs see, what is safe, and the changes between the two."""

    __slots__ = ("_is_borrowed", "changes", "octets", "stable")

    def __init__(self, octets: bytearray, *, is_borrowed: bool = False) -> None:
        self.octets = octets
        self.stable = octets  # one and the same until the first change
        self.changes: list[tuple[int, bytes | None]] = []  # at, what; None: cut off there
        self._is_borrowed = is_borrowed

    def change(self, at: int, what: bytes | None) -> None:
        """Write that there; None: cut off there."""
        if self.stable is self.octets:
            self.octets = self.octets[:]
            if self._is_borrowed:
                self.stable = self.stable[:]
        self.changes.append((at, what))
        apply(self.octets, at, what)

    def sync(self) -> None:
        for at, what in self.changes:
            apply(self.stable, at, what)
        self.changes.clear()

    def after_power_cut(self, survives: Callable[[], bool], random: Random) -> "Inode":
        """Each change is there, not there, or there in some of its sectors."""
        if not self.changes:
            return Inode(self.octets, is_borrowed=True)
        octets = self.stable[:]
        for at, what in self.changes:
            if what is None:
                if survives():
                    apply(octets, at, None)
                continue
            is_torn = random.random() < 0.3
            for start in range(0, len(what), SECTOR if is_torn else max(1, len(what))):
                if survives():
                    piece = what[start : start + SECTOR] if is_torn else what
                    apply(octets, at + start, piece)
        return Inode(octets)


def apply(octets: bytearray, at: int, what: bytes | None) -> None:
    """A change; a gap is zeros."""
    size = len(octets)
    if size < at:
        octets += bytes(at - size)
    if what is not None:
        octets[at : at + len(what)] = what
    elif at < size:
        del octets[at:]


class Disk:
    """`died` is called when the machine stops in the midst of something (see `die_after`).
    `is_full`, `is_sick` make changes and syncs fail; `lies`: so many syncs report a failure
    although they did their work."""

    def __init__(self, random: Random, died: Callable[[], object] = int) -> None:
        self.names: dict[str, Inode] = {}
        self.is_full = self.is_sick = False
        self.lies = 0
        self.die_after: int | None = None
        self.is_frozen = False
        self.locks: dict[str, int] = {}
        self._stable_names: dict[str, Inode] = {}
        self._moments = 0
        self._random = random
        self._died = died

    # --- changes ------------------------------------------------------------------------------

    def create(self, path: str) -> Inode:
        self._moment()
        inode = Inode(bytearray())
        if not self.is_frozen:
            self._check_room()
            self.names[path] = inode
        return inode

    def write(self, inode: Inode, at: int, octets: bytes) -> None:
        self._moment()
        if not self.is_frozen:
            self._check_room()
            inode.change(at, octets)

    def truncate(self, inode: Inode, size: int) -> None:
        self._moment()
        if not self.is_frozen:
            inode.change(size, None)

    def unlink(self, path: str) -> None:
        """Raises FileNotFoundError."""
        self._moment()
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if not self.is_frozen:
            del self.names[path]

    def sync(self, inode: Inode) -> None:
        self._moment()
        if not self.is_frozen:
            self._check_health()
            inode.sync()
            self._perhaps_lie()

    def sync_directory(self, directory: str) -> None:
        self._moment()
        if self.is_frozen:
            return
        self._check_health()
        for path in [p for p in self._stable_names if os.path.dirname(p) == directory]:
            if path not in self.names:
                del self._stable_names[path]
        for path, inode in self.names.items():
            if os.path.dirname(path) == directory:
                self._stable_names[path] = inode
        self._perhaps_lie()

    def _moment(self) -> None:
        """The machine may stop before any change."""
        self._moments += 1
        if self.die_after is not None and not self.is_frozen:
            self.die_after -= 1
            if self.die_after < 0:
                self.die_after = None
                self.is_frozen = True
                self._died()

    def _check_room(self) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _check_health(self) -> None:
        if self.is_sick:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _perhaps_lie(self) -> None:
        if self.lies:
            self.lies -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    # --- what remains -------------------------------------------------------------------------

    @property
    def settled_state(self) -> "tuple[Disk, int] | None":
        """What is on it, if a power cut would change nothing of that: the same state, the same
        octets."""
        if self._stable_names != self.names or any(i.changes for i in self.names.values()):
            return None
        return self, self._moments

    def after_power_cut(self, random: Random) -> "Disk":
        """What is found when the power is back: everything safe, and any part of the rest.
        Files are lent to it: it is gone before this one changes, or this one never changes."""
        share = random.choice((0.0, 0.0, 0.5, 0.9, 1.0))
        left = Disk(self._random, self._died)
        left.is_full, left.is_sick = self.is_full, self.is_sick
        copies: dict[int, Inode] = {}

        def survives() -> bool:
            return random.random() < share

        for path in dict.fromkeys([*self._stable_names, *self.names]):
            stable, seen = self._stable_names.get(path), self.names.get(path)
            inode = seen if stable is seen or survives() else stable
            if inode is not None:
                copy = copies.get(id(inode))
                if copy is None:
                    copy = copies[id(inode)] = inode.after_power_cut(survives, random)
                left.names[path] = left._stable_names[path] = copy
        return left

    def after_crash(self) -> "Disk":
        """What is found when only the process died: all that was written. Whatever the dead one
        still does goes nowhere."""
        left = Disk(self._random, self._died)
        left.names, left._stable_names = self.names, self._stable_names
        self.names, self._stable_names = dict(self.names), {}
        self.is_frozen = True
        left.is_full, left.is_sick = self.is_full, self.is_sick
        return left
