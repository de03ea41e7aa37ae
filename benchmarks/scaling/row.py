"""What a row is: something that grows, step by step, and what is measured at each step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.load import Workload

Figures = Mapping[str, float]
"""By the keys of the row's columns; what cannot be told at a step is left out."""

Results = Mapping[int, Figures]
"""By step."""


@dataclass(frozen=True, slots=True)
class Column:
    """A figure: its title with its unit, and its digits behind the point."""

    key: str
    title: str
    digits: int = 0

    def text(self, figures: Figures) -> str:
        value = figures.get(self.key)
        return "-" if value is None else f"{value:,.{self.digits}f}"


@dataclass(frozen=True, slots=True)
class Setting:
    """How a run goes: where its spools lie, how often each step is measured, whom to tell."""

    folder: Path
    rounds: int
    is_quick: bool
    say: Callable[[str], None]

    def shortened(self, load: Workload) -> Workload:
        """A tenth of the load for a quick run."""
        return load.shortened(10) if self.is_quick else load


@dataclass(frozen=True, slots=True)
class Row:
    """`panels` are the plots: each a title and the keys of its lines."""

    name: str
    title: str
    counted: str
    steps: tuple[int, ...]
    quick_steps: tuple[int, ...]
    columns: tuple[Column, ...]
    panels: tuple[tuple[str, tuple[str, ...]], ...]
    measure: Callable[[Sequence[int], Setting], Results]
    step_text: Callable[[int], str] = "{:,}".format

    def column(self, key: str) -> Column:
        return next(column for column in self.columns if column.key == key)


def medians(rounds: Iterable[Figures]) -> dict[str, float]:
    """Each figure's own."""
    found = list(rounds)
    return {key: median(figures[key] for figures in found) for key in found[0]}
