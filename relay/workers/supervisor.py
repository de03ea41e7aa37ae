"""Several workers as one relay: binds, starts them, starts again what crashed, stops all.

Holds no mail. Keeps the ledger of what is limited over all workers, fetches their access tokens,
and is the operators' door.
Queues that a larger number of workers left behind get a worker that takes no new mail, until they
are empty.
"""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from relay.admin.control import Control
from relay.admin.operations import Json
from relay.admin.several import QueueAway, Several
from relay.config.reading import Config, ConfigError
from relay.notices import Alarm, AlarmOver, Started, Stopped
from relay.observe.alarms import Alarms
from relay.observe.fan import fan_out
from relay.observe.trafficlog import TrafficLog
from relay.outbound.identity.making import own_tokens
from relay.queue.open_store import spool_of
from relay.queue.store import StoreFailed
from relay.service.process import exit_with, on_signal
from relay.service.reload import Reload
from relay.service.systemd import NO_SYSTEMD, READY, STOPPING, Systemd
from relay.tls.client import TlsUnusable
from relay.users.opening import limits_of
from relay.workers.book import Book
from relay.workers.gossip import pass_on
from relay.workers.handover import Handover
from relay.workers.held_alike import hold_alike
from relay.workers.ledger import Ledger, Order
from relay.workers.nursery import Nursery
from relay.workers.process import WorkerProcess
from relay.workers.remote_queue import RemoteQueue, started_soon
from relay.workers.snapshot import Snapshot
from relay.workers.sockets import bind_all
from relay.workers.token_desk import TokenDesk
from relay.workers.worker import Orders

FIRST_WAIT = 1.0
"""Seconds until a worker that crashed is started again; doubled each time, up to ..."""

MAX_WAIT = 60.0
"""... this. A worker that lived as long as this begins anew."""

KILL_AFTER = 10.0
"""Seconds beyond `stop_within` after which a worker that does not end is killed."""

_log = Logger()


