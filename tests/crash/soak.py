"""`make soak MINUTES=30`: a relay at half of its rate for long, its memory looked at all the while.

Most of the load are quick clients before a sink that counts nothing; beside them goes the load of
which an account is kept. Ends with status 1 where that is wrong, or where memory still grows in the
second half.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.clients import Job
from benchmarks.cpu import cpu_seconds
from benchmarks.memory import tree_share_megabytes
from tests.crash.scene import Scene, scene
from tests.interop.peers import SmtpSink

SESSIONS = 20

COUNTED = 20.0
"""Messages a second of which an account is kept."""

WARMING = 10_000
"""Messages at full speed, which tell the rate."""

BETWEEN_SAMPLES = 10.0

_PATIENCE = 300.0
"""Seconds for the clients to end."""

MAX_GROWTH = 0.05
"""Of the memory from the third quarter to the last: more of it would be a leak."""


class Sample(NamedTuple):
    minutes: float
    memory: float  # MB
    cpu: float  # seconds so far
    waiting: int  # accepted and not relayed yet


def main() -> int:
    options = _options()
    seconds = options.minutes * 60
    sink = SmtpSink()
    try:
        sink.start()
        with scene(
            Random(1), options.delivery, options.workers, sessions=1, sink=sink.port
        ) as stage:
            stage.load.pause = 1 / COUNTED
            full = _rate_at_full_speed(stage)
            print(f"{full:.0f} messages a second at full speed; half of it now", flush=True)
            with _load(stage, int(full / 2 * seconds), full / 2) as load:
                samples = list(_samples(stage, seconds))
                outcome = json.loads(load.communicate(timeout=_PATIENCE)[0])
            account = stage.account()
    finally:
        sink.clean_up()
    growth = growth_of(samples)
    print(f"{len(outcome['waits'])} messages at {full / 2:.0f} a second, and with an account:")
    print(account)
    print(_told(samples, growth))
    if options.plot:
        _plot(samples, options.plot)
    return 0 if account.is_good and growth <= MAX_GROWTH else 1


@contextmanager
def _load(stage: Scene, count: int, rate: float) -> Iterator["subprocess.Popen[str]"]:
    """`rate`: messages a second; 0: at full speed."""
    job = Job(stage.relay.port, count, 4096, SESSIONS, is_kept=True, rate=rate)
    command = [sys.executable, "-m", "benchmarks.clients", json.dumps(asdict(job))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as clients:
        try:
            yield clients
        finally:
            clients.kill()


def _rate_at_full_speed(stage: Scene) -> float:
    with _load(stage, WARMING, 0.0) as load:
        outcome = json.loads(load.communicate(timeout=_PATIENCE)[0])
    return WARMING / (outcome["ended_at"] - outcome["started_at"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--delivery", default="store", choices=("store", "hybrid", "proxy"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--plot", type=Path, help="an SVG of the memory")
    return parser.parse_args()


def _samples(stage: Scene, seconds: float) -> Iterator[Sample]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    started = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("soak", total=seconds)
        while (passed := time.monotonic() - started) < seconds:
            time.sleep(min(BETWEEN_SAMPLES, seconds - passed))
            waiting = len(stage.load.accepted) - len(stage.upstream.names())
            memory = tree_share_megabytes(stage.relay.child.pid)
            cpu = cpu_seconds(stage.relay.child.pid)
            passed = time.monotonic() - started
            progress.update(task, completed=passed, description=f"{memory:.1f} MB")
            yield Sample(passed / 60, memory, cpu, max(0, waiting))


def growth_of(samples: list[Sample]) -> float:
    """Of the memory, from the median of the third quarter to that of the last, as a share."""
    quarter = max(1, len(samples) // 4)
    last = median(each.memory for each in samples[-quarter:])
    before = median(each.memory for each in samples[-2 * quarter : -quarter] or samples)
    return last / before - 1


def _told(samples: list[Sample], growth: float) -> str:
    memory = [each.memory for each in samples]
    return (
        f"{samples[-1].minutes:.0f} minutes, {samples[-1].cpu - samples[0].cpu:.0f} s of CPU;"
        f" memory {memory[0]:.1f} MB at first, {median(memory):.1f} in the middle,"
        f" {max(memory):.1f} at the most, {memory[-1]:.1f} at the end"
        f" ({growth:+.1%} from the third quarter to the last);"
        f" {max(each.waiting for each in samples)} counted messages waited at the most"
    )


def _plot(samples: list[Sample], path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "relay", "font.size": 10})
    figure = Figure(figsize=(6, 3), layout="constrained")
    panel = figure.subplots()
    panel.plot([each.minutes for each in samples], [each.memory for each in samples])
    panel.set_title("memory, MB", fontsize=10)
    panel.set_xlabel("minutes at half of the full rate")
    panel.set_ylim(bottom=0)
    panel.grid(visible=True, alpha=0.3)
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
