"""The supervisor with stand-ins for its workers: ends and reloads that come at a bad time."""

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config import Config, ConfigError
from relay.config.reading import check
from relay.service.systemd import NO_SYSTEMD
from relay.workers import supervisor
from relay.workers.sockets import bind_all, close_all
from relay.workers.supervisor import FIRST_WAIT, Supervisor

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
