"""The one thread that owns the database: commits all calls that wait in one transaction.

The calls of one turn of the reactor go to the thread together, and their results come back
together: each crossing costs a fight for Python's lock. While a commit syncs, the next group
gathers by itself. What no client waits for goes along with what one does. Reads come after the
group's commit, long ones a slice at a time.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.net.readiness import end_of_turn, from_thread
from relay.queue.promise import Promise
from relay.queue.store import StoreFailed

MAX_GROUP = 256
"""Calls in one transaction: bounds its memory and how long the first of them waits."""

PATIENCE: Final = 0.01
"""Seconds that a settlement waits for company, at most twice as many. A commit of its own would
cost a sync, and all that comes in meanwhile would wait for that one first."""

_log = Logger()

Result = tuple["Call", Any]


class Reactor(Protocol):
    """What is used of Twisted's."""

    def callLater(self, delay: float, function: Callable[..., object], /) -> object: ...

    def callFromThread(
        self, function: Callable[..., object], /, *arguments: Any, **keywords: Any
    ) -> object: ...


def in_thread(steps: Iterable[object]) -> None:
    """Take all of the steps in a thread of their own."""
    Thread(target=deque, args=(steps, 0), name="queue store", daemon=True).start()


class Call:
    """One call on the store. `name` says what, to a ledger."""

    __slots__ = ("arguments", "is_write", "name", "promise")

    def __init__(self, name: str, arguments: tuple[Any, ...], is_write: bool) -> None:
        self.name = name
        self.arguments = arguments
        self.is_write = is_write
        self.promise = Promise()

    def __repr__(self) -> str:
        return f"<Call {self.name}>"


class Ledger(Protocol):
    """Lives in the thread. May raise StoreFailed (the disk's fault) or anything (the call's)."""

    def open(self) -> Any:
        """Raises StoreFailed."""

    def commit(self, calls: Sequence[Call]) -> Sequence[Any]:
        """All calls in one transaction. Raising means that nothing was recorded.

        ValueError: a call says what cannot be recorded.
        """

    def read(self, call: Call) -> Any:
        """The answer, or a generator that returns it after some pauses."""

    def close(self) -> None: ...


class GroupCommit:
    """`open`, then any number of `write` and `read`, then `close`."""

    def __init__(self, reactor: Reactor, ledger: Ledger) -> None:
        self._reactor = reactor
        self._at_end_of_turn = end_of_turn(reactor)
        self._from_thread = from_thread(reactor)
        self._ledger = ledger
        self._gathered: list[Call] = []
        self._is_due = False
        self._patience: Any = None
        self._has_sent = False
        self._groups: SimpleQueue[list[Call] | None] = SimpleQueue()
        self._reads: deque[tuple[Call, Generator[None, None, Any]]] = deque()
        self._is_closing = False
        self._is_running = False
        self._closed: Deferred[None] = Deferred()

    # --- in the reactor's thread ----------------------------------------------------------------

    def open(self) -> Deferred[Any]:
        call = Call("open", (), is_write=False)
        self._is_running = True
        in_thread(self._run(call))
        return call.promise.deferred()

    def write(self, name: str, *arguments: Any) -> Promise:
        return self._gather(Call(name, arguments, is_write=True))

    def write_patiently(self, name: str, *arguments: Any) -> Promise:
        """As `write`; it goes with the next other call, or by itself when PATIENCE is over."""
        call = Call(name, arguments, is_write=True)
        self._gathered.append(call)
        if self._patience is None and not self._is_due:
            self._be_patient()
        return call.promise

    def read(self, name: str, *arguments: Any) -> Deferred[Any]:
        return self._gather(Call(name, arguments, is_write=False)).deferred()

    def close(self) -> Deferred[None]:
        if not self._is_running:
            return succeed(None)
        self._send()
        if self._patience is not None:
            self._patience.cancel()
        self._groups.put(None)
        return self._closed

    def _gather(self, call: Call) -> Promise:
        self._gathered.append(call)
        if not self._is_due:
            self._is_due = True
            self._at_end_of_turn(self._send)
        return call.promise

    def _be_patient(self) -> None:
        self._has_sent = False
        self._patience = self._reactor.callLater(PATIENCE, self._patience_is_over)

    def _patience_is_over(self) -> None:
        self._patience = None
        if not self._has_sent:
            self._send()
        elif self._gathered and not self._is_due:  # these came after those whose time this was
            self._be_patient()

    def _send(self) -> None:
        self._is_due = False
        self._has_sent = True
        if self._gathered:
            self._groups.put(self._gathered)
            self._gathered = []

    def _ended(self) -> None:
        self._is_running = False
        self._closed.callback(None)

    def _deliver(self, results: Sequence[Result]) -> None:
        for call, result in results:
            if isinstance(result, Exception):
                call.promise.break_(result)
            else:
                call.promise.keep(result)

    # --- in the thread --------------------------------------------------------------------------

    def _run(self, opening: Call) -> Iterator[bool]:
        """All that the thread does, in steps: one turn each. False: the next one may have to wait
        for a group."""
        result = self._attempt(self._ledger.open)
        self._from_thread(partial(self._deliver, [(opening, result)]))
        if not isinstance(result, Exception):
            while not self._is_closing or self._reads:
                yield bool(self._reads)
                self._turn(self._waiting())
            trouble = self._attempt(self._ledger.close)
            if isinstance(trouble, StoreFailed):  # nothing that was committed is harmed
                _log.warn("{why}; the next start sees to it", why=str(trouble))
        self._from_thread(self._ended)

    def _waiting(self) -> list[Call]:
        """The next group: waits for one unless there are reads to go on with."""
        groups = self._groups
        waiting: list[Call] = []
        for _ in range(groups.qsize() or (0 if self._reads else 1)):
            group = groups.get()
            if group is None:
                self._is_closing = True
                break
            waiting += group
        return waiting

    def _turn(self, group: list[Call]) -> None:
        writes = [call for call in group if call.is_write]
        for start in range(0, len(writes), MAX_GROUP):
            done = self._commit(writes[start : start + MAX_GROUP])
            self._from_thread(partial(self._deliver, done))
        results: list[Result] = []
        for _ in range(len(self._reads)):
            self._go_on(*self._reads.popleft(), results)
        for call in group:
            if not call.is_write:
                self._read(call, results)
        if results:
            self._from_thread(partial(self._deliver, results))

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
        what = "opening" if call is None else call.name
        if not isinstance(error, ValueError):
            _log.failure("{what} broke", Failure(error), what=what)
        return StoreFailed(f"{what} could not be done: {error}")

    def __repr__(self) -> str:
        return f"<GroupCommit {self._groups.qsize()} groups waiting, {len(self._reads)} reading>"
