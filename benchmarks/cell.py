"""Programs of another package, run unpacked: their own view of a few files, and an end for all.

Exim and OpenSMTPD have names of users and folders built in. In a mount namespace of its own such a
program sees ours in their place; in a process namespace nothing of it outlives its first process.
The system that it runs on sees neither. Needs root, and util-linux for `unshare`.
"""

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.cpu_group import CpuGroup
from tests.interop.tools import CHECKOUT, need
from tests.process.child import Child

PEERS = CHECKOUT / "var" / "peers"
DEBIAN = PEERS / "debian"
"""Where benchmarks/fetch_peers unpacks Debian's packages."""

LIBRARIES = DEBIAN / "usr" / "lib" / f"{platform.machine()}-linux-gnu"

_LINES = (("/etc/passwd", "{0}:x:{1}:{1}::/:/bin/false\n"), ("/etc/group", "{0}:x:{1}:\n"))


def passwd_with(users: Sequence[str], folder: Path) -> dict[Path, Path]:
    """Copies of the system's users and groups with these added, and what they stand for."""
    seen_at = {}
    for path, line in _LINES:
        copy = folder / Path(path).name
        added = (line.format(name, identity(users, name)) for name in users)
        copy.write_text(Path(path).read_text() + "".join(added))
        seen_at[Path(path)] = copy
    return seen_at


def identity(users: Sequence[str], name: str) -> int:
    """The number of such a user: far above what distributions give away."""
    return 58000 + users.index(name)


def run_in_cell(
    command: Sequence[str], seen_at: Mapping[Path, Path], output: Path, group: CpuGroup
) -> Child:
    """`seen_at`: what the command sees at these paths, which exist."""
    mounts = [f"mount --bind {ours} {path}" for path, ours in seen_at.items()]
    inner = " && ".join([*mounts, f"exec {shlex.join(command)}"])
    cell = [need("unshare"), "--mount", "--pid", "--fork", "sh", "-c", inner]
    return Child(["sh", "-c", group.entered_by(f"exec {shlex.join(cell)}")], output, _environment())


def _environment() -> dict[str, str]:
    found = filter(None, (str(LIBRARIES), os.environ.get("LD_LIBRARY_PATH")))
    return {"LD_LIBRARY_PATH": os.pathsep.join(found)}
