"""Puts tables of figures into a page of docs/, between the two comments that bear their name."""

import platform
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scaling.row import Results, Row


def machine() -> str:
    """What it was run on, and when."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    kernel = platform.release().partition("-")[0]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    today = time.strftime("%d %B %Y").lstrip("0")
    return f"{model}, {len(models)} processors, Linux {kernel}, {python}; {today}"


def write(row: Row, results: Results, rounds: int, page: Path) -> None:
    table = "\n".join(_table(row, results))
    often = "one round" if rounds == 1 else f"medians of {rounds} rounds"
    put(page, row.name, f"{table}\n\n*{machine()}; {often}.*\n\n{_image(row)}")


def put(page: Path, name: str, section: str) -> None:
    """In the place of what stands between the two comments that bear that name."""
    text = page.read_text()
    begin, end = f".. begin {name}\n", f".. end {name}\n"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page} has no place for this: {begin.strip()!r} {end.strip()!r}")
    page.write_text(f"{before}{begin}\n{section}\n\n{end}{after}")


def table_lines(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
    rule = " ".join("=" * width for width in widths)
    return [rule, _line(titles, widths), rule, *(_line(line, widths) for line in lines), rule]


def _image(row: Row) -> str:
    return f".. image:: scale/{row.name}.svg\n   :alt: {row.title}: the table as curves"


def _table(row: Row, results: Results) -> list[str]:
    titles = [row.counted, *(column.title for column in row.columns)]
    lines = [
        [row.step_text(step), *(column.text(figures) for column in row.columns)]
        for step, figures in results.items()
    ]
    return table_lines(titles, lines)


def _line(cells: Sequence[str], widths: list[int]) -> str:
    """Figures to the right; rst wants text in the first column, so that one stays on the left."""
    first, *others = cells
    padded = [first.ljust(widths[0])]
    padded += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return " ".join(padded)
