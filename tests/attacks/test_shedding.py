"""More than the relay can take just then: it says so, keeps what it has, and goes on by itself.

421 at the limits of sessions is looked at in test_floods.
"""

import os
import resource
from pathlib import Path

from tests.attacks.dialogue import Rude
from tests.process.child import wait_until
from tests.process.relay_process import RelayProcess, upstream
from tests.process.sending import SENDER, content, send
from tests.process.through_relay import ThroughRelay

PLENTY = 1 << 40
LITTLE = 1 << 19
"""Octets that are free: RelayProcess has a `min_free` of 1 MiB."""

_TELLING = """
import pathlib
from relay.queue import space
space.INTERVAL = 0.1
space.free_octets_of = lambda _: int(pathlib.Path({path!r}).read_text())
"""
"""Python that the relay's process runs first: a file says how much is free."""


def tell_free(path: Path, octets: int) -> None:
    """Whoever reads it finds the one number or the other."""
    new = path.with_suffix(".new")
    new.write_text(str(octets))
    new.replace(path)


def limit_files(relay: RelayProcess, octets: int) -> None:
    """No file of that process may grow beyond; what does not fit is an error of the write."""
    hard = resource.prlimit(relay.child.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(relay.child.pid, resource.RLIMIT_FSIZE, (octets, hard))


class SheddingTests(ThroughRelay):
    def answer(self, relay: RelayProcess, recipient: str, size: int = 2000) -> str:
        """The last word on a message."""
        with Rude(relay.port) as client:
            client.say("EHLO client.example")
            for line in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{recipient}>", "DATA"):
                said = client.say(line)
                if said >= "4":
                    return said
            return client.say(content(recipient, size)[:-2] + b"\r\n.")

    def test_less_space_than_min_free(self) -> None:
        """452, while what is in the queue goes on; mail is taken again once there is room."""
        collector = self.collector(is_up=False)
        relay = self.idle_relay(upstream("main", collector.port))
        free = relay.folder / "free"
        tell_free(free, PLENTY)
        relay.before = _TELLING.format(path=str(free))
        relay.start()
        what = f"free space of {relay.spool}"
        send(relay.port, ["before@example.org"])
        tell_free(free, LITTLE)
        (alarm,) = relay.wait_for(1, "alarm", what=what)
        self.assertIn("452 4.3.1", alarm["why"])
        self.assertRegex(self.answer(relay, "meanwhile@example.org"), "^452 4.3.1 ")
        collector.start()
        collector.wait_for(1)
        tell_free(free, PLENTY)
        relay.wait_for(1, "alarm_over", what=what)
        send(relay.port, ["after@example.org"])
        arrived = [path for kept in collector.wait_for(2) for path in kept.recipients]
        self.assertEqual(["before@example.org", "after@example.org"], arrived)
        relay.wait_until_empty()
        self.assertEqual(1, len(relay.facts("started", what="relay")))

    def test_a_store_that_fails(self) -> None:
        """451, small content and large; what got a 250 arrives, and nothing else does."""
        collector = self.collector()
        relay = self.relay(upstream("main", collector.port))
        accepted = [f"{number}@example.org" for number in range(30)]
        for name in accepted:
            send(relay.port, [name])
        relay.wait_until_empty()
        log = relay.spool / "0" / "queue.db-wal"
        self.assertGreater(log.stat().st_size, relay.traffic_log.stat().st_size + 50_000)
        limit_files(relay, log.stat().st_size)

        def was_refused() -> bool:
            """The log of the database may begin anew, and have room for some."""
            name = f"more{len(accepted)}@example.org"
            said = self.answer(relay, name)
            if said.startswith("250"):
                accepted.append(name)
            else:
                self.assertRegex(said, "^451 4.3.0 ")
            return said.startswith("451")

        wait_until(was_refused, "a refusal")
        self.assertRegex(self.answer(relay, "large@example.org", 4 << 20), "^451 4.3.0 ")
        limit_files(relay, resource.RLIM_INFINITY)
        wait_until(lambda: not was_refused(), "mail being taken again")
        wait_until(lambda: len(collector.kept) >= len(accepted), "all of it")
        relay.wait_until_empty()
        arrived = [path for kept in collector.kept for path in kept.recipients]
        self.assertEqual(sorted(accepted), sorted(arrived))
        os.kill(relay.child.pid, 0)