class Supervisor(Service):
    """twistd's service where there are several processes. `left`: numbers of queues left behind."""

    def __init__(
        self,
        config: Config,
        left: Sequence[int],
        reactor: Any,
        source: Path | None = None,
        systemd: Systemd = NO_SYSTEMD,
    ) -> None:
        self._systemd = systemd
        self._config = config
        self._snapshot = Snapshot(config)
        self._left = left
        self._reactor = reactor
        self._log = (
            None if config.traffic_log is None else TrafficLog(config.traffic_log.file, reactor)
        )
        self._alarms = Alarms(reactor.seconds)
        self._observe = fan_out(self._alarms, *([] if self._log is None else [self._log]))
        self._sockets: Sequence[Mapping[str, Any]] = ()
        self._nursery: Nursery
        self._workers: dict[int, WorkerProcess] = {}
        self._waits: dict[int, float] = {}
        self._restarts: dict[int, Any] = {}
        self._ledger = Ledger(config.workers)
        self._book = Book(reactor.seconds, self._observe)
        self._book.use(limits_of(config.auth))
        self._desk = TokenDesk(own_tokens(self._observe, reactor), reactor)
        self._desk.take(self._desk.prepare(config.upstreams))
        self._reload = Reload(source, lambda: self._config, self._change, self._observe, systemd)
        several = Several(self._queues, self._queues_there, self._status, self._reload.now)
        self._control = Control(several, reactor)
        self._is_open = False  # to operators
        self._is_stopping = False
        self._all_ended: Deferred[None] | None = None

    # --- start --------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._sockets = bind_all(self._config.listeners, self._config.workers, self._systemd)
        except ConfigError as error:
            for problem in error.problems:
                sys.stderr.write(f"relay: {problem}\n")
            raise SystemExit(1) from None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._nursery = self._make_nursery()
        if self._log is not None:
            self._log.start()
        on_signal(signal.SIGHUP, self._reactor, self._hung_up)
        for number in range(self._config.workers):
            self._start(number)
        for number in self._left:
            _log.info("queue {number} of a former worker is delivered, too", number=number)
            self._start(number)

    def _make_nursery(self) -> Nursery:
        """As whoever twistd is by now, and before anything is open that is none of its business."""
        try:
            return Nursery(self._nursery_lost, self._reactor)
        except OSError as error:
            sys.stderr.write(f"relay: no worker can be started: {error.strerror}\n")
            raise SystemExit(1) from None

    def _nursery_lost(self) -> None:
        """Somebody killed it. What crashes now could not be started again: end in order, so that
        whoever starts the relay does."""
        for worker in list(self._workers.values()):
            worker.nobody_sees_its_end()
        if not self._is_stopping:
            self._end_badly("the process that workers are forked from ended; start the relay again")

    def _end_badly(self, *lines: str) -> None:
        for line in lines:
            sys.stderr.write(f"relay: {line}\n")
        exit_with(1)
        self._is_stopping = True  # others may give up in the same breath
        self._reactor.callWhenRunning(self._reactor.stop)

    def _start(self, number: int) -> None:
        self._restarts.pop(number, None)
        sockets = self._sockets[number] if number < len(self._sockets) else {}
        orders = Orders(number, self._config.workers, tuple(sockets))
        told: dict[str, Callable[..., object]] = {
            "ready": lambda: self._ready(worker),
            "drained": lambda: worker.channel.tell("stop"),
            "erred": lambda rows: pass_on(rows, number, self._workers),
            "want": lambda *wish: self._carry_out(self._ledger.want(number, *wish)),
            "give": lambda *given: self._carry_out(self._ledger.give(number, *given)),
        }
        asked: dict[str, Callable[..., object]] = {
            "failed": lambda rows: self._book.failed(number, rows),
            "token": self._desk.have,
        }
        worker = WorkerProcess(
            orders,
            self._snapshot,
            sockets,
            told,
            asked,
            self._pass_on,
            self._ended,
            self._nursery,
            self._reactor,
        )
        self._workers[number] = worker
        try:
            worker.start()
        except OSError as error:
            self._ended(worker, f"before it began: {error.strerror}")
        else:
            self._book.open_for(number, worker.channel.tell, worker.channel.ask)

    def _ready(self, worker: WorkerProcess) -> None:
        worker.is_ready = True
        if self._waits.get(worker.number):
            self._observe(AlarmOver(f"worker {worker.number}", "it works again"))
        are_all = not self._restarts and all(each.is_ready for each in self._workers.values())
        if are_all and not self._is_open:
            self._is_open = True
            Deferred.fromCoroutine(self._open()).addErrback(
                lambda why: _log.failure("the operators' door did not open", why)
            )

    async def _open(self) -> None:
        """All are there for the first time."""
        trouble: Exception | None = None
        try:
            await hold_alike(self._queues_there().values())
        except (QueueAway, StoreFailed) as error:
            trouble = error
        if self._is_stopping:
            return
        if trouble is not None:
            _log.error(
                "lanes may be held in some queues alone: {why}; hold or release them again",
                why=str(trouble),
            )
        spool = spool_of(self._config.queue.store)
        self._control.open(spool, self._config.admin, self._observe)
        self._observe(Started("relay", f"{self._config.workers} workers"))
        self._systemd.tell(READY)

    def _carry_out(self, orders: Sequence[Order]) -> None:
        for order in orders:
            worker = self._workers.get(order.worker)
            if worker is None:
                continue
            if order.name == "granted":
                worker.channel.tell("granted", order.key, order.count)
            else:
                worker.channel.tell(order.name, order.key)

    # --- ends ---------------------------------------------------------------------------------

    def _ended(self, worker: WorkerProcess, how: str) -> None:
        number = worker.number
        del self._workers[number]
        self._book.close_for(number)
        self._carry_out(self._ledger.gone(number))
        if self._is_stopping:
            self._check_ended()
        elif not worker.is_ready and number not in self._waits:
            self._give_up(worker, how)
        elif how == "with status 0" and number >= self._config.workers:
            _log.info("queue {number} of a former worker is empty", number=number)
        else:
            self._start_again(worker, how)

    def _give_up(self, worker: WorkerProcess, how: str) -> None:
        """It never worked: whoever starts the relay must know."""
        said = [line for line in worker.last_words if line.startswith("relay: ")]
        told = [line.removeprefix("relay: ") for line in said]
        self._end_badly(*(told or [f"worker {worker.number} ended {how} at its start"]))

    def _start_again(self, worker: WorkerProcess, how: str) -> None:
        number = worker.number
        has_lived = self._reactor.seconds() - worker.started_at >= MAX_WAIT
        before = 0.0 if has_lived else self._waits.get(number, 0.0)
        wait = self._waits[number] = min(MAX_WAIT, max(FIRST_WAIT, 2 * before))
        why = f"it ended {how} and is started again in {wait:g} s; no mail of its queue is lost"
        self._observe(Alarm(f"worker {number}", why))
        _log.error("worker {number}: {why}", number=number, why=why)
        self._restarts[number] = self._reactor.callLater(wait, self._start, number)

    def stopService(self) -> "Deferred[None]":
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._systemd.tell(STOPPING)
        self._is_stopping = True
        for call in self._restarts.values():
            call.cancel()
        await self._control.close()
        for worker in self._workers.values():
            worker.channel.tell("stop")
        kill = self._reactor.callLater(self._config.stop_within + KILL_AFTER, self._kill)
        await self._when_ended()
        kill.cancel() if kill.active() else None
        self._nursery.close()
        await self._desk.settle(self._config.stop_within)
        for sockets in self._sockets:
            for each in sockets.values():
                each.close()
        self._snapshot.close()
        self._observe(Stopped("relay"))
        if self._log is not None:
            self._log.stop()

    def _kill(self) -> None:
        for worker in self._workers.values():
            _log.error("worker {number} does not end: killed", number=worker.number)
            worker.kill()

    def _when_ended(self) -> Deferred[None]:
        if not self._workers:
            return succeed(None)
        self._all_ended = Deferred()
        return self._all_ended

    def _check_ended(self) -> None:
        if not self._workers and self._all_ended is not None:
            done, self._all_ended = self._all_ended, None
            done.callback(None)

    # --- what is asked ------------------------------------------------------------------------

    def _queues(self) -> Mapping[int, RemoteQueue]:
        """Those of former workers, too, as long as they are not empty. Raises QueueAway."""
        for number in sorted({*range(self._config.workers), *self._workers, *self._restarts}):
            worker = self._workers.get(number)
            if worker is None or not worker.is_ready:
                raise started_soon(number)
        return self._queues_there()

    def _queues_there(self) -> Mapping[int, RemoteQueue]:
        there = sorted(number for number, worker in self._workers.items() if worker.is_ready)
        return {
            number: RemoteQueue(number, self._workers[number].channel, self._reactor)
            for number in there
        }

    def _status(self) -> Json:
        return {
            "workers": len(self._workers),
            "processes": [
                {"worker": f"{number}", "state": self._state(number)}
                for number in sorted({*self._workers, *self._restarts})
            ],
            **self._book.status(),
            **self._alarms.status(),
        }

    def _state(self, number: int) -> str:
        worker = self._workers.get(number)
        if worker is None:
            return "ended, will be started again"
        return "working" if worker.is_ready else "starting"

    def _hung_up(self) -> None:
        if self._log is not None:
            self._log.reopen()
        for worker in self._workers.values():
            worker.channel.tell("reopen")
        self._reload.begin()

    async def _change(self, config: Config) -> None:
        """All workers go on by another config, or none. Raises ConfigError."""
        workers = list(self._workers.values())
        if self._is_stopping or self._restarts or not all(each.is_ready for each in workers):
            raise ConfigError(["not all workers are running at the moment; reload again later"])
        try:
            tokens = self._desk.prepare(config.upstreams)
        except TlsUnusable as error:
            raise ConfigError([str(error)]) from None
        handover = Handover(self._config, config, self._sockets, self._systemd)
        try:
            await handover.prepare(workers, self._reactor)
            if self._is_stopping:
                raise ConfigError(["the relay is being stopped"])
            if list(self._workers.values()) != workers:  # its successor began by the old config
                raise ConfigError(["a worker ended meanwhile; reload again"])
        except ConfigError:
            handover.forget(workers)
            raise
        self._snapshot.close()
        self._config, self._snapshot = config, handover.snapshot
        self._sockets = handover.sockets
        self._desk.take(tokens)
        handover.take(workers)
        self._book.use(limits_of(config.auth))

    def _pass_on(self, lines: bytes) -> None:
        """Lines of a worker's traffic log, where that is standard output."""
        if self._log is not None:
            self._log.pass_on(lines)
