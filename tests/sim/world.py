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


class Event(list[Any]):
    """Something that will happen, unless cancelled: when, its number, what (None: over), with what.

    A list, for these are made, compared and dropped more often than anything else.
    """

    __slots__ = ()

    def cancel(self) -> None:
        self[2] = None


class World:
    """`now` in seconds since the beginning."""

    def __init__(self, seed: int, show: Callable[[str], object] | None = None) -> None:
        self.seed = seed
        self.now = 0.0
        self.events = 0
        self.fault: Violation | None = None
        self._after_event: Callable[[], object] | None = None
        self._is_interrupted = False
        self._show = show
        self._digest = hashlib.sha256()
        self._heap: list[Event] = []
        self._serial = 0

    def chance(self, part: str) -> Random:
        """A source of chance that depends on the seed and the name alone."""
        return Random(f"{self.seed} {part}")

    def after(self, delay: float, act: Callable[..., object], *arguments: Any) -> Event:
        self._serial = serial = self._serial + 1
        event = Event((self.now + delay, serial, act, arguments))
        heappush(self._heap, event)
        return event

    def after_event(self, act: Callable[[], object]) -> None:
        """Once the event that happens now is over, before any other."""
        self._after_event = act
        self._is_interrupted = True

    def run(self, until: float) -> None:
        """All events up to that time, which is then."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            event = heappop(heap)
            at, _, act, arguments = event
            if act is None:
                continue
            event[2] = None
            self.now = at
            self.events += 1
            act(*arguments)
            if self._is_interrupted:
                self._interrupt()
        self.now = until

    def _interrupt(self) -> None:
        act, self._after_event = self._after_event, None
        self._is_interrupted = False
        if act is not None:
            act()
        if self.fault is not None:
            raise self.fault

    def blame(self, what: str) -> None:
        """The relay broke its word: the run ends after this event, whoever would catch an
        exception in between."""
        if self.fault is None:
            self.fault = Violation(what)
            self._is_interrupted = True
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
