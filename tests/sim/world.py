"""The simulated world: one heap of events, one clock, one seed; nothing else decides an order.

Every part draws from a source of chance of its own, named after it, so that a change in one part
leaves the choices of the others alone. What happens is told to the trace, a line each.
"""

import hashlib
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any


class Violation(Exception):
    """The relay broke its word."""


class Event:
    """Something that will happen, unless cancelled."""

    __slots__ = ("act", "arguments", "at", "is_over")

    def __init__(self, at: float, act: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.at = at
        self.act = act
        self.arguments = arguments
        self.is_over = False

    def cancel(self) -> None:
        self.is_over = True


class World:
    """`now` in seconds since the beginning. `after_event` is called between any two events."""

    def __init__(self, seed: int, show: Callable[[str], object] | None = None) -> None:
        self.seed = seed
        self.now = 0.0
        self.events = 0
        self.after_event: Callable[[], object] = int
        self.fault: Violation | None = None
        self._show = show
        self._digest = hashlib.sha256()
        self._heap: list[tuple[float, int, Event]] = []
        self._serial = 0

    def chance(self, part: str) -> Random:
        """A source of chance that depends on the seed and the name alone."""
        return Random(f"{self.seed} {part}")

    def after(self, delay: float, act: Callable[..., object], *arguments: Any) -> Event:
        event = Event(self.now + delay, act, arguments)
        self._serial += 1
        heappush(self._heap, (event.at, self._serial, event))
        return event

    def run(self, until: float) -> None:
        """All events up to that time, which is then."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            at, _, event = heappop(heap)
            if event.is_over:
                continue
            event.is_over = True
            self.now = at
            self.events += 1
            event.act(*event.arguments)
            self.after_event()
            if self.fault is not None:
                raise self.fault
        self.now = until

    def blame(self, what: str) -> None:
        """The relay broke its word: the run ends after this event, whoever would catch an
        exception in between."""
        if self.fault is None:
            self.fault = Violation(what)
            self.tell(f"VIOLATION {what}")

    def tell(self, what: str) -> None:
        """One line of the trace."""
        line = f"{self.now:.6f} {what}"
        self._digest.update(line.encode("utf-8", "backslashreplace") + b"\n")
        if self._show is not None:
            self._show(line)

    @property
    def trace_digest(self) -> str:
        """Of the whole trace: the same for the same seed, or something leaked in."""
        return self._digest.hexdigest()
