"""`python -m relay.workers.worker`: one worker process, as its supervisor starts it.

Takes the channel, the configuration and the listening sockets as open descriptors, and is told the
rest by its argument. Ends when told to, and when its supervisor is gone.
"""

import os
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner, textFileLogObserver

from relay.admin.operations import Operations, selection_of
from relay.config import ConfigError
from relay.service.relay import RelayService
from relay.service.share import Share
from relay.steady_clock import keep_steady
from relay.tls.certificates import CertificateUnusable
from relay.tls.client import TlsUnusable
from relay.users.failures import Failures
from relay.workers.channel import Channel, OneChannel
from relay.workers.purse import Purse
from relay.workers.reporter import Reporter
from relay.workers.snapshot import read_snapshot

CHANNEL = 3
"""The descriptor of the channel ..."""

SNAPSHOT = 4
"""... and that of the configuration; those of the listening sockets follow."""

reactor: Any = _reactor


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told at its start. `listeners`: whose sockets it is given."""

    number: int
    of: int
    listeners: tuple[str, ...]

    def as_argument(self) -> str:
        return orjson.dumps(self).decode()


class Worker:
    """The relay's service at work, and the channel to the supervisor."""

    def __init__(self, orders: Orders) -> None:
        self._purse = Purse(self._tell, reactor)
        failures = Failures()
        reporter = Reporter(failures, self._ask, reactor.seconds)
        self._share = Share(
            orders.number,
            orders.of,
            {name: SNAPSHOT + place for place, name in enumerate(orders.listeners, 1)},
            self._purse,
            failures,
            lambda: self._tell("ready"),
            lambda: self._tell("drained"),
        )
        self._service = RelayService(read_snapshot(SNAPSHOT), reactor, self._share)
        told: dict[str, Callable[..., object]] = {
            "granted": self._purse.granted,
            "none": self._purse.none,
            "recall": self._purse.recall,
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

    def run(self) -> None:
        """Until the end."""
        reactor.adoptStreamConnection(CHANNEL, socket.AF_UNIX, OneChannel(self._channel))
        self._purse.start()
        self._service.privilegedStartService()
        self._service.startService()
        reactor.addSystemEventTrigger("before", "shutdown", self._service.stopService)
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
        if reactor.running:
            reactor.stop()


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


def main() -> None:
    orders = orjson.loads(sys.argv[1])
    globalLogBeginner.beginLoggingTo(
        [textFileLogObserver(sys.stderr, timeFormat="")], redirectStandardIO=False
    )
    keep_steady(reactor)
    try:
        worker = Worker(Orders(**orders))
    except (TlsUnusable, CertificateUnusable) as error:
        # the start could read it: this is another user, or it changed
        sys.stderr.write(f"relay: {error}; the relay's user must be able to read it\n")
        raise SystemExit(1) from None
    worker.run()


if __name__ == "__main__":
    main()
