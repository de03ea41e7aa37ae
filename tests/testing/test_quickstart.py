"""The quickstart as a process: both parts run and end, or one clear message."""

import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

CONFIG = """
hostname = "relay.example.net"
postmaster = "postmaster@example.net"
stop_within = "2s"
[queue]
store = "sqlite:var/spool"
[[listener]]
name = "local"
address = "127.0.0.1:{relay}"
[[upstream]]
name = "sink"
hosts = ["smtp://127.0.0.1:{sink}"]
[[route]]
upstream = "sink"
[traffic_log]
file = "var/traffic.jsonl"
"""

DEADLINE = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class QuickstartTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="quickstart"))
        self.relay, self.sink = free_port(), free_port()
        self.config = self.folder / "relay.toml"
        self.config.write_text(CONFIG.format(relay=self.relay, sink=self.sink))

    def start(self) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "relay.testing.quickstart", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = threading.Timer(DEADLINE, process.terminate)
        deadline.start()
        self.addCleanup(deadline.cancel)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        return process

    def end_of(self, process: "subprocess.Popen[str]") -> tuple[str, str, int]:
        out, err = process.communicate(timeout=DEADLINE)
        return out, err, process.returncode

    def assert_free(self, port: int) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))

    def test_a_first_mail_lands_and_ctrl_c_ends_both(self) -> None:
        process = self.start()
        told = []
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line)
            if "Ctrl-C" in line:
                break
        text = "".join(told)
        self.assertIn(f"127.0.0.1:{self.relay}", text)
        self.assertIn("send --to you@example.org", text)
        with smtplib.SMTP("127.0.0.1", self.relay, timeout=DEADLINE) as client:
            client.sendmail("a@example.net", ["b@example.org"], b"Subject: x\r\n\r\nx\r\n")
        process.send_signal(signal.SIGINT)
        _, err, status = self.end_of(process)
        self.assertEqual((err, status), ("", 0))
        self.assertEqual(len(list((self.folder / "var/inbox").glob("*.eml"))), 1)
        self.assert_free(self.relay)
        self.assert_free(self.sink)

    def test_a_port_in_use_is_told_before_anything_starts(self) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", self.relay))
            other.listen()
            _, err, status = self.end_of(self.start())
        self.assertEqual(status, 1)
        self.assertIn(f"the relay cannot listen on 127.0.0.1:{self.relay}", err)
        self.assertFalse((self.folder / "var").exists())

    def test_when_one_ends_the_other_is_stopped(self) -> None:
        (self.folder / "var").mkdir()
        (self.folder / "var" / "spool").write_text("not a directory")
        _, err, status = self.end_of(self.start())
        self.assertEqual(status, 1)
        self.assertIn("the relay ended; it said:", err)
        self.assert_free(self.sink)

    def test_mistakes_in_the_config_are_told(self) -> None:
        self.config.write_text("nonsense = 1\n")
        _, err, status = self.end_of(self.start())
        self.assertEqual(status, 2)
        self.assertIn("nonsense", err)
