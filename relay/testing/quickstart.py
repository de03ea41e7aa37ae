"""`python -m relay.testing.quickstart CONFIG`: a relay and a sink behind it, to try things out.

Starts both under twistd as child processes, waits until both take mail, tells what to do next, and
ends both at Ctrl-C. When one ends by itself the other is stopped and what it said is shown.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TextIO

from relay.config import Config, ConfigError, load

START_WITHIN = 30.0
"""Seconds until both must take mail."""

GRACE = 10.0
"""Seconds beyond the relay's own `stop_within` before what does not stop is killed."""

LOOK_EVERY = 0.05
LAST_LINES = 15
_TWISTD = "from twisted.scripts.twistd import run; run()"


class Trouble(Exception):
    """Why it cannot go on; its text is for the person who started it."""


class Part:
    """One child process: what it is called, its address, where its output goes."""

    def __init__(self, name: str, address: tuple[str, int], output: Path, *words: str) -> None:
        self.name = name
        self.address = address
        self.output = output
        self._words = words
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """In a process group of its own: a Ctrl-C reaches it only by way of us."""
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", _TWISTD, "-n", "--pidfile=", *self._words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def takes_mail(self) -> bool:
        """It greets whoever connects."""
        try:
            with socket.create_connection(self.address, timeout=1) as client:
                client.settimeout(START_WITHIN)
                greeting = client.recv(512)
                client.sendall(b"QUIT\r\n")
                client.recv(512)
                return greeting.startswith(b"220")
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self.is_running:
            self._process.send_signal(number)

    def last_words(self) -> str:
        """The end of what it wrote."""
        lines = self.output.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])


class Quickstart:
    """Both parts, from start to end."""

    def __init__(self, path: Path, config: Config, out: TextIO) -> None:
        self._path = path
        self._config = config
        self._out = out
        self._is_asked_to_stop = False
        kind, _, place = config.queue.store.partition(":")
        if kind != "sqlite" or not config.upstreams:
            raise Trouble(f"{path}: the quickstart needs a store sqlite:DIR and an upstream")
        folder = Path(place).parent
        self.inbox = folder / "inbox"
        upstream = config.upstreams[0].hosts[0]
        listener = config.listeners[0]
        sink = (upstream.host, upstream.port)
        self._sink = Part(
            "sink", sink, folder / "sink.out", "relay-sink",
            "--listen", _text(sink), "--dir", str(self.inbox),
        )  # fmt: skip
        self._relay = Part(
            "relay", (listener.host, listener.port), folder / "relay.out",
            "relay", "--config", str(path),
        )  # fmt: skip
        self._parts = (self._sink, self._relay)

    def run(self) -> None:
        """Until somebody asks for the end. Raises Trouble where a part cannot go on."""
        for part in self._parts:
            _check_free(part, self._path)
        self._make_folders()
        signal.signal(signal.SIGINT, self._stop_asked)
        signal.signal(signal.SIGTERM, self._stop_asked)
        try:
            for part in self._parts:
                part.start()
            if self._wait(self._all_take_mail, START_WITHIN):
                self._welcome()
                self._wait(lambda: False, None)
        finally:
            self._stop()

    def _make_folders(self) -> None:
        log = self._config.traffic_log
        for file in (self._sink.output, None if log is None else log.file):
            if isinstance(file, Path):
                file.parent.mkdir(parents=True, exist_ok=True)

    def _stop_asked(self, number: int, frame: FrameType | None) -> None:
        if self._is_asked_to_stop:
            for part in self._parts:
                part.stop(signal.SIGKILL)
        self._is_asked_to_stop = True

    def _all_take_mail(self) -> bool:
        return all(part.takes_mail() for part in self._parts)

    def _wait(self, holds: Callable[[], bool], within: float | None) -> bool:
        """Whether it came to hold; False when the end was asked for before."""
        until = None if within is None else time.monotonic() + within
        while not self._is_asked_to_stop:
            for part in self._parts:
                if not part.is_running:
                    raise Trouble(f"the {part.name} ended; it said:\n{part.last_words()}")
            if holds():
                return True
            if until is not None and time.monotonic() > until:
                raise Trouble(f"not ready after {within:.0f} s; see {self._relay.output}")
            time.sleep(LOOK_EVERY)
        return False

    def _stop(self) -> None:
        """The relay first: what it is handing to the sink at this moment may get through."""
        until = time.monotonic() + self._config.stop_within + GRACE
        for part in reversed(self._parts):
            part.stop()
            while part.is_running and time.monotonic() < until:
                time.sleep(LOOK_EVERY)
            part.stop(signal.SIGKILL)

    def _welcome(self) -> None:
        relay, sink = _text(self._relay.address), _text(self._sink.address)
        log = self._config.traffic_log
        self._say(f"relay   takes mail on {relay}")
        self._say(f"sink    gets it on {sink} and keeps it in {_short(self.inbox)}")
        if log is not None:
            self._say(f"log     {log.file if log.file == '-' else _short(Path(log.file))}")
        self._say(f"output  {_short(self._relay.output)}, {_short(self._sink.output)}")
        self._say("\nSend a first mail, from a second terminal:\n")
        words = [_relayctl(), "--config", _short(self._path), "send", "--to", "you@example.org"]
        self._say(f"    {shlex.join(words)}\n\nCtrl-C ends both.")

    def _say(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()


def _check_free(part: Part, path: Path) -> None:
    """Raises Trouble where somebody else has its address."""
    host = part.address[0]
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(part.address)
        except OSError as error:
            raise Trouble(
                f"the {part.name} cannot listen on {_text(part.address)}: {error.strerror}."
                f" Stop what is there (another quickstart?), or change the address in {path}"
            ) from None


def _text(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _short(path: Path) -> str:
    """As one would type it here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _relayctl() -> str:
    beside = Path(sys.executable).with_name("relayctl")
    return _short(beside) if beside.exists() else "relayctl"


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m relay.testing.quickstart CONFIG\n")
        return 2
    path = Path(arguments[0])
    try:
        Quickstart(path, load(path), sys.stdout).run()
    except ConfigError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    except (Trouble, OSError) as error:
        sys.stderr.write(f"quickstart: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
