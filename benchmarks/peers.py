"""The other peers, as forwarders: Exim, OpenSMTPD, Haraka, aiosmtpd. `make bench-peers` gets them.

Each is tuned as an operator may do it without giving up what its 250 promises. docs/benchmarks.rst
says what that is.
"""

import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from benchmarks.cell import DEBIAN, PEERS, identity, passwd_with, run_in_cell
from benchmarks.cpu import process_tree
from benchmarks.cpu_group import CpuGroup
from benchmarks.load import Identity
from tests.interop.tools import CHECKOUT, need
from tests.process.child import Child, free_port

_EXIM = DEBIAN / "usr" / "sbin" / "exim4"
_OPENSMTPD = DEBIAN / "usr" / "sbin" / "smtpd"
_HARAKA = PEERS / "haraka" / "node_modules" / "Haraka" / "bin" / "haraka"

_EXIM_CONFIG = """\
primary_hostname = exim.example.net
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/log/exim.pid
split_spool_directory = true
deliver_drop_privilege = true
host_lookup =
rfc1413_hosts =
tls_advertise_hosts =
smtp_accept_max = 200
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
remote_max_parallel = 20
message_size_limit = 100M
acl_smtp_rcpt = forward
begin acl
forward:
  accept {control}
begin routers
sink:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = sink
begin transports
sink:
  driver = smtp
  port = {sink}
  allow_localhost
  hosts_avoid_tls = *
  hosts_try_dane =
  hosts_try_chunking =
begin retry
* * F,2h,1m
"""

_OPENSMTPD_CONFIG = """\
smtp max-message-size 100M
smtp limit max-mails 100000
listen on 127.0.0.1 port {port} hostname opensmtpd.example.net
action "sink" relay host smtp://127.0.0.1:{sink}
match from any for any action "sink"
"""

_HARAKA_PLUGIN = """\
exports.hook_connect = (next, connection) => {{
    connection.relaying = {is_relaying};
    next();
}};
exports.hook_rcpt = (next) => next(OK);
exports.hook_get_mx = (next) => next(OK, {{ exchange: "127.0.0.1", port: {sink} }});
"""


class _Peer:
    """A folder of its own, one process tree, a port."""

    def __init__(self, sink: int, folder: Path, tls: Identity | None) -> None:
        self.port = free_port()
        self._sink = sink
        self._folder = Path(tempfile.mkdtemp(prefix="relay-peer-", dir=folder))
        self._folder.chmod(0o755)
        self._child: Child | None = None
        self._group = CpuGroup()

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    def start(self) -> None:
        self._child = self._launch()
        self._child.wait_for_port(self.port)

    def clean_up(self) -> None:
        for pid in process_tree(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._child is not None:
            self._child.kill()
        self._group.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _launch(self) -> Child:
        raise NotImplementedError

    def _make(self, name: str, owner: int = 0, mode: int = 0o755) -> Path:
        path = self._folder / name
        path.mkdir(parents=True)
        os.chown(path, owner, owner)
        path.chmod(mode)
        return path


class EximQueue(_Peer):
    """Stores each message, synced, and starts a delivery at once."""

    _CONTROL = ""
    _USERS = ("Debian-exim",)

    def _launch(self) -> Child:
        owner = identity(self._USERS, "Debian-exim")
        for name in ("spool", "log"):
            self._make(name, owner)
        config = self._folder / "exim.conf"
        config.write_text(
            _EXIM_CONFIG.format(
                port=self.port, folder=self._folder, sink=self._sink, control=self._CONTROL
            )
        )
        command = [str(_EXIM), "-C", str(config), "-bdf", "-q1m"]
        seen_at = passwd_with(self._USERS, self._folder)
        return run_in_cell(command, seen_at, self._folder / "output", self._group)


class EximCutthrough(EximQueue):
    """Passes each message on while its client sends it; the spool file is written all the same."""

    _CONTROL = "control = cutthrough_delivery"


class OpenSmtpd(_Peer):
    """Stores each message, not synced, and schedules its delivery."""

    _USERS = ("opensmtpd", "opensmtpq")

    def _launch(self) -> Child:
        config = self._folder / "smtpd.conf"
        config.write_text(_OPENSMTPD_CONFIG.format(port=self.port, sink=self._sink))
        queue = identity(self._USERS, "opensmtpq")
        self._make("spool", mode=0o711)
        self._make("spool/smtpd", mode=0o711)
        self._make("lib")
        self._make("lib/opensmtpd")
        self._make("lib/opensmtpd/empty")
        self._make("run")
        os.chown(self._make("spool/smtpd/offline", mode=0o770), 0, queue)
        seen_at = {
            **passwd_with(self._USERS, self._folder),
            Path("/var/spool"): self._folder / "spool",
            Path("/var/lib"): self._folder / "lib",
            Path("/run"): self._folder / "run",
        }
        command = [str(_OPENSMTPD), "-F", "-f", str(config)]
        return run_in_cell(command, seen_at, self._folder / "output", self._group)


class HarakaQueue(_Peer):
    """Stores each message, synced, and delivers it. A process for each processor."""

    _QUEUE: tuple[str, ...] = ()
    _IS_RELAYING = "true"

    def _launch(self) -> Child:
        config = self._make("config")
        self._make("plugins")
        self._make("queue")
        files = {
            "smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes=cpus\n",
            "plugins": "\n".join(["sink", *self._QUEUE]) + "\n",
            "log.ini": "[main]\nlevel=warn\n",
            "me": "haraka.example.net\n",
            "outbound.ini": "concurrency_max=20\nenable_tls=false\n",
            "smtp_forward.ini": f"host=127.0.0.1\nport={self._sink}\n",
        }
        for name, text in files.items():
            (config / name).write_text(text)
        shutil.copy(_HARAKA.parents[1] / "config" / "connection.ini", config)
        (self._folder / "plugins" / "sink.js").write_text(
            _HARAKA_PLUGIN.format(sink=self._sink, is_relaying=self._IS_RELAYING)
        )
        command = [need("node"), str(_HARAKA), "-c", str(self._folder)]
        return Child(command, self._folder / "output")


class HarakaForward(HarakaQueue):
    """Passes each message on when it has all of it, and the upstream's reply back."""

    _QUEUE = ("queue/smtp_forward",)
    _IS_RELAYING = "false"


class AiosmtpdProxy(_Peer):
    """Passes each message on when it has all of it; a connection for each, one at a time."""

    def _launch(self) -> Child:
        command = [sys.executable, "-m", "benchmarks.aiosmtpd_proxy"]
        environment = {"PYTHONPATH": str(CHECKOUT)}
        ports = [str(self.port), str(self._sink)]
        return Child([*command, *ports], self._folder / "output", environment)


def missing_peer(name: str) -> str:
    """What is not there of what that peer needs, or nothing."""
    path = _NEEDED.get(name)
    return (
        "" if path is None or path.exists() else f"{path.relative_to(CHECKOUT)} (make bench-peers)"
    )


_NEEDED = {
    "Exim, queue": _EXIM,
    "Exim, cutthrough": _EXIM,
    "OpenSMTPD": _OPENSMTPD,
    "Haraka, queue": _HARAKA,
    "Haraka, smtp_forward": _HARAKA,
}
