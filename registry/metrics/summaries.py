"""Summaries: the count, mean and extremes of each series, kept up to date with its points.

Functions over an open transaction, and the arithmetic that extends a summary by new points.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.lists import select_bound_texts, select_texts
from ..database.shape import Shape
from ..records import MetricSummary
from .columns import Columns

_s = t.metric_summary.c
_NAMES: Final = [column.name for column in _s if not column.primary_key]
_FLOATS: Final = ("first", "last", "min", "max", "mean")
_OF_RUN: Final = (
    sa.select(t.metric_summary, t.metric_key.c.name.label("key"))
    .join(t.metric_key, _s.key_id == t.metric_key.c.id)
    .where(_s.run_id == sa.bindparam("run"))
    .order_by(t.metric_key.c.name)
)
_SHAPE: Final = Shape({**{column.name: column for column in _s}, "key": t.metric_key.c.name})


def summaries(connection: sa.Connection, run: int) -> list[MetricSummary]:
    """The summaries of all metrics of a run, by its row id, sorted by name."""
    return [_record(row) for row in connection.execute(_OF_RUN, {"run": run})]


def summaries_by_run(connection: sa.Connection, uids: Iterable[str]) -> dict[str, list[MetricSummary]]:
    """The summaries of all metrics of several runs, sorted by name, by the run's uid.

    Runs without a metric are left out, and so is a summary whose row is damaged.
    """
    query = (
        sa.select(t.metric_summary, t.metric_key.c.name.label("key"), t.run.c.uid)
        .join(t.metric_key, _s.key_id == t.metric_key.c.id)
        .join(t.run, _s.run_id == t.run.c.id)
        .where(t.run.c.uid.in_(select_texts(connection, uids)))
        .order_by(t.metric_key.c.name)
    )
    found: dict[str, list[MetricSummary]] = {}
    for row in connection.execute(query):
        if _SHAPE.damage(row) is None:
            found.setdefault(row.uid, []).append(_record(row))
    return found


def joined_summaries(connection: sa.Connection, runs: Iterable[int]) -> list[MetricSummary]:
    """The summaries of all metrics of several runs, each as of one series, sorted by name.

    Args:
        connection: A transaction.
        runs: The runs' row ids, the earliest first.
    """
    joined: dict[str, MetricSummary] = {}
    for run in runs:
        for summary in summaries(connection, run):
            before = joined.get(summary.key)
            joined[summary.key] = summary if before is None else _joined(before, summary)
    return [joined[name] for name in sorted(joined)]


def summaries_by_name(
    connection: sa.Connection, run: int, names: Iterable[str]
) -> dict[str, tuple[int, MetricSummary | None]]:
    """The row ids of metrics and their summaries, by name; without the metrics that have no row.

    Args:
        connection: A transaction.
        run: The run's row id.
        names: The metrics' names.

    Returns:
        The summary is None for a metric that the run has no point of.
    """
    rows = connection.execute(_select_by_name(connection.dialect.name), {"run": run, "names": list(names)})
    return {row.key: (row.id, None if row.key_id is None else _record(row)) for row in rows}


@cache
def _select_by_name(dialect: str) -> sa.Select[Any]:
    """The statement of ``summaries_by_name``; cached, since building it takes longer than executing it."""
    key = t.metric_key.c
    return (
        sa.select(t.metric_summary, key.name.label("key"), key.id)
        .select_from(t.metric_key)
        .outerjoin(t.metric_summary, (_s.key_id == key.id) & (_s.run_id == sa.bindparam("run")))
        .where(key.name.in_(select_bound_texts(dialect, "names")))
    )


def _record(row: Any) -> MetricSummary:
    """The summary in a row of ``metric_summary`` that the metric's name follows."""
    _SHAPE.check(row, lambda row: f"the metric {row.key}")
    _, _, *values, key = row[: len(_s) + 1]
    fields: dict[str, Any] = dict(zip(_NAMES, values, strict=True))
    fields.update({name: math.nan for name in _FLOATS if fields[name] is None})
    return MetricSummary(key=key, **fields)


def summary_columns(summary: MetricSummary) -> list[Any]:
    """A summary's values in the order of the table's columns, without its run and key; NaN is NULL there."""
    values = [getattr(summary, name) for name in _NAMES]
    return [None if type(value) is float and math.isnan(value) else value for value in values]


def replaced_columns(new: Any) -> dict[str, sa.ColumnElement[Any]]:
    """The columns of a stored summary after ``new`` has replaced it."""
    return {name: new[name] for name in _NAMES}


def extended(name: str, before: MetricSummary | None, points: Columns) -> MetricSummary:
    """The summary of a series after new points.

    Args:
        name: The metric's name.
        before: The summary of the points so far; None for a new series.
        points: The new points, at least one, in the order they were logged.
    """
    steps, values, numbers = points.steps, points.values, points.numbers()
    low, high = min(numbers, default=math.nan), max(numbers, default=math.nan)
    new = MetricSummary(
        key=name,
        count=len(values),
        nan_count=len(values) - len(numbers),
        first=values[0],
        last=values[-1],
        min=low,
        max=high,
        mean=sum(numbers) / len(numbers) if numbers else math.nan,
        first_step=steps[0],
        last_step=steps[-1],
        min_step=steps[values.index(low)] if numbers else None,
        max_step=steps[values.index(high)] if numbers else None,
    )
    return new if before is None else _joined(before, new)


def _joined(before: MetricSummary, new: MetricSummary) -> MetricSummary:
    """The summary of two consecutive parts of a series."""
    # A comparison with NaN is false, so a part without numbers never wins. Of equal extremes the earlier point stays.
    lower = new if new.min < before.min or math.isnan(before.min) else before
    higher = new if new.max > before.max or math.isnan(before.max) else before
    weighted = [
        (summary.count - summary.nan_count, summary.mean)
        for summary in (before, new)
        if summary.count > summary.nan_count
    ]
    numbers = sum(count for count, _ in weighted)
    return MetricSummary(
        key=new.key,
        count=before.count + new.count,
        nan_count=before.nan_count + new.nan_count,
        first=before.first,
        last=new.last,
        min=lower.min,
        max=higher.max,
        mean=sum(count * mean for count, mean in weighted) / numbers if numbers else math.nan,
        first_step=before.first_step,
        last_step=new.last_step,
        min_step=lower.min_step,
        max_step=higher.max_step,
    )
