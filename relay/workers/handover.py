"""Another config for all workers: new sockets bound, all handed over; taken by all or by none.

A worker gets the snapshot and the sockets of its new listeners as descriptors over its channel, and
says whether it could make what the config asks for. Nothing is changed before all have said so.
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from relay.config import Config, ConfigError
from relay.service.differences import kept_sockets
from relay.service.systemd import Systemd
from relay.workers.process import WorkerProcess
from relay.workers.snapshot import Snapshot
from relay.workers.sockets import bind_all, close_all

PREPARE_WITHIN = 30.0
"""Seconds: reading files and making contexts; a worker that takes longer is not well."""

Sockets = Sequence[Mapping[str, socket.socket]]
"""By worker, then by listener."""


class Handover:
    """Raises ConfigError where a new address cannot be had. End it by `take` or `forget`."""

    def __init__(self, before: Config, config: Config, sockets: Sockets, systemd: Systemd) -> None:
        self.config = config
        self._kept = kept_sockets(before.listeners, config.listeners)
        self._former = sockets
        new = [each for each in config.listeners if each.name not in self._kept]
        self._bound = bind_all(new, len(sockets), systemd)
        self.sockets: Sockets = [
            {each.name: self._socket(number, each.name) for each in config.listeners}
            for number in range(len(sockets))
        ]
        self.snapshot = Snapshot(config)

    def _socket(self, number: int, listener: str) -> socket.socket:
        kept = self._kept.get(listener)
        return self._bound[number][listener] if kept is None else self._former[number][kept]

    async def prepare(self, workers: Sequence[WorkerProcess], reactor: Any) -> None:
        """Raises ConfigError with what any of them cannot do."""
        asked = [self._ask(worker, reactor) for worker in workers]
        problems: dict[str, None] = {}
        for worker, (is_answered, answer) in zip(
            workers, await DeferredList(asked, consumeErrors=True), strict=True
        ):
            told = answer if is_answered else [f"worker {worker.number} did not answer; try again"]
            problems |= dict.fromkeys(told)  # mostly all say the same
        if problems:
            raise ConfigError(list(problems))

    def _ask(self, worker: WorkerProcess, reactor: Any) -> Deferred[Any]:
        bound = self._bound[worker.number] if worker.number < len(self._bound) else {}
        descriptors = [self.snapshot.fileno(), *(each.fileno() for each in bound.values())]
        asked = worker.channel.ask_with(descriptors, "prepare", list(bound))
        return asked.addTimeout(PREPARE_WITHIN, reactor)

    def take(self, workers: Iterable[WorkerProcess]) -> None:
        for worker in workers:
            worker.channel.tell("take")
        used = {id(each) for of_one in self.sockets for each in of_one.values()}
        for of_one in self._former:
            for each in of_one.values():
                if id(each) not in used:
                    each.close()

    def forget(self, workers: Iterable[WorkerProcess]) -> None:
        for worker in workers:
            worker.channel.tell("forget")
        close_all(self._bound)
        self.snapshot.close()
