"""registry history: a metric's points, as numbers or as a picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import click

from pointsman.registry import MetricPoint, MetricSummary, Registry, VersionPoint
from pointsman.registry.metrics.smoothing import smooth
from pointsman.registry.runs.serving import PREFIX
from pointsman.sdk.core.units import local, number

from .options import Moment, Weight, json_option
from .output import emit_csv, emit_json, note
from .pictures import Line, draw_file, draw_terminal
from .runtime import open_registry
from .tables import table

PICTURE_POINTS = 2_000
"""How many points of each line a picture is drawn from by default."""

_P = TypeVar("_P", MetricPoint, VersionPoint)


@click.command("history", short_help="A metric's points: numbers, --plot, --png, --versions.")
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option("--metric", help="A metric, as eval/accuracy. [default: a summary of every metric]")
@click.option("--versions", is_flag=True, help="The metric across the versions of the adapter REF.")
@click.option("--from-step", type=click.IntRange(min=0), help="Only points from this step on.")
@click.option("--to-step", type=click.IntRange(min=0), help="Only points up to this step.")
@click.option("--since", type=Moment(), help="Only points logged from this time on: 2026-11-01T12:00, '2h ago'.")
@click.option("--until", type=Moment(), help="Only points logged up to this time.")
@click.option(
    "--points",
    type=click.IntRange(min=8),
    metavar="N",
    help="At most N points, which keep the extremes. [default: all; 2000 in a picture]",
)
@click.option("--smooth", "weight", type=Weight(), metavar="WEIGHT", help="Smooth exponentially; 0.9 is usual.")
@click.option("--plot", is_flag=True, help="Draw it in the terminal.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Write a PNG picture to this file.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write an SVG picture to this file.")
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
    weight: float | None,
    plot: bool,
    png: Path | None,
    svg: Path | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Print the metric history of the runs that made versions REF, or of runs as run:UID, which may still be running.

    Metrics that begin with serving/ are what servers recorded of a version, each point of a minute.

    Several histories are drawn in one picture: 'registry history sst2@1 sst2@2 --metric train/loss --png losses.png'.

    --smooth adds the debiased exponential moving average: s = WEIGHT * s + (1 - WEIGHT) * value, divided by
    1 - WEIGHT^count, over every point before --points takes effect. Pictures show it over the faint raw line, the
    terminal shows it alone, and numbers have it in the column 'smoothed'. NaN and infinities are skipped.
    """
    registry = open_registry(context)
    if as_csv + as_json + plot > 1:
        raise click.UsageError("--csv, --json and --plot exclude each other")
    pictured = plot or png is not None or svg is not None
    window = {"first_step": from_step, "last_step": to_step, "since": since, "until": until}
    windowed = points is not None or any(value is not None for value in window.values())
    if metric is None:
        if pictured or as_csv or versions or windowed or weight is not None or len(refs) > 1:
            known = ", ".join(summary.key for summary in registry.summaries(refs[0]))
            raise click.UsageError(f"name a metric with --metric: {known}")
        _print_summaries(registry, refs[0], as_json)
        return
    if versions and windowed:
        raise click.UsageError("--versions shows every version: it takes no steps, times or --points")
    if versions:
        across = {ref: _smoothed(registry.version_history(ref, metric), weight) for ref in refs}
        if as_json or as_csv or not pictured:
            _print(across, _VERSIONS, metric, as_csv=as_csv, as_json=as_json)
        x = "version"
        lines = [Line(ref, [(p.number, p.value) for p in s.points], s.smoothed) for ref, s in across.items()]
    else:
        limit = points or (PICTURE_POINTS if pictured and not (as_csv or as_json) else None)
        histories = {ref: _read(registry, ref, metric, window, limit=limit, weight=weight) for ref in refs}
        is_served = metric.startswith(PREFIX)
        if as_json or as_csv or not pictured:
            _print(histories, _MINUTES if is_served else _STEPS, metric, as_csv=as_csv, as_json=as_json)
        first = min((p.step for s in histories.values() for p in s.points), default=0) if is_served else 0
        x = f"minutes from {_minute(first)} on" if is_served else "step"
        lines = [Line(ref, [(p.step - first, p.value) for p in s.points], s.smoothed) for ref, s in histories.items()]
    if not any(line.points for line in lines):
        note("no points in this window")
    what = ", ".join(line.label for line in lines) if len(lines) <= 4 else f"{len(lines)} histories"
    title = f"{metric} of {what}" + ("" if weight is None else f", smoothed by {weight:g}")
    for path, kind in ((png, "png"), (svg, "svg")):
        if path is not None:
            draw_file(lines, title=title, x=x, y=metric, path=path, kind=kind)
            note(f"{sum(len(line.points) for line in lines)} points drawn in {path}")
    if plot:
        draw_terminal(lines, title=title, x=x)


@dataclass(frozen=True)
class _Series(Generic[_P]):
    """The points of one history, and their smoothed values if those were requested."""

    points: Sequence[_P]
    smoothed: Sequence[float | None] | None


