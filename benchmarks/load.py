"""What is sent: the workloads; smtp-source sending one, and clients of our own."""

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.clients import Job, Outcome
from tests.interop.tools import CHECKOUT, need
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
    has_tls: bool = False

    def shortened(self, divisor: int) -> "Workload":
        return replace(self, count=max(self.sessions * 5, self.count // divisor))


WORKLOADS = (
    Workload("each", "4 KiB, a connection each", 6000, 4096, 20),
    Workload("kept", "4 KiB, kept sessions", 10000, 4096, 20, is_kept=True),
    Workload("large", "1 MiB, a connection each", 300, 1048576, 10),
    Workload("tls-each", "4 KiB, STARTTLS, a connection each", 2000, 4096, 20, has_tls=True),
    Workload(
        "tls-kept", "4 KiB, STARTTLS, kept sessions", 6000, 4096, 20, is_kept=True, has_tls=True
    ),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Files with a certificate for 127.0.0.1 and its key."""

    certificate: Path
    key: Path


def send(
    load: Workload, port: int, folder: Path, recipient: str = "recipient@example.org"
) -> Child:
    """smtp-source, started: it ends when it has the reply to its last message."""
    command = [need("smtp-source"), "-s", str(load.sessions), "-m", str(load.count)]
    command += ["-l", str(load.size), "-C", "10", "-f", "sender@example.net"]
    command += ["-t", recipient, *(["-d"] if load.is_kept else [])]
    command += ["-r", str(load.recipients)] if load.recipients > 1 else []
    return Child([*command, f"127.0.0.1:{port}"], folder / "smtp-source")


class Clients:
    """Clients of our own, for what smtp-source cannot do: TLS, a pace, and the time of each reply.

    `rate`: messages a second; 0: as fast as they go.
    """

    def __init__(self, load: Workload, port: int, folder: Path, rate: float = 0.0) -> None:
        job = Job(port, load.count, load.size, load.sessions, load.is_kept, load.has_tls, rate)
        output = folder / "clients"
        output.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.clients", json.dumps(asdict(job))]
        path = os.pathsep.join((str(CHECKOUT), *filter(None, sys.path)))
        self._child = Child(command, output, {"PYTHONPATH": path})

    def wait(self, within: float) -> Outcome:
        """Until they have the reply to their last message."""
        if self._child.wait(within):
            raise AssertionError(f"the clients failed: {self._child.output}")
        return Outcome(**json.loads(self._child.output))

    def kill(self) -> None:
        self._child.kill()
