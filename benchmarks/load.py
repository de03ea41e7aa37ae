"""What is sent: the workloads, and smtp-source sending one."""

from dataclasses import dataclass, replace
from pathlib import Path

from tests.interop.tools import need
from tests.process.child import Child


@dataclass(frozen=True, slots=True)
class Workload:
    """`count` messages of `size` octets from so many sessions at a time."""

    name: str
    title: str
    count: int
    size: int
    sessions: int
    is_kept: bool = False
    recipients: int = 1

    def shortened(self, divisor: int) -> "Workload":
        return replace(self, count=max(self.sessions * 5, self.count // divisor))


WORKLOADS = (
    Workload("each", "4 KiB, a connection each", 6000, 4096, 20),
    Workload("kept", "4 KiB, kept sessions", 10000, 4096, 20, is_kept=True),
    Workload("large", "1 MiB, a connection each", 300, 1048576, 10),
)


def send(
    load: Workload, port: int, folder: Path, recipient: str = "recipient@example.org"
) -> Child:
    """smtp-source, started: it ends when it has the reply to its last message."""
    command = [need("smtp-source"), "-s", str(load.sessions), "-m", str(load.count)]
    command += ["-l", str(load.size), "-C", "10", "-f", "sender@example.net"]
    command += ["-t", recipient, *(["-d"] if load.is_kept else [])]
    command += ["-r", str(load.recipients)] if load.recipients > 1 else []
    return Child([*command, f"127.0.0.1:{port}"], folder / "smtp-source")
