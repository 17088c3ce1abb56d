"""registry history: a metric's points, as numbers or as a picture."""

import csv
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pointsman.registry import MetricPoint

from .options import json_option, open_registry
from .output import emit_json, note, number, plain, table


@click.command("history")
@click.argument("ref")
@click.option("--metric", help="As eval/accuracy. Without it, a summary of every metric.")
@click.option("--plot", is_flag=True, help="Draw it in the terminal.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture to this file.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option
@click.pass_context
def command(
    context: click.Context, ref: str, metric: str | None, plot: bool, png: Path | None, as_csv: bool, as_json: bool
) -> None:
    """Print the metric history of the run that made version REF, or of run:UID, also while it goes on."""
    registry = open_registry(context)
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    if metric is None:
        if plot or png or as_csv:
            raise click.UsageError(f"name a metric with --metric: {', '.join(s.key for s in registry.summaries(ref))}")
        summaries = registry.summaries(ref)
        if as_json:
            emit_json(summaries)
            return
        table(
            ["metric", "points", "last", "min", "at step", "max", "at  step"],
            [
                (s.key, str(s.count), number(s.last), number(s.min), str(s.min_step), number(s.max), str(s.max_step))
                for s in summaries
            ],
            right=("points", "last", "min", "at step", "max", "at  step"),
        )
        return
    points = registry.history(ref, metric)
    if png is not None:
        _draw_png(points, metric, ref, png)
        note(f"{len(points)} points drawn in {png}")
    if plot:
        draw_terminal(points, metric, ref)
    if as_json:
        emit_json(points)
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["step", "epoch", "value", "wall_time"])
        writer.writerows([p.step, p.epoch, plain(p.value), p.wall_time] for p in points)
    elif not plot and png is None:
        table(
            ["step", "epoch", metric],
            [(str(p.step), "-" if p.epoch is None else f"{p.epoch:.2f}", number(p.value)) for p in points],
            right=("step", "epoch", metric),
        )


def draw_terminal(points: Sequence[MetricPoint], metric: str, ref: str) -> None:
    """Draw points as a line in the terminal, on standard output."""
    import plotext

    finite = [p for p in points if math.isfinite(p.value)]
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(min(plotext.terminal_width() or 80, 100), 18)
    plotext.plot([p.step for p in finite], [p.value for p in finite], marker="braille")
    plotext.title(f"{metric} of {ref}")
    plotext.xlabel("step")
    click.echo(plotext.build())
    if len(finite) < len(points):
        note(f"{len(points) - len(finite)} points that are no finite number are not drawn")


def _draw_png(points: Sequence[MetricPoint], metric: str, ref: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot([p.step for p in points], [p.value for p in points], marker="o" if len(points) < 30 else None)
    axes.set(title=f"{metric} of {ref}", xlabel="step", ylabel=metric)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, format="png")
    plt.close(figure)
