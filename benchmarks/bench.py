"""The relay beside Postfix: same machine, same run, interleaved rounds, medians. `make bench`."""

import json
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.load import WORKLOADS, Identity, Workload
from benchmarks.measure import Figures, measure, middle
from benchmarks.scaling.page import machine
from benchmarks.systems import PARTS, SYSTEMS, missing, takes_part
from benchmarks.tables import into_page, on_terminal
from tests.certificates import Authority

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
@click.option(
    "--page",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Put the tables into this file too, as docs/benchmarks.rst has them.",
)
def main(
    rounds: int,
    names: tuple[str, ...],
    systems: tuple[str, ...],
    quick: bool,
    is_json: bool,
    directory: Path,
    page: Path | None,
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
    if page:
        for load in loads:
            into_page(load, _medians(load, results), rounds, page)


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
    console.print(machine())
    for load in loads:
        console.print(on_terminal(load, _medians(load, results)))


def _medians(load: Workload, results: Results) -> dict[str, Figures]:
    return {name: middle(rounds) for (of, name), rounds in results.items() if of == load.name}


if __name__ == "__main__":
    main()
