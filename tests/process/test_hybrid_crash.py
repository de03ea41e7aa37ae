"""Hybrid delivery and kill -9 at each step: what got a 250 arrives, what did not is the client's.

The upstream holds its answer, or the relay its commit, so that each kill comes at one exact place.
What arrives twice, or without a 250, is one of the windows that docs/reliability.rst names.
"""

from tests.process.child import wait_until
from tests.process.collector import HOLD, Collector
from tests.process.relay_process import RelayProcess, route, upstream
from tests.process.sending import Load, Waiting
from tests.process.through_relay import ThroughRelay

_STALLED = """
import time
from pathlib import Path
from relay.queue.sqlite import SqliteLedger
commit = SqliteLedger.commit
def stalled(self, calls):
    done = commit(self, calls) if {is_done} else None
    if any(call.name == "insert" for call in calls):
        Path("stalled").touch()
        time.sleep(600)
    return done or commit(self, calls)
SqliteLedger.commit = stalled
"""
"""The store's thread stops just before, or just after, the commit of an insertion. The ledger is
never compiled: what is cannot be put in another's place."""

LARGE = 30_000_000
"""Octets of content that sockets do not swallow: the final dot has not gone out yet."""


class CrashCase(ThroughRelay):
    def hybrid(self, main: Collector, wait: str = "20s", before: str = "") -> RelayProcess:
        relay = self.idle_relay(
            upstream("main", main.port), routes=[route("main", delivery="hybrid", hybrid_wait=wait)]
        )
        relay.before = before
        relay.start()
        return relay

    def again(self, relay: RelayProcess, main: Collector) -> int:
        """Killed, started, all settled: how many arrived."""
        relay.kill()
        main.release()
        main.forget_answers()
        relay.before = ""
        relay.start()
        relay.wait_until_empty_after_a_crash()
        return len(main.kept)


class StepTests(CrashCase):
    def test_before_the_upstream_has_accepted(self) -> None:
        """At each step of the attempt: the client has no 250, nobody has the message."""
        for step in ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "CONTENT"):
            with self.subTest(step):
                main = self.collector()
                main.answer(step, HOLD)
                relay = self.hybrid(main)
                size = LARGE if step == "CONTENT" else 2000
                client = Waiting(relay.port, "one@example.org", size=size)
                main.wait_until_held()
                relay.kill()
                self.assertEqual(0, client.answer())
                self.assertEqual(0, self.again(relay, main))

    def test_between_the_upstreams_acceptance_and_our_250(self) -> None:
        """Nothing is stored, and it is the client's to send again: a named window."""
        main = self.collector()
        main.answer("DOT", HOLD)
        relay = self.hybrid(main)
        client = Waiting(relay.port, "one@example.org")
        main.wait_until_held()
        relay.freeze()
        main.release()
        main.wait_for(1)
        relay.kill()
        self.assertEqual(0, client.answer())
        self.assertEqual(1, self.again(relay, main))

    def test_before_the_commit(self) -> None:
        main = self.collector()
        main.answer("DOT", "451 4.3.0 not now")
        relay = self.hybrid(main, before=_STALLED.format(is_done=False))
        client = Waiting(relay.port, "one@example.org")
        wait_until((relay.folder / "stalled").exists, "the store's stall")
        relay.kill()
        self.assertEqual(0, client.answer())
        self.assertEqual(0, self.again(relay, main))

    def test_between_the_commit_and_our_250(self) -> None:
        """It is in the queue, though the client does not know: a named window."""
        main = self.collector()
        main.answer("DOT", "451 4.3.0 not now")
        relay = self.hybrid(main, before=_STALLED.format(is_done=True))
        client = Waiting(relay.port, "one@example.org")
        wait_until((relay.folder / "stalled").exists, "the store's stall")
        relay.kill()
        self.assertEqual(0, client.answer())
        self.assertEqual(1, self.again(relay, main))


class AfterTheWaitTests(CrashCase):
    """`hybrid_wait` is over, the client has its 250, the attempt still runs."""

    def waited(self, step: str, size: int = 2000) -> tuple[Collector, RelayProcess]:
        main = self.collector()
        main.answer(step, HOLD)
        relay = self.hybrid(main, wait="1s")
        self.assertEqual(250, Waiting(relay.port, "one@example.org", size=size).answer())
        self.assertEqual((1, []), (main.held, main.kept))
        return main, relay

    def test_the_upstream_had_not_accepted(self) -> None:
        for step, size in (("MAIL", 2000), ("DATA", 2000), ("CONTENT", LARGE)):
            with self.subTest(step):
                main, relay = self.waited(step, size)
                self.assertEqual(1, self.again(relay, main))

    def test_the_upstream_had_accepted_and_nobody_read_that(self) -> None:
        """It is sent once more: a named window."""
        main, relay = self.waited("DOT")
        relay.freeze()
        main.release()
        main.wait_for(1)
        self.assertEqual(2, self.again(relay, main))
        one, other = main.kept
        self.assertEqual(one.recipients, other.recipients)

    def test_settled_before_the_crash_it_is_not_sent_again(self) -> None:
        main, relay = self.waited("DOT")
        main.release()
        relay.wait_for(1, "removed")
        self.assertEqual(1, self.again(relay, main))


class LoadTests(CrashCase):
    def test_nothing_acknowledged_is_lost(self) -> None:
        main = self.collector()
        main.answer("DOT", "451 4.3.0 not now", times=40)  # some of it goes by the store
        relay = self.hybrid(main)
        load = Load(relay.port)
        load.start(3000)
        wait_until(lambda: len(load.accepted) > 300, "300 accepted messages")
        relay.kill()
        load.wait()
        self.again(relay, main)
        arrived = {recipient for kept in main.kept for recipient in kept.recipients}
        self.assertEqual(set(), load.accepted - arrived)
