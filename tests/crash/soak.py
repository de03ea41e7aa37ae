"""`make soak MINUTES=30`: a relay at half of its rate for long, its memory looked at all the while.

Ends with status 1 where the account is wrong, or where memory still grows in the second half.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.memory import tree_share_megabytes
from tests.crash.scene import Scene, scene

SESSIONS = 8

WARMING = 20.0
"""Seconds at full speed, which tell the rate."""

BETWEEN_SAMPLES = 10.0

MAX_GROWTH = 0.05
"""Of the memory from the third quarter to the last: more of it would be a leak."""


class Sample(NamedTuple):
    minutes: float
    memory: float  # MB
    rate: float  # messages a second, since the sample before
    waiting: int  # accepted and not relayed yet


def main() -> int:
    options = _options()
    with scene(
        Random(1), delivery=options.delivery, workers=options.workers, sessions=SESSIONS
    ) as stage:
        full = _rate_of(stage, WARMING)
        assert full, "nothing was accepted"
        stage.load.pause = SESSIONS / (full / 2)
        print(f"{full:.0f} messages a second at full speed; at half of it from now on", flush=True)
        samples = list(_samples(stage, options.minutes * 60))
        account = stage.account()
    growth = growth_of(samples)
    print(account)
    print(_told(samples, growth))
    if options.plot:
        _plot(samples, options.plot)
    return 0 if account.is_good and growth <= MAX_GROWTH else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--delivery", default="store", choices=("store", "hybrid", "proxy"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--plot", type=Path, help="an SVG of the memory")
    return parser.parse_args()


def _rate_of(stage: Scene, seconds: float) -> float:
    before = len(stage.load.accepted)
    time.sleep(seconds)
    return (len(stage.load.accepted) - before) / seconds


def _samples(stage: Scene, seconds: float) -> Iterator[Sample]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    started = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("soak", total=seconds)
        while (passed := time.monotonic() - started) < seconds:
            rate = _rate_of(stage, min(BETWEEN_SAMPLES, seconds - passed))
            waiting = len(stage.load.accepted) - len(stage.upstream.names())
            memory = tree_share_megabytes(stage.relay.child.pid)
            passed = time.monotonic() - started
            progress.update(
                task, completed=passed, description=f"{memory:.1f} MB, {rate:.0f} messages/s"
            )
            yield Sample(passed / 60, memory, rate, max(0, waiting))


def growth_of(samples: list[Sample]) -> float:
    """Of the memory, from the median of the third quarter to that of the last, as a share."""
    quarter = max(1, len(samples) // 4)
    last = median(each.memory for each in samples[-quarter:])
    before = median(each.memory for each in samples[-2 * quarter : -quarter] or samples)
    return last / before - 1


def _told(samples: list[Sample], growth: float) -> str:
    memory = [each.memory for each in samples]
    return (
        f"{samples[-1].minutes:.0f} minutes, {median(each.rate for each in samples):.0f} messages"
        f" a second; memory {memory[0]:.1f} MB at first, {median(memory):.1f} in the middle,"
        f" {max(memory):.1f} at the most, {memory[-1]:.1f} at the end"
        f" ({growth:+.1%} from the third quarter to the last);"
        f" {max(each.waiting for each in samples)} messages waited at the most"
    )


def _plot(samples: list[Sample], path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "relay", "font.size": 10})
    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots(1, 2)
    minutes = [each.minutes for each in samples]
    for panel, title, values in (
        (axes[0], "memory, MB", [each.memory for each in samples]),
        (axes[1], "messages a second", [each.rate for each in samples]),
    ):
        panel.plot(minutes, values)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("minutes")
        panel.set_ylim(bottom=0)
        panel.grid(visible=True, alpha=0.3)
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
