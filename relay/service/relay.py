"""The relay in one process, or one worker's share of it: starts, changes and stops its parts.

Nothing is opened, bound or threaded before the service starts: twistd daemonises and drops
privileges in between.
"""

import signal
import sys
from pathlib import Path
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.admin.control import Control
from relay.admin.operations import Operations
from relay.build import how_built
from relay.config import Config, ConfigError
from relay.notices import Started, Stopped
from relay.observe.alarms import Alarms
from relay.observe.fan import fan_out
from relay.observe.trafficlog import TrafficLog
from relay.queue.control import QueueControl
from relay.queue.store import Opened, StoreFailed, StoreUnusable
from relay.service.backstage import Backstage, Prepared
from relay.service.process import exit_with, on_signal
from relay.service.reception import PreparedReception, Reception, Sockets
from relay.service.reload import Reload
from relay.service.share import Share
from relay.service.shut_out import shut_out_status
from relay.service.systemd import NO_SYSTEMD, READY, STOPPING, Systemd
from relay.tls.client import TlsUnusable
from relay.users.failures import Failures
from relay.users.file import UsersUnusable

DRAIN_LOOK = 5.0
"""Seconds between looks whether a worker that takes no new mail has any left."""

_log = Logger()


class RelayService(Service):
    """A relay in one process, or one worker's `share` of it. `source`: the file of its config; a
    worker is told by its supervisor in its place."""

    def __init__(
        self,
        config: Config,
        reactor: Any,
        share: Share | None = None,
        source: Path | None = None,
        systemd: Systemd = NO_SYSTEMD,
    ) -> None:
        self._systemd = systemd
        self._config = config
        self._share = share
        self._reactor = reactor
        self._log = (
            None if config.traffic_log is None else TrafficLog(config.traffic_log.file, reactor)
        )
        self._alarms = Alarms(reactor.seconds)
        self._observe = fan_out(self._alarms, *([] if self._log is None else [self._log]))
        self._stage = Backstage(config, reactor, share, self._observe)
        sockets = None if share is None else share.sockets
        self._failures = Failures() if share is None else share.failures
        self._reception = Reception(
            config, self._stage, reactor, self._observe, sockets, systemd, self._failures
        )
        self._reload = Reload(source, lambda: self._config, self._change, self._observe, systemd)
        self._prepared: tuple[Prepared, PreparedReception] | None = None
        stage = self._stage
        control = QueueControl(stage.store, stage.manager, stage.clock, self._observe, self._status)
        self.operations = Operations(control, config.queue.expire_after, self._reload.now)
        self._control = Control(self.operations, reactor)
        self._is_open = False
        self._watch: LoopingCall | None = None

    def _status(self) -> dict[str, object]:
        """What the parts beside the queue tell of themselves, for relayctl status."""
        told = {
            "hostname": self._config.hostname,
            "listeners": self._reception.status(),
            "hosts": self._stage.delivery.status(),
            "has_space": self._stage.has_space(),
            **self._alarms.status(),
        }
        if self._share is None:  # else the supervisor tells it of all workers
            told |= shut_out_status(self._failures, self._reactor.seconds())
        return told

    # --- start --------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind while still allowed to; nobody is served before the queue is open."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        try:
            self._reception.bind()
        except ConfigError as error:
            for problem in error.problems:
                sys.stderr.write(f"relay: {problem}\n")
            raise SystemExit(1) from None

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        if self._log is not None:
            self._log.start()
        if self._share is None:
            on_signal(signal.SIGHUP, self._reactor, self._hung_up)
        opening = maybeDeferred(self._open)
        self._opening = opening.addCallback(self._opened).addErrback(self._not_opened)

    def _open(self) -> "Deferred[Opened]":
        self._reception.start()
        return self._stage.store.open()

    def _opened(self, opened: Opened) -> None:
        self._is_open = True
        self._stage.start(opened)
        if self._share is None:
            self._control.open(self._stage.spool, self._config.admin, self._observe)
        for listener in self._reception.listeners:
            listener.serve()
            _log.info("listening: {listener!r}", listener=listener)
        _log.info("the way of a message is {built}", built=how_built())
        start = f"start {opened.start_number}"
        if self._share is None:
            self._observe(Started("relay", start))
            self._systemd.tell(READY)
            return
        self._observe(Started(f"worker {self._share.number}", start))
        self._share.ready()
        if not self._share.takes_mail:
            self._watch = LoopingCall(self._look_if_drained)
            self._watch.start(DRAIN_LOOK, now=False)

    def _look_if_drained(self) -> "Deferred[None]":
        async def look() -> None:
            if self._is_open and not await self._stage.waits():
                cast(Share, self._share).drained()

        return Deferred.fromCoroutine(look())

    def _not_opened(self, reason: Failure) -> None:
        """One clear line, and an exit status that says so."""
        if reason.check(StoreUnusable, UsersUnusable):
            sys.stderr.write(f"relay: {reason.getErrorMessage()}\n")
        else:
            _log.failure("the relay cannot start", reason)
        exit_with(1)
        self._reactor.callWhenRunning(self._reactor.stop)

    # --- another config -----------------------------------------------------------------------

    def reopen_log(self) -> None:
        """After a rotation."""
        if self._log is not None:
            self._log.reopen()

    def _hung_up(self) -> None:
        self.reopen_log()
        self._reload.begin()

    async def _change(self, config: Config) -> None:
        await self.prepare(config, None)
        self.take()

    async def prepare(self, config: Config, sockets: Sockets | None) -> None:
        """All that can fail. `sockets`: of this worker's new listeners. Raises ConfigError."""
        self.forget()
        await self._opening
        if not self._is_open or not self.running:
            raise ConfigError(["the relay is not running (any more)"])
        try:
            stage = await self._stage.prepare(config)
        except (TlsUnusable, StoreFailed) as error:
            raise ConfigError([str(error)]) from None
        self.forget()  # another may have been prepared while this one waited
        self._prepared = stage, self._reception.prepare(config, sockets)

    def take(self) -> None:
        """Use what was prepared. Cannot fail."""
        prepared, self._prepared = self._prepared, None
        if prepared is None or not self.running:
            return
        stage, reception = prepared
        self._config = stage.config
        self.operations.expire_after = stage.config.queue.expire_after
        self._stage.take(stage)
        self._reception.take(reception)

    def forget(self) -> None:
        """What was prepared is not wanted."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            self._reception.forget(prepared[1])

    # --- stop ---------------------------------------------------------------------------------

    def stopService(self) -> "Deferred[None]":
        self._systemd.tell(STOPPING)
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        """New sessions first, then what is under way within `stop_within`, the store last."""
        await self._opening  # a stop can come while the queue is being opened
        self.forget()
        await self._reception.close()
        if not self._is_open:
            if self._log is not None:
                self._log.stop()
            return
        await self._control.close()
        if self._watch is not None and self._watch.running:
            self._watch.stop()
        stage, within = self._stage, self._config.stop_within
        stage.stop_looking()
        settled = stage.manager.stop()
        abort = self._reactor.callLater(within, self._reception.abort)
        left = self._reception.leave()
        await stage.delivery.stop(within)
        await left
        if abort.active():
            abort.cancel()
        await settled
        if self._share is None:
            await stage.tokens.settle(within)
        self._reception.stop()
        await stage.store.close()
        what = "relay" if self._share is None else f"worker {self._share.number}"
        self._observe(Stopped(what))
        if self._log is not None:
            self._log.stop()
