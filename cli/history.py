"""registry history: a metric's points, as numbers or as a picture."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from pointsman.registry import MetricPoint, Registry, VersionPoint

from .options import Moment, json_option
from .output import emit_csv, emit_json, note
from .pictures import Line, draw_file, draw_terminal
from .runtime import open_registry
from .tables import table
from .units import local, number

PICTURE_POINTS = 2_000
"""How many points a picture of one line is drawn from, unless it is told."""


@click.command("history", short_help="A metric's points: numbers, --plot, --png, --versions.")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option("--metric", help="As eval/accuracy. Without it, a summary of every metric.")
@click.option("--versions", is_flag=True, help="How the metric moved from version to version of the adapter REF.")
@click.option("--from-step", type=click.IntRange(min=0), help="Leave out what comes before.")
@click.option("--to-step", type=click.IntRange(min=0), help="Leave out what comes after.")
@click.option("--since", type=Moment(), help="Leave out what was logged before: 2026-11-01T12:00, '2h ago'.")
@click.option("--until", type=Moment(), help="Leave out what was logged after.")
@click.option(
    "--points",
    type=click.IntRange(min=8),
    help="At most so many points: the extremes of every stretch.  [default: all; 2000 in a picture]",
)
@click.option("--plot", is_flag=True, help="Draw it in the terminal.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture to this file.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture to this file.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    refs: tuple[str, ...],
    metric: str | None,
    versions: bool,
    from_step: int | None,
    to_step: int | None,
    since: datetime | None,
    until: datetime | None,
    points: int | None,
    plot: bool,
    png: Path | None,
    svg: Path | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Print the metric history of the runs that made versions REF, or of runs as run:UID, also while they go on.

    Several go into one picture: 'registry history sst2@1 sst2@2 --metric train/loss --png losses.png'.
    """
    registry = open_registry(context)
    if as_csv + as_json + plot > 1:
        raise click.UsageError("--csv, --json and --plot exclude each other")
    pictured = plot or png is not None or svg is not None
    window = (from_step, to_step, since, until, points)
    windowed = any(value is not None for value in window)
    if metric is None:
        if pictured or as_csv or versions or windowed or len(refs) > 1:
            known = ", ".join(summary.key for summary in registry.summaries(refs[0]))
            raise click.UsageError(f"name a metric with --metric: {known}")
        _print_summaries(registry, refs[0], as_json)
        return
    if versions:
        if windowed:
            raise click.UsageError("--versions shows every version: it takes no steps, times or --points")
        across = {ref: registry.version_history(ref, metric) for ref in refs}
        if as_json or as_csv or not pictured:
            _print_across(across, metric, as_csv=as_csv, as_json=as_json)
        lines = [Line(ref, [(p.number, p.value) for p in of_ref]) for ref, of_ref in across.items()]
    else:
        limit = points or (PICTURE_POINTS if pictured and not (as_csv or as_json) else None)
        found = {
            ref: registry.history(
                ref, metric, first_step=from_step, last_step=to_step, since=since, until=until, max_points=limit
            )
            for ref in refs
        }
        if as_json or as_csv or not pictured:
            _print_points(found, metric, as_csv=as_csv, as_json=as_json)
        lines = [Line(ref, [(p.step, p.value) for p in of_ref]) for ref, of_ref in found.items()]
    if not any(line.points for line in lines):
        note("no points there")
    of = ", ".join(line.label for line in lines) if len(lines) <= 4 else f"{len(lines)} histories"
    title, label = f"{metric} of {of}", "version" if versions else "step"
    for path, kind in ((png, "png"), (svg, "svg")):
        if path is not None:
            draw_file(lines, title=title, x=label, y=metric, path=path, kind=kind)
            note(f"{sum(len(line.points) for line in lines)} points drawn in {path}")
    if plot:
        draw_terminal(lines, title=title, x=label)


def _print_summaries(registry: Registry, ref: str, as_json: bool) -> None:
    summaries = registry.summaries(ref)
    if as_json:
        emit_json(summaries)
        return
    table(
        ["metric", "points", "last", "min", "at step", "max", "at  step"],
        [
            (s.key, str(s.count), number(s.last), number(s.min), _step(s.min_step), number(s.max), _step(s.max_step))
            for s in summaries
        ],
        right=("points", "last", "min", "at step", "max", "at  step"),
    )


def _print_points(found: dict[str, list[MetricPoint]], metric: str, *, as_csv: bool, as_json: bool) -> None:
    """The points of one history, or of several with a column that says whose they are."""
    several = len(found) > 1
    if as_json:
        whole: Any = [{"ref": ref, "points": points} for ref, points in found.items()]
        emit_json(whole if several else next(iter(found.values())))
        return
    names = ["ref"] if several else []
    rows = [(ref, point) for ref, points in found.items() for point in points]
    if as_csv:
        emit_csv(
            [*names, "step", "epoch", "value", "wall_time"],
            [([ref] if several else []) + [p.step, p.epoch, p.value, p.wall_time] for ref, p in rows],
        )
        return
    table(
        [*names, "step", "epoch", metric],
        [
            ([ref] if several else []) + [str(p.step), "-" if p.epoch is None else f"{p.epoch:.2f}", number(p.value)]
            for ref, p in rows
        ],
        right=("step", "epoch", metric),
    )


def _print_across(found: dict[str, list[VersionPoint]], metric: str, *, as_csv: bool, as_json: bool) -> None:
    """How a metric moved across the versions of one adapter, or of several."""
    several = len(found) > 1
    if as_json:
        whole: Any = [{"ref": ref, "points": points} for ref, points in found.items()]
        emit_json(whole if several else next(iter(found.values())))
        return
    rows = [(ref, point) for ref, points in found.items() for point in points]
    if as_csv:
        emit_csv(
            [*(["ref"] if several else []), "version", "value", "min", "max", "created"],
            [([ref] if several else []) + [p.number, p.value, p.min, p.max, p.created_at] for ref, p in rows],
        )
        return
    table(
        ["version", metric, "least", "greatest", "made"],
        [(f"{ref}@{p.number}", number(p.value), number(p.min), number(p.max), local(p.created_at)) for ref, p in rows],
        right=(metric, "least", "greatest"),
    )


def _step(step: int | None) -> str:
    return "-" if step is None else str(step)
