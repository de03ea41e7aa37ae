"""A control group of a peer's own, where the kernel counts its CPU time (cgroups(7), v1 and v2).

For programs that never wait for their children, as Exim: what those used is in nobody's account.
"""

import os
from contextlib import suppress
from pathlib import Path

from tests.process.child import wait_until

_MARK = "relay-bench-"
_V1, _V2 = Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup")


class CpuGroup:
    """`path`: None where there is no such group to be had; then the process tree must do."""

    def __init__(self) -> None:
        self.path: Path | None = None
        top = _V1 if _V1.is_dir() else _V2
        path = top / f"{_MARK}{os.getpid()}"
        try:
            path.mkdir(exist_ok=True)
        except OSError:
            return
        if _usage_file(path).exists():
            self.path = path

    def entered_by(self, command: str) -> str:
        """The shell command, run within."""
        return f"echo $$ >{self.path}/cgroup.procs && {command}" if self.path else command

    def remove(self) -> None:
        """Once all processes in it have ended, which the kernel may take a moment for."""
        if self.path is not None:
            wait_until(self._is_removed, f"end of the processes in {self.path}")

    def _is_removed(self) -> bool:
        assert self.path is not None
        with suppress(OSError):
            self.path.rmdir()
        return not self.path.exists()


def group_seconds(pid: int) -> float | None:
    """What the group of that process used; None: it is in no group of ours."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if _MARK in path and (not controllers or "cpuacct" in controllers):
            top = _V1 if controllers else _V2
            return _usage(_usage_file(top / path.lstrip("/")))
    return None


def _usage_file(group: Path) -> Path:
    v1 = group / "cpuacct.usage"
    return v1 if v1.exists() else group / "cpu.stat"


def _usage(path: Path) -> float:
    text = path.read_text()
    if path.name == "cpuacct.usage":
        return int(text) / 1e9
    return int(text.split()[1]) / 1e6  # usage_usec is its first line
