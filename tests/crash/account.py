"""The account after a fault: what was lost, invented, or came twice, and whether it might.

A copy more is right only in the windows of docs/reliability.rst, each of which needs a fault
between the two copies (a kill, a session cut): one without a fault in between is told apart. A
copy's time runs from its MAIL on: its end may be read when who sent it is dead already.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from tests.crash.load import LARGE, SteadyLoad
from tests.process.collector import Collector, Kept
from tests.process.sending import SENDER, content

Copy = tuple[float, float]
"""When its MAIL came, and when it was there."""


class Timed(Collector):
    """Tells of each message instead of keeping it."""

    tell: Callable[[Kept], None]

    def keep(self, kept: Kept) -> None:
        self.tell(kept)


@dataclass(slots=True)
class Watched:
    """An upstream whose arrivals are timed; those from smtp-source are not counted."""

    collector: Timed = field(default_factory=Timed)
    arrivals: list[tuple[str, float, float]] = field(default_factory=list)
    """Recipient, when its MAIL came, when it was there."""
    damaged: list[str] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.collector.tell = self._arrived

    def _arrived(self, kept: Kept) -> None:
        if kept.sender != SENDER:
            return
        with self._lock:
            for name in kept.recipients:
                self.arrivals.append((name, kept.begun, time.monotonic()))
                if not any(kept.content.endswith(content(name, n)) for n in (2000, LARGE)):
                    self.damaged.append(name)

    def note_fault(self) -> None:
        self.faults.append(time.monotonic())

    def names(self) -> set[str]:
        with self._lock:
            return {name for name, *_ in self.arrivals}


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers of messages."""

    accepted: int
    unsure: int
    arrived: int
    lost: frozenset[str]
    invented: frozenset[str]
    damaged: frozenset[str]
    twice: int
    twice_without_fault: frozenset[str]
    faults: int

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.invented or self.damaged or self.twice_without_fault)

    def __str__(self) -> str:
        told = (
            f"{self.faults} faults: {self.accepted} accepted, {self.arrived} arrived,"
            f" {len(self.lost)} lost, {len(self.invented)} invented, {len(self.damaged)} damaged,"
            f" {self.twice} twice (each with a fault between),"
            f" {len(self.twice_without_fault)} twice without one,"
            f" {self.unsure} without an answer"
        )
        return told if self.is_good else f"{told}  NOT AS PROMISED: {self._bad()}"

    def _bad(self) -> list[str]:
        return sorted(self.lost | self.invented | self.damaged | self.twice_without_fault)[:20]


def settle(load: SteadyLoad, upstream: Watched, waiting: Iterable[str] = ()) -> Account:
    """Once nothing moves any more. `waiting`: recipients that are in the queue still."""
    with upstream._lock:
        arrivals = list(upstream.arrivals)
    times: dict[str, list[Copy]] = {}
    for name, *copy in arrivals:
        times.setdefault(name, []).append((copy[0], copy[1]))
    arrived = set(times)
    return Account(
        accepted=len(load.accepted),
        unsure=len(load.unsure),
        arrived=len(arrived),
        lost=frozenset(load.accepted - arrived - set(waiting)),
        invented=frozenset(arrived - load.accepted - load.unsure),
        damaged=frozenset(upstream.damaged),
        twice=sum(len(copies) - 1 for copies in times.values()),
        twice_without_fault=frozenset(
            name for name, copies in times.items() if not _is_explained(copies, upstream.faults)
        ),
        faults=len(upstream.faults),
    )


def _is_explained(copies: list[Copy], faults: list[float]) -> bool:
    """Between each copy and the next there was a fault."""
    return all(
        any(begun <= fault <= end for fault in faults) for (begun, _), (_, end) in pairwise(copies)
    )
