"""The relay beside Postfix: same machine, same run, interleaved rounds, medians. `make bench`."""

import json
import platform
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.load import WORKLOADS, Workload
from benchmarks.measure import Figures, measure, middle
from benchmarks.systems import SYSTEMS

Results = dict[tuple[str, str], list[Figures]]
"""By the names of workload and system."""

_QUICK = 6
"""--quick sends this part of the messages."""


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 50))
@click.option(
    "--workload",
    "names",
    multiple=True,
    type=click.Choice([load.name for load in WORKLOADS]),
    help="Only these. Default: all.",
)
@click.option(
    "--system",
    "systems",
    multiple=True,
    type=click.Choice(list(SYSTEMS)),
    help="Only these. Default: all.",
)
@click.option("--quick", is_flag=True, help="A sixth of the messages: to see that it works.")
@click.option("--json", "is_json", is_flag=True, help="One object a line instead of tables.")
@click.option(
    "--directory",
    default="/var/tmp",
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the spools lie: a real disk, or the syncs cost nothing.",
)
def main(
    rounds: int,
    names: tuple[str, ...],
    systems: tuple[str, ...],
    quick: bool,
    is_json: bool,
    directory: Path,
) -> None:
    """Messages a second and CPU time a message of the relay and its peers."""
    loads = [load for load in WORKLOADS if not names or load.name in names]
    if quick:
        loads = [load.shortened(_QUICK) for load in loads]
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=directory) as folder:
        Path(folder).chmod(0o755)
        results = _measure_all(loads, systems or tuple(SYSTEMS), rounds, Path(folder))
    if is_json:
        _print_json(loads, results)
    else:
        _print_tables(loads, results)


def _measure_all(
    loads: list[Workload], systems: tuple[str, ...], rounds: int, folder: Path
) -> Results:
    results: Results = defaultdict(list)
    runs = [(load, name) for _ in range(rounds) for load in loads for name in systems]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(runs))
        for load, name in runs:
            progress.update(task, description=f"{load.title}: {name}")
            results[load.name, name].append(measure(name, load, folder))
            progress.advance(task)
    return results


def _print_json(loads: list[Workload], results: Results) -> None:
    counts = {load.name: load.count for load in loads}
    for (load_name, name), rounds in results.items():
        figures = asdict(middle(rounds))
        of_rounds = [asdict(each) for each in rounds]
        print(
            json.dumps(
                {
                    "workload": load_name,
                    "system": name,
                    "messages": counts[load_name],
                    **{key: round(value, 3) for key, value in figures.items()},
                    "rounds": of_rounds,
                }
            )
        )


def _print_tables(loads: list[Workload], results: Results) -> None:
    console = Console()
    console.print(f"{platform.machine()}, {_processors()} processors, {platform.platform()}")
    for load in loads:
        table = Table(title=f"{load.title}: {load.count} messages, {load.sessions} sessions")
        table.add_column("")
        for title in ("accepted/s", "relayed/s", "CPU, ms a message"):
            table.add_column(title, justify="right")
        medians = {
            name: middle(rounds) for (of, name), rounds in results.items() if of == load.name
        }
        for name, figures in medians.items():
            cpu = f"{figures.cpu:.3f}" if figures.cpu else "-"
            table.add_row(name, f"{figures.accepted:,.0f}", f"{figures.relayed:,.0f}", cpu)
        peers = [name for name in ("Postfix", "limit") if name in medians]
        for name in [name for name in medians if name not in ("Postfix", "limit")]:
            table.add_section()
            for peer in peers:
                table.add_row(*_ratio(name, medians[name], peer, medians[peer]))
        console.print(table)


def _ratio(name: str, ours: Figures, peer: str, theirs: Figures) -> tuple[str, ...]:
    return (
        f"{name} / {peer}",
        f"{ours.accepted / theirs.accepted:.2f}",
        f"{ours.relayed / theirs.relayed:.2f}",
        f"{ours.cpu / theirs.cpu:.2f}" if theirs.cpu else "-",
    )


def _processors() -> int:
    text = Path("/proc/cpuinfo").read_text()
    return sum(line.startswith("processor") for line in text.splitlines())


if __name__ == "__main__":
    main()
