"""CPU time of a process with all its descendants, living and ended, from /proc."""

import os
from collections import defaultdict
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")

_PARENT, _USER, _ENDED_SYSTEM = 1, 11, 14
"""Fields of /proc/PID/stat behind the name (proc(5)): from user time to the system time of
children already waited for."""


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree under `pid`. A child that ends is counted by its parent."""
    stats = dict(_stats())
    children: dict[int, list[int]] = defaultdict(list)
    for child, fields in stats.items():
        children[int(fields[_PARENT])].append(child)
    ticks, left = 0, [pid]
    while left:
        each = left.pop()
        if each in stats:
            ticks += sum(map(int, stats[each][_USER : _ENDED_SYSTEM + 1]))
            left += children[each]
    return ticks / _TICKS


def _stats() -> list[tuple[int, list[str]]]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            found.append((int(name), text.rpartition(")")[2].split()))
    return found
