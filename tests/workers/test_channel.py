"""The channel between a supervisor and a worker: its two ends in memory."""

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.admin.several import QueueAway
from relay.workers.channel import AskFailed, Channel, Gone, OneChannel
from relay.workers.remote_queue import ANSWER_TIMEOUT, RemoteQueue


class ChannelCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.heard: list[object] = []
        self.answers: dict[str, Any] = {}
        self.lost: list[str] = []
        told = {"note": lambda *words: self.heard.append(words)}
        asked = {"what": lambda *words: self.answer(*words)}
        self.worker = Channel(told, asked, lambda: self.lost.append("worker"))
        self.supervisor = Channel({}, {}, lambda: self.lost.append("supervisor"))
        for end in (self.worker, self.supervisor):
            OneChannel(end).buildProtocol(None).makeConnection(StringTransport())

    def answer(self, *words: object) -> object:
        self.heard.append(words)
        return self.answers[str(words[0])]

    def carry(self, step: int = 0) -> None:
        """What was written on each end arrives at the other, in pieces of `step` octets."""
        for _ in range(3):
            for here, there in (
                (self.supervisor, self.worker),
                (self.worker, self.supervisor),
            ):
                octets = here.transport.value()
                here.transport.clear()
                for start in range(0, len(octets), step or len(octets) or 1):
                    there.dataReceived(octets[start : start + (step or len(octets))])


class ChannelTests(ChannelCase):
    def test_told_in_order(self) -> None:
        self.supervisor.tell("note", 1, "line\nend", None)
        self.supervisor.tell("note")
        self.carry(step=1)
        self.assertEqual([(1, "line\nend", None), ()], self.heard)

    def test_asked_and_answered(self) -> None:
        self.answers["size"] = {"octets": 3, "names": ["ä"]}
        asked = self.supervisor.ask("what", "size", 7)
        self.assertNoResult(asked)
        self.carry(step=1)
        self.assertEqual([("size", 7)], self.heard)
        self.assertEqual({"octets": 3, "names": ["ä"]}, self.successResultOf(asked))

    def test_answers_out_of_order_find_who_asked(self) -> None:
        first: Deferred[int] = Deferred()
        self.answers = {"slow": first, "quick": 2}
        slow, quick = self.supervisor.ask("what", "slow"), self.supervisor.ask("what", "quick")
        self.carry()
        self.assertNoResult(slow)
        self.assertEqual(2, self.successResultOf(quick))
        first.callback(1)
        self.carry()
        self.assertEqual(1, self.successResultOf(slow))

    def test_trouble_comes_back_as_text(self) -> None:
        self.answers["bad"] = fail(ValueError("no such thing"))
        asked = self.supervisor.ask("what", "bad")
        self.carry()
        self.assertEqual("no such thing", self.failureResultOf(asked, AskFailed).getErrorMessage())
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_a_line_longer_than_usual(self) -> None:
        self.supervisor.tell("note", "x" * 1_000_000)
        self.carry(step=65536)
        self.assertEqual([("x" * 1_000_000,)], self.heard)

    def test_the_other_end_goes_while_it_was_asked(self) -> None:
        self.answers["slow"] = Deferred()
        asked = self.supervisor.ask("what", "slow")
        self.carry()
        self.supervisor.connectionLost()
        self.failureResultOf(asked, Gone)
        self.failureResultOf(self.supervisor.ask("what", "more"), Gone)
        self.supervisor.tell("note", 1)
        self.assertEqual(b"", self.supervisor.transport.value())
        self.assertEqual(["supervisor"], self.lost)

    def test_an_answer_to_one_who_is_gone_is_dropped(self) -> None:
        answer: Deferred[int] = Deferred()
        self.answers["slow"] = answer
        self.supervisor.ask("what", "slow").addErrback(lambda _: None)
        self.carry()
        self.worker.connectionLost(Failure(ConnectionError()))
        answer.callback(1)
        self.assertEqual(b"", self.worker.transport.value())

    def test_close(self) -> None:
        Channel({}, {}, lambda: None).close()  # before it was ever connected
        self.worker.close()
        self.assertTrue(self.worker.transport.disconnecting)


class RemoteQueueTests(ChannelCase):
    """A worker's queue, asked over the channel."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.queue = RemoteQueue(1, self.supervisor, self.clock)

    def test_a_worker_that_hangs(self) -> None:
        """Nobody waits for it for ever, and what it says too late is no harm."""
        asked = self.queue.status()
        self.clock.advance(ANSWER_TIMEOUT - 1)
        self.assertNoResult(asked)
        self.clock.advance(1)
        away = self.failureResultOf(asked, QueueAway)
        self.assertIn("worker 1 has not answered for 20 s", away.getErrorMessage())
        self.assertEqual("worker 1", away.value.whose)
        self.worker._asked = {"status": lambda: {"in_hand": 1}}
        self.carry()
        self.assertEqual({"in_hand": 1}, self.asked_again())

    def asked_again(self) -> object:
        again = self.queue.status()
        self.carry()
        return self.successResultOf(again)

    def test_no_timer_is_left(self) -> None:
        self.worker._asked = {"status": lambda: {"in_hand": 1}}
        self.assertEqual({"in_hand": 1}, self.asked_again())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_one_that_is_gone(self) -> None:
        asked = self.queue.status()
        self.supervisor.connectionLost()
        self.failureResultOf(asked, QueueAway)
