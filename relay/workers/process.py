"""A worker process as its supervisor sees it: starts it, passes its sockets, reads what it says.

Tells of its end; whether it is started again is the supervisor's to decide.
"""

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.process import ProcessReader
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.workers.channel import Channel, OneChannel
from relay.workers.nursery import Nursery
from relay.workers.snapshot import Snapshot
from relay.workers.worker import Orders

MAX_KEPT = 100
"""Lines of what it said last, for the case that it does not start."""

_OUT, _ERR = 1, 2

_log = Logger()


class WorkerProcess:
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
        nursery: Nursery,
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
        self._nursery = nursery
        self._reactor = reactor
        self._pid: int | None = None
        self._how: str | None = None  # it ended
        self._rests = {_OUT: b"", _ERR: b""}
        self._heard = set(self._rests)  # what it can still say something by
        self.channel = Channel(told, asked, lambda: None)

    @property
    def number(self) -> int:
        return self.orders.number

    def start(self) -> None:
        """Raises OSError."""
        passed = self._open_ends()
        sockets = (self._sockets[name].fileno() for name in self.orders.listeners)

        def close(answer: Any) -> Any:
            for each in passed:
                os.close(each)
            return answer

        self._nursery.fork(
            self.orders, [*passed, self._snapshot.fileno(), *sockets], self._has_ended
        ).addBoth(close).addCallbacks(self._born, self._unborn)

    def _open_ends(self) -> list[int]:
        """Those of the worker: standard output and error, and the channel."""
        opened: list[int] = []
        try:
            for _ in (_OUT, _ERR):
                opened += os.pipe()
            ours, theirs = socket.socketpair()
        except OSError:
            for each in opened:
                os.close(each)
            raise
        out, out_end, err, err_end = opened
        make: Any = ProcessReader
        make(self._reactor, self, _OUT, out)
        make(self._reactor, self, _ERR, err)
        with ours:
            ours.setblocking(False)
            self._reactor.adoptStreamConnection(
                ours.fileno(), ours.family, OneChannel(self.channel)
            )
        return [out_end, err_end, theirs.detach()]

    def _born(self, pid: int) -> None:
        self._pid = pid

    def _unborn(self, why: Failure) -> None:
        self._how = f"before it began: {why.getErrorMessage()}"

    def kill(self) -> None:
        if self._pid is not None:
            self._nursery.kill(self._pid)

    # --- what it says -------------------------------------------------------------------------

    def childDataReceived(self, name: int, data: bytes) -> None:
        lines = self._whole_lines(name, data)
        if not lines:
            return
        if name == _OUT:
            self._out(lines)  # of the traffic log, where that is standard output
            return
        for line in lines.decode("utf-8", "replace").splitlines():
            self.last_words = [*self.last_words[1 - MAX_KEPT :], line]
            _log.info("worker {number}: {line}", number=self.number, line=line.strip())

    def _whole_lines(self, name: int, data: bytes) -> bytes:
        lines, end, rest = (self._rests[name] + data).rpartition(b"\n")
        self._rests[name] = rest
        return lines + end

    # --- its end ------------------------------------------------------------------------------

    def childConnectionLost(self, name: int, reason: Failure) -> None:
        self._heard.discard(name)
        self._look_if_ended()

    def _has_ended(self, status: int) -> None:
        self._how = f"by signal {-status}" if status < 0 else f"with status {status}"
        self._look_if_ended()

    def nobody_sees_its_end(self) -> None:
        """The nursery is gone: it has ended when it can say nothing any more."""
        self._how = self._how or "unseen"
        self._look_if_ended()

    def _look_if_ended(self) -> None:
        if self._how is not None and not self._heard:
            self.channel.close()
            self._ended(self, self._how)

    def __repr__(self) -> str:
        return f"<WorkerProcess {self.number} {'ready' if self.is_ready else 'starting'}>"
