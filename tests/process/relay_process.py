"""The relay as users run it: under twistd, as a child process, with its own folder and config.

Starts, stops, kills and restarts it; reads its traffic log; asks it by relayctl.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.interop.tools import CHECKOUT
from tests.process.child import DEADLINE, Child, free_port, wait_until

Fact = Mapping[str, Any]

_TWISTD = "from twisted.scripts.twistd import run; run()"
_RELAYCTL = "from relay.admin.cli import main; main()"
"""What the installed programs do; so this checkout is tested, installed or not."""

_ENVIRONMENT = {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}

_NOTHING: Fact = MappingProxyType({})

RECOVERY = 60.0
"""Seconds within which a crash is got over: a new process, its queue's retry times, its probe."""

_QUICK = {"retry": ["1s"], "warn_after": "never", "expire_after": "1h", "min_free": "1M"}


def upstream(name: str, *ports: int, **settings: object) -> Fact:
    """An [[upstream]] whose hosts are ports of this machine."""
    hosts = [f"smtp://127.0.0.1:{port}" for port in ports]
    return {"name": name, "hosts": hosts, **settings}


def route(to: str, *recipients: str, **settings: object) -> Fact:
    return {"upstream": to, **({"recipients": list(recipients)} if recipients else {}), **settings}


class RelayProcess:
    """One relay: `port` to send mail to, `folder` with its config, spool and logs."""

    def __init__(
        self,
        upstreams: Sequence[Fact],
        routes: Sequence[Fact] = (),
        queue: Fact = _NOTHING,
        listener: Fact = _NOTHING,
        top: Fact = _NOTHING,
        parent: Path | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="relay-process-", dir=parent or "/var/tmp"))
        self.port = free_port()
        self.config = self.folder / "relay.toml"
        self.traffic_log = self.folder / "traffic.jsonl"
        self.spool = self.folder / "spool"
        address = f"127.0.0.1:{self.port}"
        self.settings: dict[str, Any] = {
            "hostname": "relay.example.net",
            **top,
            "queue": {"store": "sqlite:spool", **_QUICK, **queue},
            "traffic_log": {"file": "traffic.jsonl"},
            "listener": [{"name": "lan", "address": address, **listener}],
            "upstream": list(upstreams),
            "route": list(routes) or [route(upstreams[0]["name"])],
        }
        self.before = ""
        """Python that its process runs first: for a fault at one exact place."""
        self.arguments: list[str] = []  # of twistd
        self.python = sys.executable
        self.checkout = CHECKOUT
        self._child: Child | None = None

    def start(self) -> None:
        """Until it takes mail."""
        self.launch().wait_for_port(self.port)

    def launch(self) -> Child:
        """Without waiting for anything: for a relay that is expected not to start."""
        self.write_config()
        command = (
            self.python,
            "-c",
            f"{self.before}\n{_TWISTD}",
            "-n",
            "--pidfile=",
            *self.arguments,
            "relay",
            "--config",
            self.config,
        )
        # modules beside the configuration can be imported
        code = str(self.checkout) if self.python == sys.executable else libraries()
        path = [code, str(self.folder)]
        environment = {**_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path)}
        self._child = Child(command, self.folder / "output", environment)
        return self._child

    def write_config(self) -> None:
        self.config.write_text("".join(_toml(self.settings)))

    def add_user(self, name: str, password: str, *options: str) -> None:
        """To the users file; the relay need not run."""
        self.write_config()
        done = self.relayctl("user", "add", name, "--password-stdin", *options, given=password)
        if done.returncode:
            raise AssertionError(f"relayctl ended with {done.returncode}: {done.stderr}")

    @property
    def child(self) -> Child:
        assert self._child is not None
        return self._child

    def freeze(self) -> None:
        """It does nothing more, until it is killed."""
        self.child.signal(signal.SIGSTOP)

    def kill(self) -> None:
        """As a crash ends it: no code of its own runs any more."""
        self.child.kill()

    def stop(self) -> int:
        return self.child.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def hang_up(self) -> None:
        self.child.signal(signal.SIGHUP)

    def clean_up(self) -> None:
        """Harmless at any time."""
        if self._child is not None:
            self._child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def facts(self, event: str = "", **fields: object) -> list[Fact]:
        """Lines of the traffic log of that event with these fields."""
        wanted = {"event": event, **fields} if event else fields
        return [
            fact
            for fact in _lines(self.traffic_log)
            if all(fact.get(key) == value for key, value in wanted.items())
        ]

    def wait_for(self, count: int, event: str, **fields: object) -> list[Fact]:
        """So many lines of that kind."""

        def found() -> list[Fact]:
            facts = self.facts(event, **fields)
            return facts if len(facts) >= count else []

        return wait_until(found, f"{count} x {event} {fields} in the traffic log")

    def relayctl(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """`given`: on its standard input."""
        return subprocess.run(
            [sys.executable, "-c", _RELAYCTL, "--config", self.config, *words],
            input=given,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env={**os.environ, **_ENVIRONMENT},
            check=False,
        )

    def queue(self) -> list[Fact]:
        """The messages that wait, as relayctl tells them."""
        done = self.relayctl("queue", "list", "--json")
        if done.returncode:
            raise AssertionError(f"relayctl ended with {done.returncode}: {done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def wait_until_empty(self) -> None:
        """Until nothing waits any more. Asks the log first, which costs nothing."""

        def is_empty() -> bool:
            accepted = {fact["queue_id"] for fact in self.facts("accepted")}
            return accepted <= {fact["queue_id"] for fact in self.facts("removed")}

        wait_until(is_empty, "an empty queue")
        self.wait_until_empty_after_a_crash()

    def wait_until_empty_after_a_crash(self) -> None:
        """The log may lack the lines of what was committed just before it. While a worker is
        started again nobody is told half of the queue."""

        def is_empty() -> bool:
            listed = self.relayctl("queue", "list", "--json")
            return listed.returncode == 0 and not listed.stdout

        wait_until(is_empty, "an empty queue by relayctl", RECOVERY)


def libraries() -> str:
    """Ours and those we use, for another interpreter of this version."""
    return os.pathsep.join(
        path for path in sys.path if path and not path.startswith(sys.base_prefix)
    )


def _lines(path: Path) -> Iterator[Fact]:
    """Whole lines only: the last may be half written."""
    if path.exists():
        for line in path.read_text().split("\n")[:-1]:
            yield json.loads(line)


def _toml(settings: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """JSON's strings, numbers and lists are TOML's too."""
    tables = {key: value for key, value in settings.items() if isinstance(value, dict)}
    arrays = {key: value for key, value in settings.items() if _is_tables(value)}
    for key, value in settings.items():
        if key not in tables and key not in arrays:
            yield f"{key} = {json.dumps(value)}\n"
    for key, value in tables.items():
        yield f"\n[{path}{key}]\n"
        yield from _toml(value, f"{path}{key}.")
    for key, values in arrays.items():
        for value in values:
            yield f"\n[[{path}{key}]]\n"
            yield from _toml(value, f"{path}{key}.")


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
