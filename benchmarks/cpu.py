"""CPU time of a process with all its descendants, living and ended, from /proc."""

import os
from collections import defaultdict
from pathlib import Path

from benchmarks.cpu_group import group_seconds

_TICKS = os.sysconf("SC_CLK_TCK")

_PARENT, _USER, _ENDED_SYSTEM = 1, 11, 14
"""Fields of /proc/PID/stat behind the name (proc(5)): from user time to the system time of
children already waited for."""


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree under `pid`. A child that ends is counted by its parent.

    Where `pid` has a control group of its own, that group's.
    """
    in_group = group_seconds(pid)
    if in_group is not None:
        return in_group
    ticks = sum(sum(map(int, fields[_USER : _ENDED_SYSTEM + 1])) for fields in _tree(pid).values())
    return ticks / _TICKS


def process_tree(pid: int) -> list[int]:
    """`pid` and all its descendants that live."""
    return list(_tree(pid))


def _tree(pid: int) -> dict[int, list[str]]:
    stats = dict(_stats())
    children: dict[int, list[int]] = defaultdict(list)
    for child, fields in stats.items():
        children[int(fields[_PARENT])].append(child)
    found, left = {}, [pid]
    while left:
        each = left.pop()
        if each in stats:
            found[each] = stats[each]
            left += children[each]
    return found


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
