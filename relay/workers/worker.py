"""One worker process, from its fork to its end.

Takes the channel, the configuration and the listening sockets as open descriptors, and is told the
rest by its orders. Ends when told to, and when its supervisor is gone.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet import default
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import globalLogPublisher, textFileLogObserver

from relay.admin.operations import Operations, selection_of
from relay.config import Config, ConfigError
from relay.inbound.conduct import Conduct
from relay.service.process import on_signal, wanted_status
from relay.service.relay import RelayService
from relay.service.share import Share
from relay.steady_clock import keep_steady
from relay.tls.certificates import CertificateUnusable
from relay.tls.client import TlsUnusable
from relay.users.failures import Failures
from relay.workers.channel import Channel, OneChannel
from relay.workers.gossip import Gossip
from relay.workers.purse import Purse
from relay.workers.reporter import Reporter
from relay.workers.snapshot import read_snapshot
from relay.workers.token_asker import asked_tokens


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told at its start. `listeners`: whose sockets it is given."""

    number: int
    of: int
    listeners: Sequence[str]


class Worker:
    """The relay's service at work, and the channel to the supervisor."""

    def __init__(
        self, orders: Orders, config: Config, sockets: Mapping[str, int], reactor: Any
    ) -> None:
        self._reactor = reactor
        self._purse = Purse(self._tell, reactor)
        conduct = Conduct()
        gossip = Gossip(conduct, self._tell, reactor)
        failures = Failures()
        reporter = Reporter(failures, self._ask, reactor.seconds)
        self._share = Share(
            orders.number,
            orders.of,
            sockets,
            self._purse,
            conduct,
            failures,
            asked_tokens(self._ask, reactor),
            lambda: self._tell("ready"),
            lambda: self._tell("drained"),
        )
        self._service = RelayService(config, reactor, self._share)
        told: dict[str, Callable[..., object]] = {
            "granted": self._purse.granted,
            "none": self._purse.none,
            "recall": self._purse.recall,
            "erred": gossip.hear,
            "digest_key": reporter.use_key,
            "reopen": self._service.reopen_log,
            "take": self._service.take,
            "forget": self._service.forget,
            "stop": self._stop,
        }
        asked = {
            **_asked(self._service.operations),
            "prepare": self._prepare,
            "failures": reporter.learn,
        }
        self._channel = Channel(told, asked, self._stop)

    def run(self, channel: int) -> None:
        """Until the end."""
        reactor = self._reactor
        reactor.adoptStreamConnection(channel, socket.AF_UNIX, OneChannel(self._channel))
        os.close(channel)
        self._purse.start()
        self._service.privilegedStartService()
        self._service.startService()
        reactor.addSystemEventTrigger("before", "shutdown", self._service.stopService)
        for number in (signal.SIGTERM, signal.SIGINT):  # Twisted's own minds a second word to stop
            reactor.callWhenRunning(on_signal, number, reactor, self._stop)
        reactor.run()

    def _prepare(self, listeners: list[str]) -> "Deferred[list[str]]":
        """Another config, and the sockets of its new listeners. Yields what is in the way."""
        snapshot, *sockets = self._channel.take_descriptors()

        async def prepare() -> list[str]:
            try:
                config = read_snapshot(snapshot)
                await self._service.prepare(config, dict(zip(listeners, sockets, strict=True)))
            except ConfigError as error:
                return error.problems
            finally:  # the ports have copies of their own
                for descriptor in (snapshot, *sockets):
                    os.close(descriptor)
            return []

        return Deferred.fromCoroutine(prepare())

    def _tell(self, name: str, *arguments: object) -> None:
        self._channel.tell(name, *arguments)

    def _ask(self, name: str, *arguments: object) -> "Deferred[Any]":
        return self._channel.ask(name, *arguments)

    def _stop(self) -> None:
        """Also where it ends already: systemd tells all processes, the supervisor each worker."""
        if self._reactor.running:
            with suppress(ReactorNotRunning):
                self._reactor.stop()


def _asked(operations: Operations) -> Mapping[str, Any]:
    """The operators' wishes, as they come over the channel."""

    def of(coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(coroutine)

    return {
        "page": lambda wish, after, limit: of(operations.page(selection_of(wish), after, limit)),
        "act": lambda verb, wish, after: of(operations.act(verb, selection_of(wish), after)),
        "lanes": lambda: of(operations.lanes()),
        "hold_lane": lambda name: of(operations.hold_lane(name)),
        "release_lane": lambda name: of(operations.release_lane(name)),
        "status": lambda: of(operations.status()),
    }


def work(orders: Orders, channel: int, snapshot: int, sockets: Sequence[int]) -> int:
    """Be that worker, in a process that was just forked. Yields its exit status."""
    _log_to_standard_error()
    reactor = _new_reactor()
    keep_steady(reactor)
    given = dict(zip(orders.listeners, sockets, strict=True))
    try:
        worker = Worker(orders, read_snapshot(snapshot), given, reactor)
    except (TlsUnusable, CertificateUnusable) as error:
        # the start could read it: this is another user, or it changed
        sys.stderr.write(f"relay: {error}; the relay's user must be able to read it\n")
        return 1
    os.close(snapshot)
    worker.run(channel)
    return wanted_status()


def _log_to_standard_error() -> None:
    """Where the supervisor reads it; twistd's own log is no longer open here."""
    publisher: Any = globalLogPublisher
    for observer in list(publisher._observers):
        publisher.removeObserver(observer)
    publisher.addObserver(textFileLogObserver(sys.stderr, timeFormat=""))


def _new_reactor() -> Any:
    """The one that was here is the supervisor's, whose descriptors it shares."""
    del sys.modules["twisted.internet.reactor"]
    default.install()
    return sys.modules["twisted.internet.reactor"]
