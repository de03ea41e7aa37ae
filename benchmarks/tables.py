"""A run's figures as tables: on a terminal, and in docs/benchmarks.rst."""

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from benchmarks.load import Workload
from benchmarks.measure import Figures
from benchmarks.scaling.page import machine, put, table_lines

_COLUMNS = (
    ("accepted/s", "accepted", 0),
    ("relayed/s", "relayed", 0),
    ("CPU, ms a message", "cpu", 3),
    ("memory, MB", "memory", 0),
    ("wait p50, ms", "p50", 2),
    ("wait p99, ms", "p99", 2),
)
"""Titles, figures, and digits behind the point. The waits are at half of the rate relayed."""

_PEERS = ("Postfix", "limit")
_OURS = ("relay", "hybrid", "proxy")
"""How the names of the relay's own systems begin."""

Medians = Mapping[str, Figures]
"""By the name of the system."""


def on_terminal(load: Workload, medians: Medians) -> Table:
    """Below the figures, ours in parts of Postfix's and of the limit's."""
    table = Table(title=f"{load.title}: {load.count} messages, {load.sessions} sessions")
    table.add_column("")
    for title, _, _ in _COLUMNS:
        table.add_column(title, justify="right")
    for name, figures in medians.items():
        table.add_row(name, *_cells(figures))
    for name in [name for name in medians if name.startswith(_OURS)]:
        table.add_section()
        for peer in [peer for peer in _PEERS if peer in medians]:
            table.add_row(f"{name} / {peer}", *_ratios(medians[name], medians[peer]))
    return table


def into_page(load: Workload, medians: Medians, rounds: int, page: Path) -> None:
    """Between the two comments that bear the workload's name."""
    titles = ("system", *(title for title, _, _ in _COLUMNS), "times Postfix")
    postfix = medians.get("Postfix")
    lines = [
        (name, *_cells(figures), f"{figures.relayed / postfix.relayed:.2f}" if postfix else "-")
        for name, figures in medians.items()
    ]
    how_often = "one round" if rounds == 1 else f"medians of {rounds} rounds"
    under = f"*{machine()}; {load.count:,} messages, {how_often}.*"
    above = f"{load.name}: {load.title}"
    section = [above, "^" * len(above), "", *table_lines(titles, lines), "", under]
    put(page, load.name, "\n".join(section))


def _cells(figures: Figures) -> tuple[str, ...]:
    return tuple(_cell(getattr(figures, key), digits) for _, key, digits in _COLUMNS)


def _cell(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if value else "-"


def _ratios(ours: Figures, theirs: Figures) -> tuple[str, ...]:
    pairs = [(getattr(ours, key), getattr(theirs, key)) for _, key, _ in _COLUMNS]
    return tuple(f"{our / their:.2f}" if their else "-" for our, their in pairs)
