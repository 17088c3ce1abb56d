"""Pictures of metric histories: in the terminal, and as PNG or SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from .output import note

_MARKERS: Final = "•x+o*#"
"""What several lines are drawn with: they differ without colours, which a pipe would not take."""


@dataclass(frozen=True)
class Line:
    """One line of a picture."""

    label: str
    points: Sequence[tuple[int, float]]


def draw_terminal(lines: Sequence[Line], *, title: str, x: str) -> None:
    """Draw lines in the terminal, on standard output."""
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(min(plotext.terminal_width() or 80, 100), 18)
    left_out = 0
    for index, line in enumerate(lines):
        finite = [(step, value) for step, value in line.points if math.isfinite(value)]
        left_out += len(line.points) - len(finite)
        marker = _marker(index) if len(lines) > 1 else "braille"
        plotext.plot([step for step, _ in finite], [value for _, value in finite], marker=marker)
    steps = [step for line in lines for step, value in line.points if math.isfinite(value)]
    if steps:
        low, high = min(steps), max(steps)
        plotext.xticks(sorted({low + (high - low) * part // 4 for part in range(5)}))
    plotext.title(title)
    plotext.xlabel(x)
    click.echo(plotext.build())
    if len(lines) > 1:
        # Below, where it hides no line.
        click.echo("   ".join(f"{_marker(index)} {line.label}" for index, line in enumerate(lines)))
    if left_out:
        note(f"{left_out} points that are no finite number are not drawn")


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def draw_file(lines: Sequence[Line], *, title: str, x: str, y: str, path: Path, kind: str) -> None:
    """Draw lines into a file; ``kind`` is png or svg."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same history makes the same file.
    mpl.rcParams["svg.hashsalt"] = "pointsman"
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for line in lines:
        marker = "o" if len(line.points) < 30 else None
        axes.plot(
            [step for step, _ in line.points], [value for _, value in line.points], marker=marker, label=line.label
        )
    # A name is text, and no formula: matplotlib reads what stands between dollar signs.
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
