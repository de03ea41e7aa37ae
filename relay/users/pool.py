"""Threads of its own for slow checks, and a bounded number of checks that wait for one."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


class Busy(Exception):
    """Too many checks wait already."""


class Pool:
    """No thread runs before the first check."""

    def __init__(self, reactor: Any, threads: int, max_waiting: int) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, threads, "auth")
        self._max = threads + max_waiting
        self._under_way = 0  # in a thread, or waiting for one

    def start(self) -> None:
        self._pool.start()

    def stop(self) -> None:
        """Ends once what runs is done: one check's time."""
        if self._pool.started:
            self._pool.stop()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """In a thread. Fails with Busy."""
        if self._under_way >= self._max:
            return fail(Busy(f"{self._under_way} checks wait or run"))
        self._under_way += 1
        done: Deferred[T] = deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)
        return done.addBoth(self._done)

    def _done(self, result: Any) -> Any:
        self._under_way -= 1
        return result

    def __repr__(self) -> str:
        return f"<Pool {self._under_way} of {self._max} under way>"
