"""The queue while no relay runs: opens the spool itself, each folder of it, and lets go.

The store needs a reactor; it runs in a thread of its own for as long as the command takes.
"""

import os
from collections.abc import Coroutine
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from twisted.internet import reactor as _reactor
from twisted.internet import threads
from twisted.internet.defer import Deferred, maybeDeferred

from relay.admin.operations import Json, Operations
from relay.admin.several import Several
from relay.admin.spool_queue import SpoolQueue
from relay.config import Config
from relay.notices import Notice
from relay.observe.trafficlog import TrafficLog
from relay.outbound.identity.choice import lanes_of
from relay.queue.open_store import open_store
from relay.queue.spool import folders_of
from relay.queue.store import IStore, Selection

reactor: Any = _reactor
call_from_thread: Any = threads.blockingCallFromThread
T = TypeVar("T")


class OwnSpool:
    """An open spool. What is done is written to the traffic log, as the relay would."""

    def __init__(self, config: Config, directory: Path) -> None:
        """Raises StoreUnusable."""
        _become_owner(directory)
        self._thread = Thread(target=reactor.run, args=(False,), daemon=True)
        self._thread.start()
        self._log = _traffic_log(config)
        self._stores: dict[int, IStore] = {}
        try:
            for number in folders_of(directory):
                store = open_store(config.queue.store, reactor, number=number)
                call_from_thread(reactor, store.open)
                self._stores[number] = store
        except BaseException:
            self._close_stores()
            self._stop_reactor()
            raise
        if self._log is not None:
            call_from_thread(reactor, maybeDeferred, self._log.start)
        names = [lane for upstream in config.upstreams for lane in lanes_of(upstream)]
        queues = {
            number: Operations(SpoolQueue(store, names, self._observe), config.queue.expire_after)
            for number, store in self._stores.items()
        }
        self._operations = Several(lambda: queues)

    def page(self, selection: Selection, after: str, limit: int) -> Json:
        """See `Operations.page`."""
        return self._wait(self._operations.page(selection, after, limit))

    def act(self, verb: str, selection: Selection, after: str) -> Json:
        """See `Operations.act`."""
        return self._wait(self._operations.act(verb, selection, after))

    def lanes(self) -> list[Json]:
        found: list[Json] = self._wait(self._operations.lanes())["lanes"]
        return found

    def act_on_lane(self, verb: str, name: str) -> bool:
        """Hold or release. False: there is no such lane."""
        operations = self._operations
        act = operations.hold_lane if verb == "hold" else operations.release_lane
        return self._wait(act(name))

    def status(self) -> Json:
        return self._wait(self._operations.status())

    def close(self) -> None:
        self._close_stores()
        if self._log is not None:
            call_from_thread(reactor, maybeDeferred, self._log.stop)
        self._stop_reactor()

    def _close_stores(self) -> None:
        for store in self._stores.values():
            call_from_thread(reactor, store.close)

    def _observe(self, notice: Notice) -> None:
        if self._log is not None:
            self._log(notice)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        found: T = call_from_thread(reactor, Deferred.fromCoroutine, work)
        return found

    def _stop_reactor(self) -> None:
        reactor.callFromThread(reactor.stop)
        self._thread.join(timeout=10)


def _become_owner(directory: Path) -> None:
    """Root acts as the spool's owner, lest the relay finds files that it may not write."""
    owner = directory.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def _traffic_log(config: Config) -> TrafficLog | None:
    """None where it is standard output: that is the command's own."""
    if config.traffic_log is None or config.traffic_log.file == "-":
        return None
    return TrafficLog(config.traffic_log.file, reactor)
