"""What the relay does in threads, done in steps of the one simulated thread.

A step happens at once, a while after it was asked for, as a disk lets it wait; what it tells the
reactor arrives later still. So a crash can come before it, within it, or before it is heard of.
"""

from collections import deque
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from tests.sim.reactor import SimulatedReactor


class Latency:
    """How long the disk makes one wait: mostly little, at times long."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def next(self) -> float:
        random = self._random
        if random.random() < 0.97:
            return 0.0001 + (0.01 - 0.0001) * random.random()  # uniform
        return random.uniform(0.1, 3)


class SteppedThreads:
    """The threads of one process."""

    def __init__(self, reactor: SimulatedReactor, latency: Latency) -> None:
        self.reactor = reactor
        self.latency = latency
        self._steps: Iterator[bool] | None = None
        self._queue: SteppedQueue | None = None
        self._is_stepping = False

    # --- the committing thread ------------------------------------------------------------------

    def queue(self) -> "SteppedQueue":
        """In the place of SimpleQueue."""
        self._queue = SteppedQueue(self._wake)
        return self._queue

    def in_thread(self, steps: Iterator[bool]) -> None:
        self._steps = steps
        self._wake()

    def _wake(self) -> None:
        if not self._is_stepping and self._steps is not None:
            self._is_stepping = True
            self._later(self._step)

    def _step(self) -> None:
        self._is_stepping = False
        assert self._steps is not None
        has_more = next(self._steps, None)
        if has_more is None:
            self._steps = None
        elif has_more or (self._queue is not None and self._queue.qsize()):
            self._wake()

    def _later(self, act: Callable[..., object], *arguments: Any) -> None:
        reactor = self.reactor
        reactor.world.after(self.latency.next(), reactor.run, act, *arguments)

    # --- the threads that write content ---------------------------------------------------------

    def pool(self, threads: int, thread_name_prefix: str = "") -> "SteppedPool":
        """In the place of ThreadPoolExecutor."""
        return SteppedPool(self._later)

    # --- the threads that look at passwords, or ask for names ----------------------------------

    def defer(
        self, reactor: Any, pool: object, work: Callable[..., Any], *arguments: Any
    ) -> Deferred[Any]:
        """In the place of deferToThreadPool."""
        done: Deferred[Any] = Deferred()

        def do() -> None:
            reactor.callFromThread(done.callback, work(*arguments))

        self._later(do)
        return done


class SteppedQueue:
    """SimpleQueue's part that is used; never waits."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._items: deque[Any] = deque()
        self._wake = wake

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._wake()

    def get(self) -> Any:
        return self._items.popleft()

    def qsize(self) -> int:
        return len(self._items)


class SteppedPool:
    """Works are done in any order, as by several threads."""

    def __init__(self, later: Callable[..., None]) -> None:
        self._later = later
        self._waiting: dict[int, Callable[[], object]] = {}
        self._last = 0

    def submit(self, work: Callable[..., object], *arguments: Any) -> None:
        self._last += 1
        self._waiting[self._last] = lambda: work(*arguments)
        self._later(self._do, self._last)

    def _do(self, number: int) -> None:
        work = self._waiting.pop(number, None)
        if work is not None:
            work()

    def shutdown(self) -> None:
        for number in list(self._waiting):
            self._do(number)
