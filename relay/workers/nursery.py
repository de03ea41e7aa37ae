"""Where the supervisor gets its workers from: the nursery process, as it is seen from outside."""

import gc
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from relay.workers.channel import Channel, OneChannel
from relay.workers.nursery_process import serve
from relay.workers.worker import Orders


class Nursery:
    """`lost`: it is gone, and no further worker can be had."""

    def __init__(self, lost: Callable[[], None], reactor: Any) -> None:
        """Forks. To be called before the reactor runs, and so before there is any thread; whatever
        is open then is closed in there. Raises OSError."""
        self._ended: dict[int, Callable[[int], None]] = {}
        self._lost = lost
        self._is_there = True
        self._channel = Channel({"ended": self._has_ended}, {}, self._is_lost)
        ours, theirs = socket.socketpair()
        gc.collect()
        gc.freeze()  # later collections, here and there, leave the pages of all that as they are
        if not os.fork():
            ours.close()
            serve(theirs)
        theirs.close()
        with ours:
            ours.setblocking(False)
            reactor.adoptStreamConnection(ours.fileno(), ours.family, OneChannel(self._channel))

    def fork(
        self, orders: Orders, descriptors: Sequence[int], ended: Callable[[int], None]
    ) -> Deferred[int]:
        """A worker. `descriptors`: standard output and error, channel, configuration, and its
        listening sockets; open until it is there. `ended`: told the exit status, or the number of
        the signal, negative. Yields its pid; fails with AskFailed or Gone."""

        def born(pid: int) -> int:
            self._ended[pid] = ended
            return pid

        return self._channel.ask_with(descriptors, "fork", orders).addCallback(born)

    def kill(self, pid: int) -> None:
        """A worker of whose end nobody has heard. The nursery knows whether that is still its pid;
        where there is no nursery the worker's open pipes say so."""
        if pid in self._ended and self._is_there:
            self._channel.tell("kill", pid)
        elif pid in self._ended:
            os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        self._channel.close()

    def _is_lost(self) -> None:
        self._is_there = False
        self._lost()

    def _has_ended(self, pid: int, status: int) -> None:
        self._ended.pop(pid)(status)
