"""The process that workers are forked from: it has loaded all that they need, and does nothing.

So that lies in memory once, and not once for each of them. It is forked itself before its parent
has any thread, and is asked for workers over a channel (relay.workers.channel), of which it speaks
as much as it needs. It ends when its supervisor is gone.
"""

import io
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

import orjson

from relay.workers.worker import Orders, work

MAX_READ = 1 << 16
"""Octets of what the supervisor says taken at a time."""

MAX_DESCRIPTORS = 64
"""Taken at a time; the kernel cuts what is sent at each one."""

STANDARD = 4
"""Descriptors that each worker is given: standard output and error, the channel, and the
configuration. Its listening sockets follow."""


def serve(end: socket.socket) -> NoReturn:
    """In a process that was just forked. `end`: its end of the channel."""
    try:
        _close_all_but(end.fileno())
        _speak_plainly()
        _name("relay nursery")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # those are for the supervisor
        _Nursery(end).run()
    except BaseException:  # noqa: BLE001 - whatever it is: never back into the supervisor's code
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


class _Nursery:
    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._said = b""
        self._descriptors: list[int] = []
        self._living: set[int] = set()
        self._bell, self._rung = socket.socketpair()
        for each in (self._bell, self._rung):
            each.setblocking(False)

    def run(self) -> None:
        """Until the supervisor is gone."""
        signal.set_wakeup_fd(self._rung.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()  # select takes no descriptors beyond 1,024
        for each in (self._end, self._bell):
            poll.register(each, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._bell.fileno() in ready:
                self._bell.recv(MAX_READ)
                self._tell_of_ended()
            if self._end.fileno() in ready and not self._hear():
                return

    def _hear(self) -> bool:
        """False: nobody will ask any more."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._end, MAX_READ, MAX_DESCRIPTORS)
        except ConnectionError:  # it was killed, and had not read all
            return False
        self._descriptors += descriptors
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            self._obey(*orjson.loads(line))
        return bool(data)

    def _obey(self, kind: str, *words: object) -> None:
        if kind == "ask":
            number, _, (wanted,) = cast(tuple[int, str, Any], words)
            orders = Orders(**wanted)
            needed = STANDARD + len(orders.listeners)
            descriptors, self._descriptors = self._descriptors[:needed], self._descriptors[needed:]
            self._answer(number, orders, descriptors)
        else:
            _, (pid,) = cast(tuple[str, Any], words)
            if pid in self._living:  # its number is nobody else's before it was waited for
                os.kill(pid, signal.SIGKILL)

    def _answer(self, number: object, orders: Orders, descriptors: Sequence[int]) -> None:
        try:
            pid = self._fork(orders, descriptors)
        except OSError as error:
            self._say("trouble", number, error.strerror)
        else:
            self._say("answer", number, pid)
        finally:
            for each in descriptors:
                os.close(each)

    def _fork(self, orders: Orders, descriptors: Sequence[int]) -> int:
        """Raises OSError."""
        pid = os.fork()
        if not pid:
            _become(orders, descriptors, self._forget)
        self._living.add(pid)
        return pid

    def _forget(self) -> None:
        """In a worker: what is the nursery's alone, and what came for the next one. An end of that
        one's pipes left open here would hide its death."""
        signal.set_wakeup_fd(-1)
        for each in (self._end, self._bell, self._rung):
            each.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def _tell_of_ended(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._living.discard(pid)
            self._say("tell", "ended", (pid, os.waitstatus_to_exitcode(status)))

    def _say(self, *words: object) -> None:
        try:
            self._end.sendall(orjson.dumps(words) + b"\n")
        except OSError:
            return  # the supervisor is gone: that is heard next


def _become(orders: Orders, descriptors: Sequence[int], forget: Callable[[], None]) -> NoReturn:
    """The child is a worker from here, and never comes back."""
    status = 1
    try:
        forget()
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)  # SIGHUP goes on to be the supervisor's
        signal.signal(signal.SIGINT, signal.default_int_handler)
        out, err, channel, snapshot, *sockets = descriptors
        for given, place in ((out, 1), (err, 2)):
            os.dup2(given, place)
            os.close(given)
        _name(f"relay worker {orders.number}")
        status = work(orders, channel, snapshot, sockets)
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _close_all_but(kept: int) -> None:
    """And standard output and error. What was open is the supervisor's business."""
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if nothing:
        os.close(nothing)


def _speak_plainly() -> None:
    """twistd has put its log in the place of both."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        octets = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
        plain = io.TextIOWrapper(octets, "utf-8", "backslashreplace", line_buffering=True)
        setattr(sys, name, plain)


def _name(name: str) -> None:
    """For ps and top, which show fifteen octets of it."""
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write(name)
    except OSError:
        return  # no Linux: it is called as its parent is
