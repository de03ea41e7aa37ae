"""Runs simulated worlds, one a seed, and tells the seed of each in which the relay broke its word.

python -m tests.sim.run --seeds 1000      so many, on all cores
python -m tests.sim.run --seed N --trace  one again, exactly, and what happens in it
python -m tests.sim.run --mutations       which seed catches each planted fault
"""

import argparse
import contextlib
import gc
import io
import os
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.sim.mutations import FAULTS, planted
from tests.sim.simulation import Simulation
from tests.sim.world import Violation

Result = tuple[int, str, dict[str, int]]
"""A seed, what was violated ("": nothing), and what happened how often."""


SEEDS_A_TASK = 4
TASKS_A_PROCESS = 16
"""A process ends with its worlds' garbage, two or three megabytes each: nobody collects it."""

COLLECTED_AFTER = 50
"""Seeds of one fault, which are of one process."""


def try_seed(seed: int, fault: str = "") -> Result:
    """One world, in silence."""
    simulation = Simulation(seed)
    found = ""
    with contextlib.redirect_stderr(io.StringIO()), planted(fault):
        try:
            simulation.run()
        except Violation as violation:
            found = str(violation)
        except Exception as error:
            found = "".join(traceback.format_exception(error))
    return seed, found, simulation.counts()


def try_fault(name: str, seeds: int) -> tuple[str, Result | None]:
    """The first seed that catches it."""
    for seed in range(1, seeds + 1):
        result = try_seed(seed, name)
        if result[1]:
            return name, result
        if seed % COLLECTED_AFTER == 0:
            gc.collect()
    return name, None


def pool(jobs: int, tasks: int) -> Any:
    """Processes without a search for garbage, the first of which would be in all that is loaded."""
    gc.collect()
    gc.freeze()
    return Pool(jobs, gc.disable, maxtasksperchild=tasks)


@contextlib.contextmanager
def bar(what: str, total: int) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def run_many(first: int, count: int, jobs: int) -> int:
    totals: Counter[str] = Counter()
    failed = []
    seeds = range(first, first + count)
    with pool(jobs, TASKS_A_PROCESS) as workers, bar("simulating", count) as step:
        for seed, found, counts in workers.imap_unordered(try_seed, seeds, SEEDS_A_TASK):
            step()
            totals.update(counts)
            if found:
                failed.append(seed)
                print(f"seed {seed}: {found}", flush=True)
    summary = ", ".join(f"{number:,} {what}" for what, number in totals.items())
    print(f"{count:,} seeds from {first}: {len(failed)} violations; {summary}")
    return 1 if failed else 0


def run_one(seed: int, fault: str, *, shows: bool) -> int:
    simulation = Simulation(seed, print if shows else None)
    with planted(fault):
        try:
            simulation.run()
        except Violation as violation:
            print(f"seed {seed}: {violation}")
            return 1
        finally:
            print(f"trace {simulation.world.trace_digest}")
    counts = ", ".join(f"{number:,} {what}" for what, number in simulation.counts().items())
    print(f"seed {seed}: no violation; {counts}")
    return 0


def run_mutations(seeds: int, jobs: int, names: list[str]) -> int:
    table = Table("planted fault", "seed", "what was seen", title=f"within {seeds} seeds")
    missed = 0
    with pool(jobs, 1) as workers, bar("faults", len(names)) as step:
        runs = [workers.apply_async(try_fault, (name, seeds)) for name in names]
        for run in runs:
            name, result = run.get()
            step()
            missed += result is None
            seen = "" if result is None else result[1].strip().splitlines()[-1][:120]
            table.add_row(name, "none" if result is None else str(result[0]), seen)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: show what happens")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--mutations", action="store_true", help="plant each fault in turn")
    parser.add_argument("--fault", default="", choices=["", *FAULTS], help="plant this one")
    options = parser.parse_args()
    if options.mutations:
        names = [options.fault] if options.fault else list(FAULTS)
        return run_mutations(options.seeds, options.jobs, names)
    if options.seed is not None:
        return run_one(options.seed, options.fault, shows=options.trace)
    return run_many(options.first, options.seeds, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
