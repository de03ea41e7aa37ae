"""One row as an SVG: a panel for each thing that is worth a curve, steps on a logarithmic axis."""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.scaling.row import Results, Row

matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "relay", "font.size": 10})
"""Text stays text, and the same figures give the same file."""

_ORDERS = 30
"""A panel whose values lie further apart than this factor gets a logarithmic axis."""


def plot(row: Row, results: Results, path: Path) -> None:
    figure = Figure(figsize=(4.5 * len(row.panels), 3.2), layout="constrained")
    axes = figure.subplots(1, len(row.panels), squeeze=False)[0]
    for panel, (title, keys) in zip(axes, row.panels, strict=True):
        _draw(panel, row, results, keys)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel(row.counted)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _draw(panel: Axes, row: Row, results: Results, keys: tuple[str, ...]) -> None:
    for key in keys:
        steps = [step for step, figures in results.items() if key in figures]
        values = [results[step][key] for step in steps]
        panel.plot(steps, values, marker="o", label=row.column(key).title)
    panel.set_xscale("log")
    drawn = [figures[key] for figures in results.values() for key in keys if key in figures]
    if max(drawn) > _ORDERS * max(min(drawn), 1e-9):
        panel.set_yscale("log")
    else:
        panel.set_ylim(bottom=0)
    panel.grid(visible=True, alpha=0.3)
    if len(keys) > 1:
        panel.legend(fontsize=8)
