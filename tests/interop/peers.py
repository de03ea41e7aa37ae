"""Real servers as peers, for tests and benchmarks: Postfix in a folder of its own, and smtp-sink.

Each listens on loopback alone, keeps everything in a temporary folder, and goes with `clean_up`.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.interop.tools import need, need_root
from tests.process.child import DEADLINE, Child, free_port, is_open, wait_until

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
tlsproxy unix - - n - 0 tlsproxy
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
"""The services that forwarding needs, none of them chrooted."""

_FORWARDING = {
    "compatibility_level": "3.6",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "myhostname": "postfix.example.net",
    "mydestination": "",
    "local_recipient_maps": "",
    "alias_maps": "",
    "alias_database": "",
    "mynetworks": "127.0.0.0/8",
    "smtp_host_lookup": "native",
    "smtpd_peername_lookup": "no",
    "smtputf8_enable": "yes",
    "biff": "no",
}

UNCHANGED = {
    "local_header_rewrite_clients": "",
    "always_add_missing_headers": "no",
    "disable_mime_output_conversion": "yes",
    "message_drop_headers": "",
    "smtp_line_length_limit": "0",
    "message_size_limit": "0",
    "mailbox_size_limit": "0",
}
"""So that a message comes out as it went in, but for Postfix's own Received field."""

TUNED = {
    "local_header_rewrite_clients": "",
    "default_process_limit": "200",
    "default_destination_concurrency_limit": "20",
    "initial_destination_concurrency": "20",
    "default_destination_recipient_limit": "50",
    "in_flow_delay": "0",
    "qmgr_message_active_limit": "200000",
    "qmgr_message_recipient_limit": "200000",
    "max_use": "100000",
    "smtpd_client_event_limit_exceptions": "static:all",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_error_sleep_time": "0",
    "smtp_connection_cache_destinations": "static:all",
    "smtp_connection_reuse_time_limit": "3600s",
    "smtp_destination_concurrency_limit": "20",
    "smtp_tls_security_level": "none",
    "smtpd_tls_security_level": "none",
    "message_size_limit": "0",
    "header_checks": "",
    "queue_minfree": "0",
}
"""For speed, as an operator may: still synced before its 250."""


class Postfix:
    """A Postfix instance that forwards all mail to one port of this machine.

    `settings` are further lines of main.cf; `access` maps recipients to what check_recipient_access
    does with them ("550 5.1.1 no such user").
    """

    def __init__(
        self,
        forward_to: int,
        settings: Mapping[str, str] = UNCHANGED,
        access: Mapping[str, str] = {},
        parent: Path | None = None,
    ) -> None:
        self._postfix, self._sendmail = need("postfix"), need("sendmail")
        need_root("Postfix")
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="relay-postfix-", dir=parent or "/var/tmp"))
        self.folder.chmod(0o755)
        for name in ("etc", "queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        self._write_access(access)
        self._write_settings({**_FORWARDING, **settings}, forward_to)

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        self._command("start")
        wait_until(lambda: is_open(self.port), f"Postfix on port {self.port}:\n{self.log}")

    def stop(self) -> None:
        """Harmless when it does not run. May be started again."""
        if self._master_is_running():
            self._command("stop")
            wait_until(lambda: not self._master_is_running(), "end of Postfix")

    def clean_up(self) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def inject(self, sender: str, recipients: list[str], content: bytes) -> None:
        """As a local program does, by sendmail."""
        command = [self._sendmail, "-C", str(self.folder / "etc"), "-i", "-f", sender]
        subprocess.run([*command, "--", *recipients], input=content, check=True, timeout=DEADLINE)

    @property
    def pid(self) -> int:
        """Of its master process, or 0."""
        path = self.folder / "queue" / "pid" / "master.pid"
        return int(path.read_text()) if path.exists() else 0

    def _master_is_running(self) -> bool:
        try:
            words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return self.pid != 0 and words[0] != "Z"

    def _command(self, word: str) -> None:
        done = subprocess.run(
            [self._postfix, "-c", str(self.folder / "etc"), word],
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        if done.returncode:
            text = (done.stdout + done.stderr).decode(errors="replace")
            raise AssertionError(f"postfix {word} failed:\n{text}\n{self.log}")

    def _write_access(self, access: Mapping[str, str]) -> None:
        lines = [f"{recipient} {action}\n" for recipient, action in access.items()]
        (self.folder / "etc" / "access").write_text("".join(lines))

    def _write_settings(self, settings: Mapping[str, str], forward_to: int) -> None:
        folder = self.folder
        everything = {
            "smtpd_recipient_restrictions": f"check_recipient_access texthash:{folder}/etc/access,"
            " permit_mynetworks, reject",
            **settings,
            "relayhost": f"[127.0.0.1]:{forward_to}",
            "queue_directory": f"{folder}/queue",
            "data_directory": f"{folder}/data",
            "maillog_file": f"{folder}/log",
            "maillog_file_prefixes": str(folder),
        }
        lines = [f"{key} = {value}\n" for key, value in everything.items()]
        (folder / "etc" / "main.cf").write_text("".join(lines))
        (folder / "etc" / "master.cf").write_text(_MASTER.format(port=self.port))


class SmtpSink:
    """smtp-sink, which counts messages and ends after `count`, or keeps them in a file."""

    def __init__(
        self, count: int = 0, keep: bool = False, port: int = 0, sessions: int = 256
    ) -> None:
        self._program = need("smtp-sink")
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="relay-sink-", dir="/var/tmp"))
        self._is_kept = keep
        self._options = ["-m", str(sessions), *(["-M", str(count)] if count else [])]
        self._options += ["-D", f"{self.folder}/mail/kept"] if keep else []
        self._child: Child | None = None

    def start(self) -> None:
        (self.folder / "mail").mkdir()
        if os.geteuid() == 0:
            self._options += ["-u", "nobody"]
            self.folder.chmod(0o755)
            shutil.chown(self.folder / "mail", "nobody")
        command = [self._program, *self._options, f"127.0.0.1:{self.port}", "1000"]
        self._child = Child(command, self.folder / "output")
        self._child.wait_for_port(self.port)

    def wait(self, within: float) -> float:
        """Until it has its count. The monotonic time of that."""
        assert self._child is not None
        self._child.wait(within)
        return time.monotonic()

    @property
    def kept(self) -> bytes:
        """All messages so far, with smtp-sink's own header before each; lines end in LF."""
        return b"".join(path.read_bytes() for path in sorted((self.folder / "mail").iterdir()))

    def clean_up(self) -> None:
        if self._child is not None:
            self._child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class HaProxy:
    """haproxy before one port of this machine, which it reaches from `source`.

    `header` is what it begins each connection with: "send-proxy", "send-proxy-v2", or nothing.
    """

    def __init__(self, forward_to: int, header: str, source: str, has_ipv6: bool = False) -> None:
        self._program = need("haproxy")
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="relay-haproxy-", dir="/var/tmp"))
        self._child: Child | None = None
        (self.folder / "haproxy.cfg").write_text(
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 1m\n timeout server 1m\n"
            f"listen relay\n bind 127.0.0.1:{self.port}\n"
            + (f" bind [::1]:{self.port}\n" if has_ipv6 else "")
            + f" server relay 127.0.0.1:{forward_to} {header} source {source} check inter 200ms\n"
        )

    def start(self) -> None:
        command = [self._program, "-db", "-f", str(self.folder / "haproxy.cfg")]
        self._child = Child(command, self.folder / "output")
        self._child.wait_for_port(self.port)

    def clean_up(self) -> None:
        if self._child is not None:
            self._child.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
