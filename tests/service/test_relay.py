"""What the service hands on from the config to its parts. Whole relays: tests/process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.reading import load
from relay.queue.store import StoreFailed
from relay.service.backstage import ROUTE_AGAIN_AFTER, Backstage
from relay.service.relay import RelayService

CONFIG = """
hostname = "relay.example.net"
[queue]
store = "sqlite:spool"
max_content_memory = "3M"
[[listener]]
name = "lan"
address = "127.0.0.1:0"
[[upstream]]
name = "a"
hosts = ["smtp://127.0.0.1:1"]
[[route]]
upstream = "a"
"""


class WiringTests(SynchronousTestCase):
    def test_the_memory_for_content_is_the_config_s(self) -> None:
        file = Path(self.mktemp())
        file.write_text(CONFIG)
        service = RelayService(load(file), reactor)
        buffers = service._stage.store.buffers
        self.addCleanup(buffers.close)
        writers = [buffers.writer(str(n)) for n in range(50)]
        full = [buffers.is_full for writer in writers if writer.write(b"x" * 64 * 2**10) is None]
        self.assertEqual([False] * 48 + [True] * 2, full)
        for writer in writers:
            writer.discard()


class OverlappingReloadsTests(SynchronousTestCase):
    """The supervisor gives up one that takes too long, and may ask for another."""

    def test_what_the_former_bound_is_given_back(self) -> None:
        file = Path(self.mktemp())
        file.write_text(CONFIG)
        service: Any = RelayService(load(file), reactor)
        self.addCleanup(service._stage.store.buffers.close)
        service._opening, service._is_open, service.running = succeed(None), True, 1
        ready: list[Deferred[None]] = [Deferred(), Deferred()]
        begun = iter(ready)
        forgotten: list[object] = []

        async def prepare(config: object) -> object:
            await next(begun)
            return config

        service._stage = SimpleNamespace(prepare=prepare)
        service._reception = SimpleNamespace(
            prepare=lambda config, sockets: f"bound for {config}", forget=forgotten.append
        )
        for config in ("the first", "the second"):
            Deferred.fromCoroutine(service.prepare(config, None))
        for each in ready:
            each.callback(None)
        self.assertEqual(["bound for the first"], forgotten)
        self.assertEqual(("the second", "bound for the second"), service._prepared)


class RoutingAnewTests(SynchronousTestCase):
    """Waiting mail whose upstream is gone would be left behind for ever."""

    def setUp(self) -> None:
        file = Path(self.mktemp())
        file.write_text(CONFIG)
        self.clock: Any = Clock()
        self.clock.callFromThread = lambda call: call()  # no thread begins here
        self.stage = Backstage(load(file), self.clock, None, lambda notice: None)
        self.addCleanup(self.stage.store.buffers.close)
        self.runs: list[str] = []

    async def run_anew(self) -> None:
        self.runs.append("failed" if len(self.runs) < 2 else "done")
        if self.runs[-1] == "failed":
            raise StoreFailed("the disk is full")

    def test_it_is_tried_until_the_store_has_done_it(self) -> None:
        self.stage._begin_routing_anew(self.run_anew)
        self.assertEqual(["failed"], self.runs)
        self.clock.pump([ROUTE_AGAIN_AFTER] * 5)
        self.assertEqual(["failed", "failed", "done"], self.runs)

    def test_the_end_ends_it(self) -> None:
        self.stage._begin_routing_anew(self.run_anew)
        self.stage.stop_looking()
        self.assertEqual([], self.clock.getDelayedCalls())
