"""Where the mail ends: smtp-sink, or a sink of our own that speaks TLS."""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Protocol

from benchmarks.load import Identity, Workload
from tests.interop.peers import SmtpSink
from tests.interop.tools import CHECKOUT
from tests.process.child import Child, free_port


class Sink(Protocol):
    port: int

    def start(self) -> None: ...

    def wait(self, within: float) -> float:
        """Until it has its count. The monotonic time of that."""

    def clean_up(self) -> None: ...


class TlsSink:
    """benchmarks/tls_sink.py as a process."""

    def __init__(self, count: int, identity: Identity) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="relay-sink-", dir="/var/tmp"))
        files = (str(identity.certificate), str(identity.key))
        self._command = [sys.executable, "-m", "benchmarks.tls_sink", str(self.port), str(count)]
        self._command += files
        self._child: Child | None = None

    def start(self) -> None:
        environment = {"PYTHONPATH": str(CHECKOUT)}
        self._child = Child(self._command, self._folder / "output", environment)
        self._child.wait_for_port(self.port)

    def wait(self, within: float) -> float:
        assert self._child is not None
        self._child.wait(within)
        return time.monotonic()

    def clean_up(self) -> None:
        if self._child is not None:
            self._child.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class UncountedSink(SmtpSink):
    """smtp-sink that stays, behind what stores nothing."""

    def wait(self, within: float) -> float:
        return time.monotonic()


def sink_for(load: Workload, identity: Identity, is_counted: bool = True) -> Sink:
    if load.has_tls:
        return TlsSink(load.count, identity)
    return SmtpSink(load.count) if is_counted else UncountedSink()
