"""A worker process as its supervisor sees it: starts it, passes its sockets, reads what it says.

Tells of its end; whether it is started again is the supervisor's to decide.
"""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.admin.operations import wish_of
from relay.admin.several import QueueAway
from relay.queue.store import Selection, StoreFailed
from relay.workers.channel import AskFailed, Channel, Gone, OneChannel
from relay.workers.snapshot import Snapshot
from relay.workers.worker import CHANNEL, SNAPSHOT, Orders

MAX_KEPT = 100
"""Lines of what it said last, for the case that it does not start."""

ANSWER_TIMEOUT = 20.0
"""Seconds that a worker has to do a page of what operators ask for."""

_log = Logger()


class WorkerProcess(ProcessProtocol):
    """`ended(self, how)` is called once. `out` takes what it writes to standard output."""

    def __init__(
        self,
        orders: Orders,
        snapshot: Snapshot,
        sockets: Mapping[str, socket.socket],
        told: Mapping[str, Callable[..., object]],
        asked: Mapping[str, Callable[..., Any]],
        out: Callable[[bytes], None],
        ended: Callable[["WorkerProcess", str], None],
        reactor: Any,
    ) -> None:
        self.orders = orders
        self.is_ready = False
        self.started_at = reactor.seconds()
        self.last_words: list[str] = []
        self._snapshot = snapshot
        self._sockets = sockets
        self._out = out
        self._ended = ended
        self._reactor = reactor
        self._rests = {1: b"", 2: b""}
        self.channel = Channel(told, asked, lambda: None)

    @property
    def number(self) -> int:
        return self.orders.number

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        names = self.orders.listeners
        with open(os.devnull, "rb") as nothing, theirs:
            descriptors: dict[int, int | str] = {0: nothing.fileno(), 1: "r", 2: "r"}
            descriptors[CHANNEL] = theirs.fileno()
            descriptors[SNAPSHOT] = self._snapshot.fileno()
            for place, name in enumerate(names, 1):
                descriptors[SNAPSHOT + place] = self._sockets[name].fileno()
            self._reactor.spawnProcess(
                self,
                sys.executable,
                [sys.executable, "-m", "relay.workers.worker", self.orders.as_argument()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                childFDs=descriptors,
            )
        with ours:
            ours.setblocking(False)
            self._reactor.adoptStreamConnection(
                ours.fileno(), ours.family, OneChannel(self.channel)
            )

    def signal(self, name: str) -> None:
        transport: IProcessTransport | None = self.transport
        if transport is not None:
            try:
                transport.signalProcess(name)
            except ProcessExitedAlready:
                return

    # --- what it says -------------------------------------------------------------------------

    def outReceived(self, data: bytes) -> None:
        """Lines of the traffic log, where that is standard output."""
        lines = self._whole_lines(1, data)
        if lines:
            self._out(lines)

    def errReceived(self, data: bytes) -> None:
        for line in self._whole_lines(2, data).decode("utf-8", "replace").splitlines():
            self.last_words = [*self.last_words[1 - MAX_KEPT :], line]
            _log.info("worker {number}: {line}", number=self.number, line=line.strip())

    def _whole_lines(self, descriptor: int, data: bytes) -> bytes:
        lines, end, rest = (self._rests[descriptor] + data).rpartition(b"\n")
        self._rests[descriptor] = rest
        return lines + end

    def processEnded(self, reason: Failure) -> None:
        how = getattr(reason.value, "signal", None)
        status = getattr(reason.value, "exitCode", None)
        self.channel.close()
        self._ended(self, f"by signal {how}" if how else f"with status {status or 0}")

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.number} {'ready' if self.is_ready else 'starting'}>"


class RemoteQueue:
    """A worker's queue, as `relay.admin.several` wants it. Fails with StoreFailed or QueueAway."""

    def __init__(self, number: int, channel: Channel, clock: IReactorTime) -> None:
        self._number = number
        self._channel = channel
        self._clock = clock

    def page(self, selection: Selection, after: str, limit: int) -> Deferred[Any]:
        return self._ask("page", wish_of(selection), after, limit)

    def act(self, verb: str, selection: Selection, after: str) -> Deferred[Any]:
        return self._ask("act", verb, wish_of(selection), after)

    def lanes(self) -> Deferred[Any]:
        return self._ask("lanes")

    def hold_lane(self, name: str) -> Deferred[Any]:
        return self._ask("hold_lane", name)

    def release_lane(self, name: str) -> Deferred[Any]:
        return self._ask("release_lane", name)

    def status(self) -> Deferred[Any]:
        return self._ask("status")

    def _ask(self, name: str, *arguments: object) -> Deferred[Any]:
        asked = self._channel.ask(name, *arguments)
        return asked.addTimeout(ANSWER_TIMEOUT, self._clock).addErrback(self._failed)

    def _failed(self, reason: Failure) -> None:
        if reason.check(Gone):
            raise QueueAway(away_text(self._number))
        if reason.check(TimeoutError):
            raise QueueAway(
                f"worker {self._number} has not answered for {ANSWER_TIMEOUT:.0f} s: it hangs, or"
                " has far too much to do; one that is killed is started again, and loses nothing"
            )
        reason.trap(AskFailed)
        raise StoreFailed(reason.getErrorMessage())


def away_text(number: int) -> str:
    """For operators."""
    return f"worker {number} is being started; ask again in a few seconds (relayctl status)"
