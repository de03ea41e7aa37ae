"""Seen from outside, by strace: the sync ends before the 250 is written, for every message."""

import signal

from tests.attacks.dialogue import Rude
from tests.interop.tools import need
from tests.process.child import Child, wait_until
from tests.process.relay_process import RelayProcess, upstream
from tests.process.sending import content
from tests.process.through_relay import ThroughRelay

_CALLS = "trace=fsync,fdatasync,write,writev,sendto,sendmsg"


class SyncFirstTests(ThroughRelay):
    def traced(self, relay: RelayProcess) -> Child:
        tracing = [need("strace"), "-f", "-y", "-s", "60", "-e", _CALLS, "-o", "trace"]
        output = relay.folder / "strace"
        child = Child([*tracing, "-p", str(relay.child.pid)], output)
        self.addCleanup(child.kill)
        wait_until(lambda: "attached" in output.read_text(), "strace to be attached")
        return child

    def sent(self, relay: RelayProcess, count: int, size: int) -> None:
        """One after the other: no message's sync serves another one."""
        with Rude(relay.port) as client:
            client.say("EHLO client.example")
            for number in range(count):
                client.say("MAIL FROM:<sender@example.net>")
                client.say(f"RCPT TO:<{number}@example.org>")
                client.say("DATA")
                said = client.say(content("x", size)[:-2] + b"\r\n.")
                self.assertRegex(said, "^250 2.0.0 queued")

    def calls(self, size: int) -> list[str]:
        relay = self.relay(upstream("main", self.collector(is_up=False).port))
        child = self.traced(relay)
        self.sent(relay, 5, size)
        child.signal(signal.SIGINT)
        child.wait()
        return (relay.folder / "trace").read_text().splitlines()

    def check(self, lines: list[str], *paths: str) -> None:
        """Between each 354 and its 250, everything at `paths` was synced, and the sync is over."""
        synced: set[str] = set()
        begun: dict[str, str] = {}  # by thread
        seen = 0
        for line in lines:
            thread = line.split()[0]
            if '"354 ' in line:
                synced = set()
            elif "sync(" in line and "unfinished" in line:
                begun[thread] = line
            elif "sync resumed" in line and line.endswith("= 0"):
                synced.add(begun.pop(thread))
            elif "sync(" in line and line.endswith("= 0"):
                synced.add(line)
            elif '"250 2.0.0 queued' in line:
                seen += 1
                for path in paths:
                    self.assertTrue(any(path in each for each in synced), (path, line, synced))
        self.assertEqual(5, seen)

    def test_small_ones(self) -> None:
        self.check(self.calls(2000), "queue.db-wal>")

    def test_large_ones(self) -> None:
        """The content's file and its folder, too."""
        self.check(self.calls(300_000), "queue.db-wal>", "/0/content/", "/0/content>")
