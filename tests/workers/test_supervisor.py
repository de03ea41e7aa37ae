"""The supervisor with stand-ins for its workers: ends and reloads that come at a bad time."""

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.admin.several import QueueAway
from relay.config import Config, ConfigError
from relay.config.reading import check
from relay.service.systemd import NO_SYSTEMD
from relay.workers import supervisor
from relay.workers.sockets import bind_all, close_all
from relay.workers.supervisor import FIRST_WAIT, MAX_WAIT, Supervisor

NUMBERS = (0, 1)


def config(hostname: str) -> Config:
    return check(
        {
            "hostname": hostname,
            "workers": len(NUMBERS),
            "queue": {"store": "sqlite:spool"},
            "listener": [{"name": "lan", "address": "127.0.0.1:0"}],
            "upstream": [{"name": "a", "hosts": ["smtp://192.0.2.1"]}],
            "route": [{"upstream": "a"}],
        },
        Path("/nowhere"),
    )


class StandIn:
    """In the place of a process."""

    cannot_start: OSError | None = None

    def __init__(self, orders: Any, snapshot: Any, *rest: Any) -> None:
        self.number = orders.number
        self.hostname = pickle.loads(os.pread(snapshot.fileno(), 1_000_000, 0)).hostname
        self.is_ready = False
        self.started_at = 0.0
        self.last_words: list[str] = []
        self.told: list[Any] = []
        self.answer: Deferred[Any] = Deferred()
        self.channel = SimpleNamespace(
            tell=lambda *words: self.told.append(words),
            ask=lambda *words: Deferred(),
            ask_with=lambda *words: self.answer,
        )

    def start(self) -> None:
        if self.cannot_start is not None:
            raise self.cannot_start
        self.is_ready = True


class SupervisorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(supervisor, "WorkerProcess", StandIn)
        self.supervisor = Supervisor(config("old.example.net"), (), self.clock)
        self.supervisor._nursery = cast(Any, None)
        self.supervisor._sockets = bind_all(
            config("any.example.net").listeners, len(NUMBERS), NO_SYSTEMD
        )
        self.addCleanup(close_all, self.supervisor._sockets)
        for number in NUMBERS:
            self.supervisor._start(number)
            self.supervisor._waits[number] = 0.0
        self.workers: Any = self.supervisor._workers

    def test_a_worker_that_ends_while_another_prepares_a_reload(self) -> None:
        """Its successor has begun by the old configuration: the reload must not be called done."""
        zero, one = self.workers[0], self.workers[1]
        change = Deferred.fromCoroutine(self.supervisor._change(config("new.example.net")))
        zero.answer.callback([])
        self.supervisor._ended(zero, "by signal 9")
        self.clock.advance(FIRST_WAIT)
        one.answer.callback([])
        self.failureResultOf(change, ConfigError)
        self.assertEqual(["old.example.net"] * 2, [each.hostname for each in self.workers.values()])
        self.assertNotIn(("take",), one.told)

    def test_a_reload(self) -> None:
        change = Deferred.fromCoroutine(self.supervisor._change(config("new.example.net")))
        for worker in self.workers.values():
            worker.answer.callback([])
        self.assertIsNone(self.successResultOf(change))
        self.assertEqual([("take",)], self.workers[0].told[1:], "after the key of the digests")

    def test_a_process_that_cannot_be_made_is_tried_again(self) -> None:
        self.patch(StandIn, "cannot_start", BlockingIOError(11, "no more processes"))
        self.supervisor._ended(self.workers[1], "by signal 9")
        self.clock.advance(FIRST_WAIT)
        self.assertEqual([0], list(self.workers))
        self.patch(StandIn, "cannot_start", None)
        self.clock.advance(2 * FIRST_WAIT)
        self.assertEqual([0, 1], sorted(self.workers))

    def test_one_that_crashes_again_and_again_is_started_less_and_less_often(self) -> None:
        waits = [self._wait_after_a_crash() for _ in range(9)]
        self.assertEqual([1, 2, 4, 8, 16, 32, 60, 60, 60], waits)
        self.workers[1].started_at = self.clock.seconds()
        self.clock.advance(MAX_WAIT)
        self.assertEqual(1, self._wait_after_a_crash(), "it had lived for long enough")

    def _wait_after_a_crash(self) -> float:
        began = self.clock.seconds()
        self.supervisor._ended(self.workers[1], "by signal 9")
        while 1 not in self.workers:
            self.clock.advance(1)
        self.workers[1].started_at = self.clock.seconds()
        return self.clock.seconds() - began

    def test_the_queue_of_a_former_worker_counts_as_long_as_it_has_one(self) -> None:
        """Operators are told of all queues or of none."""
        self.supervisor._start(5)
        self.supervisor._waits[5] = 0.0
        self.assertEqual(3, len(self.supervisor._queues()))
        self.supervisor._ended(self.workers[5], "by signal 9")
        self.assertRaises(QueueAway, self.supervisor._queues)
        self.clock.advance(FIRST_WAIT)
        self.workers[5].is_ready = False
        self.assertRaises(QueueAway, self.supervisor._queues)
        self.workers[5].is_ready = True
        self.assertEqual(3, len(self.supervisor._queues()))
        self.supervisor._ended(self.workers[5], "with status 0")
        self.assertEqual(2, len(self.supervisor._queues()))
