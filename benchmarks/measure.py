"""One run: a fresh sink, a fresh system, one load through it; rates, CPU time, memory, waits."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median

from benchmarks.cpu import cpu_seconds
from benchmarks.load import Clients, Identity, Workload, send
from benchmarks.memory import peak_memory
from benchmarks.sinks import Sink, sink_for
from benchmarks.systems import SYSTEMS, UNCOUNTED, System
from tests.process.child import Child

RUN_LIMIT = 120.0
"""Seconds for one load; more means that it hangs."""

_CALM = 0.25
"""Seconds without CPU time after which a system has nothing left to do (syncs, logs)."""

_CALM_LIMIT = 3.0

_START_LIMIT = 20.0
"""Seconds until a system rests after its start, on a busy machine too."""

_PACED = 4.0
"""Seconds that the load at half of the maximum goes on."""

_MIN_PACED = 100
"""Messages at that pace at least: the last hundredth of fewer is nobody's."""

_PACED_LIMIT = 20.0
"""Seconds; for a system so slow that it takes longer there are fewer messages."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Messages a second: by `accepted` (the source has every 250) and `relayed` (the sink has all).

    `cpu` in milliseconds a message, of the system's own processes; `memory`: the most they held,
    MB; `p50` and `p99` of the client's wait for the final 250 at half of that rate, milliseconds.
    """

    accepted: float
    relayed: float
    cpu: float
    memory: float = 0.0
    p50: float = 0.0
    p99: float = 0.0


def measure(system_name: str, load: Workload, folder: Path, identity: Identity) -> Figures:
    """At full rate, then, with a sink and a system started anew, at half of what that gave."""
    figures = _at_full_rate(system_name, load, folder, identity)
    rate = figures.relayed / 2
    paced = replace(load, count=_paced_count(rate))
    sink = sink_for(replace(load, count=0), identity)
    with _started(system_name, sink, folder, _shown(load, identity)) as system:
        waits = _waits(system.port, paced, folder, rate)
    return replace(figures, p50=1000 * _part(waits, 0.5), p99=1000 * _part(waits, 0.99))


def _at_full_rate(name: str, load: Workload, folder: Path, identity: Identity) -> Figures:
    sink = sink_for(load, identity, name not in UNCOUNTED)
    with (
        _started(name, sink, folder, _shown(load, identity)) as system,
        peak_memory(system.pid) as memory,
    ):
        figures = run_load(system.port, system.pid, sink, load, folder)
    return replace(figures, memory=memory.megabytes)


def _shown(load: Workload, identity: Identity) -> Identity | None:
    return identity if load.has_tls else None


def middle(rounds: list[Figures]) -> Figures:
    """Each figure's median."""
    return Figures(
        *(median(getattr(figures, field.name) for figures in rounds) for field in fields(Figures))
    )


def run_load(port: int, pid: int, sink: Sink, load: Workload, folder: Path) -> Figures:
    """Through `port` to `sink`. `pid`: root of the process tree between them; 0: there is none."""
    cpu = cpu_seconds(pid) if pid else 0.0
    started_at, accepted_at, relayed_at = _send_all(port, bool(pid), sink, load, folder)
    spent = _cpu_when_calm(pid) - cpu if pid else 0.0
    return Figures(
        load.count / (accepted_at - started_at),
        load.count / (relayed_at - started_at),
        1000 * spent / load.count,
    )


def _send_all(
    port: int, is_between: bool, sink: Sink, load: Workload, folder: Path
) -> tuple[float, float, float]:
    """When the first message was begun, the last one accepted, and the last one relayed."""
    if load.has_tls:
        return _send_by_clients(port, sink, load, folder)
    started_at = time.monotonic()
    source = send(load, port, folder)
    try:
        accepted_at = _wait_for_source(source) if is_between else 0.0
        relayed_at = sink.wait(RUN_LIMIT)
    finally:
        source.kill()
    return started_at, accepted_at or relayed_at, relayed_at


def _send_by_clients(
    port: int, sink: Sink, load: Workload, folder: Path
) -> tuple[float, float, float]:
    clients = Clients(load, port, folder)
    try:
        relayed_at = sink.wait(RUN_LIMIT)
        outcome = clients.wait(RUN_LIMIT)
    finally:
        clients.kill()
    return outcome.started_at, outcome.ended_at, relayed_at


@contextmanager
def _started(name: str, sink: Sink, folder: Path, tls: Identity | None) -> Iterator[System]:
    system = SYSTEMS[name](sink.port, folder, tls)
    try:
        sink.start()
        system.start()
        if system.pid:
            _cpu_when_calm(system.pid, _START_LIMIT)
        yield system
    finally:
        system.clean_up()
        sink.clean_up()


def _paced_count(rate: float) -> int:
    return round(min(max(rate * _PACED, _MIN_PACED), max(rate * _PACED_LIMIT, 1)))


def _waits(port: int, load: Workload, folder: Path, rate: float) -> list[float]:
    """Each client's wait for the final 250 in seconds, sorted."""
    clients = Clients(load, port, folder, rate)
    try:
        return clients.wait(RUN_LIMIT).waits
    finally:
        clients.kill()


def _part(ordered: list[float], part: float) -> float:
    """The value that this part of all does not exceed (nearest rank)."""
    return ordered[math.ceil(part * len(ordered)) - 1]


def _wait_for_source(source: Child) -> float:
    status = source.wait(RUN_LIMIT)
    ended_at = time.monotonic()
    if status:
        raise AssertionError(f"smtp-source ended with {status}: {source.output}")
    return ended_at


def _cpu_when_calm(pid: int, within: float = _CALM_LIMIT) -> float:
    """What was accepted and relayed has been paid for only when the system rests.

    Nor has it started before: workers get ready while their port is open already.
    """
    deadline = time.monotonic() + within
    before, now = -1.0, cpu_seconds(pid)
    while now > before and time.monotonic() < deadline:
        time.sleep(_CALM)
        before, now = now, cpu_seconds(pid)
    return now
