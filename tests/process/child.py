"""Child processes of a test: started, waited for with a deadline, ended by their own pid.

Also the two waits that everything here is built on: for a condition, and for a port.
"""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

DEADLINE = 60.0
"""Seconds within which anything here happens, on a slow and busy machine too."""

_PAUSE = 0.02
"""Between two looks at a condition."""

T = TypeVar("T")


class Late(AssertionError):
    """Something did not happen within its deadline."""


def wait_until(condition: Callable[[], T], what: str, within: float = DEADLINE) -> T:
    """The condition's first true value."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Late(f"not within {within:g} s: {what}")
        time.sleep(_PAUSE)
    return value


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Child:
    """One child process, whose output goes to a file."""

    def __init__(
        self, command: Sequence[str | Path], output: Path, environment: Mapping[str, str] = {}
    ) -> None:
        self._command = [str(word) for word in command]
        self._output = output
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=output.parent,
                env={**os.environ, **environment},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for_port(self, port: int, within: float = DEADLINE) -> None:
        """Until it listens. Its output is the message of the error, if it ended instead."""

        def listens() -> bool:
            if not self.is_running:
                raise AssertionError(f"{self._command[0]} ended instead:\n{self.output}")
            return is_open(port)

        wait_until(listens, f"{self._command[0]} on port {port}", within)

    def wait(self, within: float = DEADLINE) -> int:
        """Its exit status. Told by the kernel at once, so that time can be measured with it."""
        if self.is_running:
            handle = os.pidfd_open(self.pid)
            try:
                ended = select.poll()  # select() knows no descriptor above 1023
                ended.register(handle, select.POLLIN)
                ended.poll(1000 * within)
            finally:
                os.close(handle)
        status = self._process.poll()
        if status is None:
            raise Late(f"{self._command[0]} still runs after {within:g} s:\n{self.output}")
        return status

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, within: float = DEADLINE) -> int:
        """SIGTERM, and its exit status; killed if it has not ended by then."""
        if self.is_running:
            self.signal(signal.SIGTERM)
        try:
            return self.wait(within)
        except Late:
            self.kill()
            raise

    def kill(self) -> None:
        """kill -9; harmless when it has ended."""
        if self.is_running:
            self._process.kill()
        self._process.wait(DEADLINE)
