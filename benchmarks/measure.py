"""One run: a fresh sink, a fresh system, one load through it; rates and CPU time."""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.cpu import cpu_seconds
from benchmarks.load import Workload, send
from benchmarks.systems import SYSTEMS
from tests.interop.peers import SmtpSink
from tests.process.child import Child

RUN_LIMIT = 120.0
"""Seconds for one load; more means that it hangs."""

_CALM = 0.25
"""Seconds without CPU time after which a system has nothing left to do (syncs, logs)."""

_CALM_LIMIT = 3.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Messages a second: by `accepted` (the source has every 250) and `relayed` (the sink has all).

    `cpu` in milliseconds a message, of the system's own processes.
    """

    accepted: float
    relayed: float
    cpu: float


def measure(system_name: str, load: Workload, folder: Path) -> Figures:
    sink = SmtpSink(load.count)
    system = SYSTEMS[system_name](sink.port, folder)
    try:
        sink.start()
        system.start()
        return run_load(system.port, system.pid, sink, load, folder)
    finally:
        system.clean_up()
        sink.clean_up()


def middle(rounds: list[Figures]) -> Figures:
    """Each figure's median."""
    return Figures(
        median(figures.accepted for figures in rounds),
        median(figures.relayed for figures in rounds),
        median(figures.cpu for figures in rounds),
    )


def run_load(port: int, pid: int, sink: SmtpSink, load: Workload, folder: Path) -> Figures:
    """Through `port` to `sink`. `pid`: root of the process tree between them; 0: there is none."""
    cpu = cpu_seconds(pid) if pid else 0.0
    started_at = time.monotonic()
    source = send(load, port, folder)
    try:
        accepted_at = _wait_for_source(source) if pid else started_at
        relayed_at = sink.wait(RUN_LIMIT)
        spent = _cpu_when_calm(pid) - cpu if pid else 0.0
    finally:
        source.kill()
    relayed_after = relayed_at - started_at
    accepted_after = accepted_at - started_at if pid else relayed_after
    return Figures(
        load.count / accepted_after, load.count / relayed_after, 1000 * spent / load.count
    )


def _wait_for_source(source: Child) -> float:
    status = source.wait(RUN_LIMIT)
    ended_at = time.monotonic()
    if status:
        raise AssertionError(f"smtp-source ended with {status}: {source.output}")
    return ended_at


def _cpu_when_calm(pid: int) -> float:
    """What was accepted and relayed has been paid for only when the system rests."""
    deadline = time.monotonic() + _CALM_LIMIT
    before, now = -1.0, cpu_seconds(pid)
    while now > before and time.monotonic() < deadline:
        time.sleep(_CALM)
        before, now = now, cpu_seconds(pid)
    return now
