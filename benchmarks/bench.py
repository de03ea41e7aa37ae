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

from benchmarks.load import WORKLOADS, Identity, Workload
from benchmarks.measure import Figures, measure, middle
from benchmarks.peers import missing
from benchmarks.systems import PARTS, SYSTEMS, takes_part
from tests.certificates import Authority

Results = dict[tuple[str, str], list[Figures]]
"""By the names of workload and system."""

_TITLES = (
    "accepted/s",
    "relayed/s",
    "CPU, ms a message",
    "memory, MB",
    "wait p50, ms",
    "wait p99, ms",
)
"""The waits are those for the final 250, at half of the rate relayed."""

_OURS = ("relay", "hybrid", "proxy")
"""How the names of the relay's own systems begin."""

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
    """Rates, CPU time, memory and clients' waits of the relay and its peers."""
    loads = [load for load in WORKLOADS if not names or load.name in names]
    if quick:
        loads = [load.shortened(_QUICK) for load in loads]
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=directory) as folder:
        Path(folder).chmod(0o755)
        results = _measure_all(loads, _present(systems or tuple(SYSTEMS)), rounds, Path(folder))
    if is_json:
        _print_json(loads, results)
    else:
        _print_tables(loads, results)


def _present(systems: tuple[str, ...]) -> list[str]:
    """Those that can run here. What is left out is told on standard error."""
    for name in systems:
        if what := missing(name):
            click.echo(f"left out: {name}: no {what}", err=True)
    return [name for name in systems if not missing(name)]


def _measure_all(loads: list[Workload], systems: list[str], rounds: int, folder: Path) -> Results:
    results: Results = defaultdict(list)
    identity = Identity(*Authority().issue("127.0.0.1").write(folder))
    runs = [
        (load, name)
        for _ in range(rounds)
        for load in loads
        for name in systems
        if takes_part(name, load)
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(runs))
        for load, name in runs:
            progress.update(task, description=f"{load.title}: {name}")
            part = load.shortened(PARTS.get(name, 1))
            try:
                results[load.name, name].append(measure(name, part, folder, identity))
            except AssertionError as error:  # the others' figures shall not be lost with it
                progress.console.print(f"failed: {load.title}: {name}: {error}", markup=False)
            progress.advance(task)
    return results


def _print_json(loads: list[Workload], results: Results) -> None:
    by_name = {load.name: load for load in loads}
    for (load_name, name), rounds in results.items():
        figures = asdict(middle(rounds))
        of_rounds = [asdict(each) for each in rounds]
        print(
            json.dumps(
                {
                    "workload": load_name,
                    "system": name,
                    "messages": by_name[load_name].shortened(PARTS.get(name, 1)).count,
                    **{key: round(value, 3) for key, value in figures.items()},
                    "rounds": of_rounds,
                }
            )
        )


def _print_tables(loads: list[Workload], results: Results) -> None:
    console = Console()
    console.print(_machine())
    for load in loads:
        table = Table(title=f"{load.title}: {load.count} messages, {load.sessions} sessions")
        table.add_column("")
        for title in _TITLES:
            table.add_column(title, justify="right")
        medians = {
            name: middle(rounds) for (of, name), rounds in results.items() if of == load.name
        }
        for name, figures in medians.items():
            table.add_row(name, *_row(figures))
        peers = [name for name in ("Postfix", "limit") if name in medians]
        for name in [name for name in medians if name.startswith(_OURS)]:
            table.add_section()
            for peer in peers:
                table.add_row(*_ratio(name, medians[name], peer, medians[peer]))
        console.print(table)


def _row(figures: Figures) -> tuple[str, ...]:
    return (
        f"{figures.accepted:,.0f}",
        f"{figures.relayed:,.0f}",
        f"{figures.cpu:.3f}" if figures.cpu else "-",
        f"{figures.memory:.0f}" if figures.memory else "-",
        f"{figures.p50:.2f}",
        f"{figures.p99:.2f}",
    )


def _ratio(name: str, ours: Figures, peer: str, theirs: Figures) -> tuple[str, ...]:
    return (
        f"{name} / {peer}",
        f"{ours.accepted / theirs.accepted:.2f}",
        f"{ours.relayed / theirs.relayed:.2f}",
        f"{ours.cpu / theirs.cpu:.2f}" if theirs.cpu else "-",
        f"{ours.memory / theirs.memory:.2f}" if theirs.memory else "-",
        f"{ours.p50 / theirs.p50:.2f}",
        f"{ours.p99 / theirs.p99:.2f}",
    )


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    python = f"Python {platform.python_version()}"
    return f"{len(models)} x {models[0] if models else '?'}, {platform.platform()}, {python}"


if __name__ == "__main__":
    main()
