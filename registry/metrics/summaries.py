"""Summaries: the count, mean and extremes of each series, kept up to date with its points.

Functions over an open transaction, and the arithmetic that extends a summary by new points.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.shape import Shape
from ..records import LoggedPoint, MetricSummary

_s = t.metric_summary.c
_FLOATS: Final = ("first", "last", "min", "max", "mean")
_OF_RUN: Final = (
    sa.select(t.metric_summary, t.metric_key.c.name.label("key"))
    .join(t.metric_key, _s.key_id == t.metric_key.c.id)
    .where(_s.run_id == sa.bindparam("run"))
    .order_by(t.metric_key.c.name)
)
_SHAPE: Final = Shape({**{column.name: column for column in _s}, "key": t.metric_key.c.name})
_OF_KEYS: Final = _OF_RUN.where(_s.key_id.in_(sa.bindparam("keys", expanding=True)))


def summaries(connection: sa.Connection, run: int, keys: Collection[int] | None = None) -> list[MetricSummary]:
    """The summaries of a run's metrics, sorted by name.

    Args:
        connection: A transaction.
        run: The run's row id.
        keys: The row ids of the metrics; None for all.
    """
    query, parameters = (_OF_RUN, {}) if keys is None else (_OF_KEYS, {"keys": list(keys)})
    records = []
    for found in connection.execute(query, {"run": run, **parameters}):
        _SHAPE.check(found, lambda row: f"the metric {row.key}")
        row = found._mapping
        fields: dict[str, Any] = {name: value for name, value in row.items() if name not in ("run_id", "key_id")}
        fields.update({name: math.nan for name in _FLOATS if fields[name] is None})
        records.append(MetricSummary(**fields))
    return records


def summary_columns(summary: MetricSummary) -> list[Any]:
    """A summary's values in the order of the table's columns, without its run and key; NaN is NULL there."""
    values = [getattr(summary, column.name) for column in t.metric_summary.c if not column.primary_key]
    return [None if type(value) is float and math.isnan(value) else value for value in values]


def replaced_columns(new: Any) -> dict[str, sa.ColumnElement[Any]]:
    """The columns of a stored summary after ``new`` has replaced it."""
    return {column.name: new[column.name] for column in t.metric_summary.c if not column.primary_key}


def extended(before: MetricSummary | None, points: Sequence[LoggedPoint]) -> MetricSummary:
    """The summary of a series after new points.

    Args:
        before: The summary of the points so far; None for a new series.
        points: The new points, at least one, in the order they were logged.
    """
    values = [point.value for point in points]
    numbers = [value for value in values if not math.isnan(value)]
    low, high = min(numbers, default=math.nan), max(numbers, default=math.nan)
    new = MetricSummary(
        key=points[0].key,
        count=len(points),
        nan_count=len(points) - len(numbers),
        first=values[0],
        last=values[-1],
        min=low,
        max=high,
        mean=sum(numbers) / len(numbers) if numbers else math.nan,
        first_step=points[0].step,
        last_step=points[-1].step,
        min_step=points[values.index(low)].step if numbers else None,
        max_step=points[values.index(high)].step if numbers else None,
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
