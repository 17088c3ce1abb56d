"""Pictures of metric histories: in the terminal, and as PNG or SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from .output import note

_MARKERS: Final = "•x+o*#"
"""The markers of several lines, which differ without colours: a pipe has none."""


@dataclass(frozen=True)
class Line:
    """One line of a picture."""

    label: str
    points: Sequence[tuple[int, float]]
    smoothed: Sequence[float | None] | None = None
    """The smoothed value at each point, if it is to be drawn; None at a gap."""

    @property
    def trend(self) -> list[tuple[int, float]]:
        """The smoothed points, with NaN at the gaps; the points themselves where nothing was smoothed."""
        if self.smoothed is None:
            return list(self.points)
        values = (math.nan if value is None else value for value in self.smoothed)
        return [(x, value) for (x, _), value in zip(self.points, values, strict=True)]


def draw_terminal(lines: Sequence[Line], *, title: str, x: str) -> None:
    """Draw lines in the terminal, on standard output; of a smoothed line only the smoothed values."""
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(min(plotext.terminal_width() or 80, 100), 18)
    drawn = [[(step, value) for step, value in line.trend if math.isfinite(value)] for line in lines]
    for index, finite in enumerate(drawn):
        marker = _marker(index) if len(lines) > 1 else "braille"
        plotext.plot([step for step, _ in finite], [value for _, value in finite], marker=marker)
    steps = [step for finite in drawn for step, _ in finite]
    if steps:
        low, high = min(steps), max(steps)
        plotext.xticks(sorted({low + (high - low) * part // 4 for part in range(5)}))
    plotext.title(title)
    plotext.xlabel(x)
    click.echo(plotext.build())
    if len(lines) > 1:
        # Below the picture, where the legend hides no line.
        click.echo("   ".join(f"{_marker(index)} {line.label}" for index, line in enumerate(lines)))
    if omitted := sum(len(line.points) for line in lines) - sum(map(len, drawn)):
        note(f"{omitted} points are not drawn: their values are NaN or infinite")


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def draw_file(lines: Sequence[Line], *, title: str, x: str, y: str, path: Path, kind: str) -> None:
    """Draw lines into a file, a smoothed line over its faint raw points.

    Args:
        lines: The lines.
        title: Above the picture.
        x: Label of the horizontal axis.
        y: Label of the vertical axis.
        path: The file.
        kind: ``png`` or ``svg``.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    # The same history makes the same file: SVG ids are random without a salt.
    mpl.rcParams["svg.hashsalt"] = "pointsman"
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for index, line in enumerate(lines):
        color = f"C{index % 10}"
        marker = "o" if len(line.points) < 30 else None
        if line.smoothed is not None:
            axes.plot(*_columns(line.points), marker=marker, color=color, alpha=0.25)
            marker = None
        axes.plot(*_columns(line.trend), marker=marker, color=color, label=line.label)
    # matplotlib would read text between dollar signs as a formula.
    axes.set_title(title, parse_math=False)
    axes.set_xlabel(x)
    # Steps and versions are whole numbers.
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_ylabel(y, parse_math=False)
    if len(lines) > 1:
        axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, format=kind, metadata={"Date": None} if kind == "svg" else None)
    plt.close(figure)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
