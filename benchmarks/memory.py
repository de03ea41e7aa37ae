"""Memory from /proc: what a process holds, its fair share, the most it ever held; a tree's peak.

Pages that processes share count once over all of them (PSS, proc(5)).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from benchmarks.cpu import process_tree

_BETWEEN_SAMPLES = 0.5
"""Seconds. Telling the share costs the kernel a walk over all pages of the process."""


class PeakMemory:
    """The most that the tree under `pid` held at any sample so far, in MB. 0: there is none."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._pid = pid

    def sample(self) -> None:
        self.megabytes = max(self.megabytes, tree_share_megabytes(self._pid))


@contextmanager
def peak_memory(pid: int) -> Iterator[PeakMemory]:
    """Sampled again and again within."""
    memory, ended = PeakMemory(pid), Event()

    def run() -> None:
        while not ended.wait(_BETWEEN_SAMPLES):
            memory.sample()

    thread = Thread(target=run, daemon=True)
    if pid:
        memory.sample()
        thread.start()
    try:
        yield memory
    finally:
        ended.set()
        if pid:
            thread.join()


def tree_share_megabytes(pid: int) -> float:
    """PSS of the process and of all its descendants."""
    total = 0.0
    for each in process_tree(pid):
        try:
            total += share_megabytes(each)
        except OSError:  # it has just ended
            continue
    return total


def resident_megabytes(pid: int) -> float:
    """VmRSS: all its pages, those it shares with others included."""
    return _megabytes(Path(f"/proc/{pid}/status"), "VmRSS:")


def peak_megabytes(pid: int) -> float:
    """VmHWM: the most that was ever resident."""
    return _megabytes(Path(f"/proc/{pid}/status"), "VmHWM:")


def share_megabytes(pid: int) -> float:
    """PSS: its own pages, and its part of those that it shares."""
    return _megabytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def _megabytes(path: Path, key: str) -> float:
    for line in path.read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return 0.0
