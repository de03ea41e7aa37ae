"""How cost grows: memory and rates at ever larger numbers of everything. `make bench-scale`."""

import json
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.scaling import content, hops, page, plot, recipients, sessions, waiting
from benchmarks.scaling.row import Results, Row, Setting
from tests.interop.tools import CHECKOUT

ROWS = {each.ROW.name: each.ROW for each in (waiting, sessions, hops, recipients, content)}


@click.command()
@click.option("--only", "names", multiple=True, type=click.Choice(list(ROWS)), help="Only these.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 50))
@click.option("--quick", is_flag=True, help="Small steps, one round: to see that it works.")
@click.option("--json", "is_json", is_flag=True, help="One object a row instead of tables.")
@click.option("--write", is_flag=True, help="Put tables and plots into docs/ of this checkout.")
@click.option(
    "--directory",
    default="/var/tmp",
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the spools lie: a real disk with 10 GB free.",
)
def main(
    names: tuple[str, ...], rounds: int, quick: bool, is_json: bool, write: bool, directory: Path
) -> None:
    """Figures, not assertions: five rows, each a table."""
    _allow_many_files()
    rounds = 1 if quick else rounds
    with tempfile.TemporaryDirectory(prefix="relay-scale-", dir=directory) as folder:
        Path(folder).chmod(0o755)
        for row in [ROWS[name] for name in names or ROWS]:
            results = _measure(row, Path(folder), rounds, quick)
            if is_json:
                print(json.dumps({"row": row.name, "machine": page.machine(), "steps": results}))
            else:
                _print_table(row, results)
            if write:
                _write(row, results, rounds)


def _allow_many_files() -> None:
    """Thousands of sessions at both ends; what is started here inherits it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _measure(row: Row, folder: Path, rounds: int, quick: bool) -> Results:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(row.title, total=None)
        setting = Setting(folder, rounds, quick, _teller(progress, row, task))
        return row.measure(row.quick_steps if quick else row.steps, setting)


def _teller(progress: Progress, row: Row, task: object) -> Callable[[str], None]:
    def say(text: str) -> None:
        progress.update(task, description=f"{row.title}: {text}")  # type: ignore[arg-type]

    return say


def _print_table(row: Row, results: Results) -> None:
    table = Table(title=row.title)
    table.add_column(row.counted)
    for column in row.columns:
        table.add_column(column.title, justify="right")
    for step, figures in results.items():
        table.add_row(row.step_text(step), *(column.text(figures) for column in row.columns))
    Console().print(table)


def _write(row: Row, results: Results, rounds: int) -> None:
    docs = CHECKOUT / "docs"
    (docs / "scale").mkdir(exist_ok=True)
    page.write(row, results, rounds, docs / "scale.rst")
    plot.plot(row, results, docs / "scale" / f"{row.name}.svg")


if __name__ == "__main__":
    main()
