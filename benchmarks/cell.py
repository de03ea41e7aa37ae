"""Programs of another package, run unpacked: their own view of a few files, and an end for all.

Exim and OpenSMTPD have names of users and folders built in. In a mount namespace of its own such a
program sees ours in their place; in a process namespace nothing of it outlives it. The system that
it runs on sees neither. Needs root, and util-linux for `unshare`.
"""

import ctypes
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.interop.tools import need
from tests.process.child import Child

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """The kernel kills this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def passwd_with(users: Sequence[str], folder: Path) -> dict[Path, Path]:
    """Copies of the system's users and groups with these added, and what they stand for."""
    seen_at = {}
    for path, line in (
        ("/etc/passwd", "{0}:x:{1}:{1}::/:/bin/false\n"),
        ("/etc/group", "{0}:x:{1}:\n"),
    ):
        copy = folder / Path(path).name
        added = (line.format(name, identity(users, name)) for name in users)
        copy.write_text(Path(path).read_text() + "".join(added))
        seen_at[Path(path)] = copy
    return seen_at


def identity(users: Sequence[str], name: str) -> int:
    """The number of such a user: far above what distributions give away."""
    return 58000 + users.index(name)


def run_in_cell(
    command: Sequence[str], seen_at: Mapping[Path, Path], output: Path, libraries: Path
) -> Child:
    """`seen_at`: what the command sees at these paths, which exist."""
    mounts = [
        f"mount --bind {shlex.quote(str(ours))} {shlex.quote(str(path))}"
        for path, ours in seen_at.items()
    ]
    script = " && ".join([*mounts, f"exec {shlex.join(command)}"])
    cell = [need("unshare"), "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]
    found = os.pathsep.join(filter(None, (str(libraries), os.environ.get("LD_LIBRARY_PATH"))))
    return Child(cell, output, {"LD_LIBRARY_PATH": found})
