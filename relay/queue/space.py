"""Watches the free space of the spool's disk, so that new mail is refused before it is full."""

import os
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from relay.notices import Alarm, AlarmOver, Observer

INTERVAL = 1.0
"""Seconds between looks: a disk does not fill faster than `min_free` in that time."""


class SpaceWatch:
    """`has_space` is False while less than `min_free` octets are free."""

    def __init__(
        self,
        directory: Path,
        min_free: int,
        observe: Observer,
        clock: IReactorTime,
        free_octets: Callable[[Path], int] | None = None,
    ) -> None:
        self._directory = directory
        self._min_free = min_free
        self._observe = observe
        self._free_octets = free_octets or free_octets_of
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock
        self._is_short = False

    def start(self) -> None:
        self._loop.start(INTERVAL, now=True)

    def change(self, min_free: int) -> None:
        """From the next look on."""
        self._min_free = min_free

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def has_space(self) -> bool:
        return not self._is_short

    def _look(self) -> None:
        try:
            free = self._free_octets(self._directory)
        except OSError:
            return  # the store's own trouble tells more
        is_short = free < self._min_free
        if is_short == self._is_short:
            return
        self._is_short = is_short
        what = f"free space of {self._directory}"
        if is_short:
            least = megabytes(self._min_free)
            why = (
                f"{megabytes(free)} free, queue.min_free is {least}: new mail is answered 452 4.3.1"
            )
            self._observe(Alarm(what, f"{why}, delivery goes on; make room on that disk"))
        else:
            self._observe(AlarmOver(what, f"{megabytes(free)} free: mail is taken again"))


def free_octets_of(directory: Path) -> int:
    """What an unprivileged writer may still use. Raises OSError."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def megabytes(octets: int) -> str:
    """As an operator reads it."""
    return f"{octets / 2**20:,.0f} MB"