def _smoothed(points: Sequence[_P], weight: float | None) -> _Series[_P]:
    return _Series(points, None if weight is None else smooth((point.value for point in points), weight))


def _read(
    registry: Registry, ref: str, metric: str, window: Mapping[str, Any], *, limit: int | None, weight: float | None
) -> _Series[MetricPoint]:
    """The points of a run's metric, at most ``limit`` of them; smoothed over all, so that a limit moves no value."""
    points = registry.history(ref, metric, **window, max_points=limit)
    if weight is None or limit is None:
        return _smoothed(points, weight)
    # Read second: what a running training logs in between is in it.
    every = registry.history(ref, metric, **window)
    smoothed = smooth((point.value for point in every), weight)
    by_place = {(point.step, point.wall_time): value for point, value in zip(every, smoothed, strict=True)}
    return _Series(points, [by_place[point.step, point.wall_time] for point in points])


@dataclass(frozen=True)
class _Layout(Generic[_P]):
    """How points of one kind are printed."""

    fields: Mapping[str, str]
    """The columns of CSV, with the point's fields."""
    cells: Mapping[str, Callable[[str, _P], str]]
    """The columns of the table, with a cell for a history's ref and a point; ``_VALUE`` is headed by the metric."""
    ref_column: bool
    """Whether the table names the ref in a column of its own where there are several."""


_VALUE: Final = "value"
_TEXT: Final = ("version", "made", "time")
"""Columns of text; the others have numbers, which are aligned to the right."""

_STEPS: Final = _Layout[MetricPoint](
    fields={name: name for name in ("step", "epoch", "value", "wall_time")},
    cells={
        "step": lambda _, point: str(point.step),
        "epoch": lambda _, point: "-" if point.epoch is None else f"{point.epoch:.2f}",
        _VALUE: lambda _, point: number(point.value),
    },
    ref_column=True,
)
_MINUTES: Final = _Layout[MetricPoint](
    fields=_STEPS.fields,
    cells={
        "time": lambda _, point: local(datetime.fromtimestamp(point.wall_time, UTC)),
        _VALUE: lambda _, point: number(point.value),
    },
    ref_column=True,
)
"""Of what servers recorded."""
_VERSIONS: Final = _Layout[VersionPoint](
    fields={"version": "number", "value": "value", "min": "min", "max": "max", "created": "created_at"},
    cells={
        "version": lambda ref, point: f"{ref}@{point.number}",
        _VALUE: lambda _, point: number(point.value),
        "least": lambda _, point: number(point.min),
        "greatest": lambda _, point: number(point.max),
        "made": lambda _, point: local(point.created_at),
    },
    ref_column=False,
)


def _print(
    histories: Mapping[str, _Series[_P]], layout: _Layout[_P], metric: str, *, as_csv: bool, as_json: bool
) -> None:
    """Print the points of one history, or of several with the ref that each belongs to."""
    several = len(histories) > 1
    if as_json:
        documents = [{"ref": ref, "points": _points_json(series)} for ref, series in histories.items()]
        emit_json(documents if several else documents[0]["points"])
        return
    rows = [
        (ref, point, value)
        for ref, series in histories.items()
        for point, value in zip(series.points, series.smoothed or [None] * len(series.points), strict=True)
    ]
    smoothed = any(series.smoothed is not None for series in histories.values())
    if as_csv:
        emit_csv(
            ["ref"] * several + [*layout.fields] + ["smoothed"] * smoothed,
            [
                [ref] * several + [getattr(point, name) for name in layout.fields.values()] + [value] * smoothed
                for ref, point, value in rows
            ],
        )
        return
    refs = several and layout.ref_column
    headers: list[str] = [metric if name == _VALUE else name for name in layout.cells]
    table(
        ["ref"] * refs + headers + ["smoothed"] * smoothed,
        [
            [ref] * refs + [cell(ref, point) for cell in layout.cells.values()] + [number(value)] * smoothed
            for ref, point, value in rows
        ],
        right=[*(header for header in headers if header not in _TEXT), "smoothed"],
    )


def _points_json(series: _Series[_P]) -> list[dict[str, Any]]:
    points = [point._asdict() for point in series.points]
    if series.smoothed is None:
        return points
    return [{**point, "smoothed": value} for point, value in zip(points, series.smoothed, strict=True)]


def _print_summaries(registry: Registry, ref: str, as_json: bool) -> None:
    summaries = registry.summaries(ref)
    if as_json:
        emit_json(summaries)
        return
    table(
        ["metric", "points", "last", "min", "at step", "max", "at step"],
        [
            (
                s.key,
                str(s.count),
                number(s.last),
                number(s.min),
                _step(s, s.min_step),
                number(s.max),
                _step(s, s.max_step),
            )
            for s in summaries
        ],
        right=("points", "last", "min", "at step", "max", "at step"),
    )


def _minute(step: int) -> str:
    """The minute that a step of a serving run is."""
    return local(datetime.fromtimestamp(60 * step, UTC))[:-3]


def _step(summary: MetricSummary, step: int | None) -> str:
    if step is None:
        return "-"
    return _minute(step) if summary.key.startswith(PREFIX) else str(step)
