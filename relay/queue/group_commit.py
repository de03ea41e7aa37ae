"""The one thread that owns the database: commits all calls that wait in one transaction.

While a commit syncs, the next group gathers by itself: one sync serves many messages, and the
results of a group return to the reactor by one call. Reads come after the group's commit, long
ones a slice at a time. What is written and how is the ledger's business.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.queue.store import StoreFailed

MAX_GROUP = 256
"""Calls in one transaction: bounds its memory and how long the first of them waits."""

_log = Logger()

Result = tuple["Call", Any]


class Call:
    """One call on the store. `name` says what, to a ledger."""

    __slots__ = ("arguments", "deferred", "is_write", "name")

    def __init__(self, name: str, arguments: tuple[Any, ...], is_write: bool) -> None:
        self.name = name
        self.arguments = arguments
        self.is_write = is_write
        self.deferred: Deferred[Any] = Deferred()

    def __repr__(self) -> str:
        return f"<Call {self.name}>"


class Ledger(Protocol):
    """Lives in the thread. May raise StoreFailed (the disk's fault) or anything (the call's)."""

    def open(self) -> Any:
        """Raises StoreFailed."""

    def commit(self, calls: Sequence[Call]) -> Sequence[Any]:
        """All calls in one transaction. Raising means that nothing was recorded."""

    def read(self, call: Call) -> Any:
        """The answer, or a generator that returns it after some pauses."""

    def close(self) -> None: ...


class GroupCommit:
    """`open`, then any number of `write` and `read`, then `close`; each yields a Deferred."""

    def __init__(self, reactor: IReactorFromThreads, ledger: Ledger) -> None:
        self._reactor = reactor
        self._ledger = ledger
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._reads: deque[tuple[Call, Generator[None, None, Any]]] = deque()
        self._is_closing = False

    # --- in the reactor's thread ----------------------------------------------------------------

    def open(self) -> Deferred[Any]:
        call = Call("open", (), is_write=False)
        Thread(target=self._run, args=(call,), name="queue store", daemon=True).start()
        return call.deferred

    def write(self, name: str, *arguments: Any) -> Deferred[Any]:
        call = Call(name, arguments, is_write=True)
        self._calls.put(call)
        return call.deferred

    def read(self, name: str, *arguments: Any) -> Deferred[Any]:
        call = Call(name, arguments, is_write=False)
        self._calls.put(call)
        return call.deferred

    def close(self) -> Deferred[None]:
        self._closed: Deferred[None] = Deferred()
        self._calls.put(None)
        return self._closed

    def _deliver(self, results: Sequence[Result]) -> None:
        for call, result in results:
            if isinstance(result, Exception):
                call.deferred.errback(Failure(result))
            else:
                call.deferred.callback(result)

    # --- in the thread --------------------------------------------------------------------------

    def _run(self, opening: Call) -> None:
        result = self._attempt(self._ledger.open)
        self._reactor.callFromThread(self._deliver, [(opening, result)])
        if isinstance(result, Exception):
            return
        while not self._is_closing or self._reads:
            self._turn(self._waiting())
        self._attempt(self._ledger.close)
        self._reactor.callFromThread(self._closed.callback, None)

    def _waiting(self) -> list[Call]:
        """The next group: waits for one unless there are reads to go on with."""
        calls = self._calls
        size = min(calls.qsize(), MAX_GROUP)
        if not size:
            if self._reads:
                return []
            size = 1
        group = []
        for _ in range(size):
            call = calls.get()
            if call is None:
                self._is_closing = True
                break
            group.append(call)
        return group

    def _turn(self, group: list[Call]) -> None:
        writes = [call for call in group if call.is_write]
        if writes:
            self._reactor.callFromThread(self._deliver, self._commit(writes))
        results: list[Result] = []
        for _ in range(len(self._reads)):
            self._go_on(*self._reads.popleft(), results)
        for call in group:
            if not call.is_write:
                self._read(call, results)
        if results:
            self._reactor.callFromThread(self._deliver, results)

    def _commit(self, calls: list[Call]) -> list[Result]:
        """A call that cannot be recorded must not harm the others: halve the group to find it."""
        try:
            return list(zip(calls, self._ledger.commit(calls), strict=True))
        except StoreFailed as error:
            return [(call, error) for call in calls]
        except Exception as error:  # noqa: BLE001 - it is this group's alone
            if len(calls) == 1:
                return [(calls[0], self._refused(calls[0], error))]
        middle = len(calls) // 2
        return self._commit(calls[:middle]) + self._commit(calls[middle:])

    def _read(self, call: Call, results: list[Result]) -> None:
        answer = self._attempt(self._ledger.read, call)
        if isinstance(answer, Generator):
            self._go_on(call, answer, results)
        else:
            results.append((call, answer))

    def _go_on(self, call: Call, answer: Generator[None, None, Any], results: list[Result]) -> None:
        try:
            next(answer)
        except StopIteration as end:
            results.append((call, end.value))
        except Exception as error:  # noqa: BLE001 - the caller must hear of it
            results.append((call, self._refused(call, error)))
        else:
            self._reads.append((call, answer))

    def _attempt(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except StoreFailed as error:
            return error
        except Exception as error:  # noqa: BLE001 - the caller must hear of it
            return self._refused(arguments[0] if arguments else None, error)

    def _refused(self, call: Call | None, error: Exception) -> StoreFailed:
        if isinstance(error, StoreFailed):
            return error
        what = "the queue" if call is None else call.name
        _log.failure("{what} could not be done", Failure(error), what=what)
        return StoreFailed(f"{what} could not be done: {error}")

    def __repr__(self) -> str:
        return f"<GroupCommit {self._calls.qsize()} waiting, {len(self._reads)} reading>"
