"""Memory of one process, from /proc: what it holds now, its fair share, the most it ever held."""

from pathlib import Path


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
