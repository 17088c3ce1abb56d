"""Metric points on their way into the database, and what is kept about them: functions over an open transaction.

A run's points of one metric make a series, counted by ``seq`` in the order they were logged in. Three things are kept
in one transaction: the points; a summary of the series; and, for stretches of 64, 1,024 and 16,384 points, where the
least and the greatest value and a NaN lie. So a picture of a series costs what its width costs, whatever its length.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from . import tables as t
from .records import MetricSummary

SIZES: Final = (64, 1_024, 16_384)
"""Points in a bucket, by level."""

_SUMMARY_FLOATS: Final = ("first", "last", "min", "max", "mean")


@dataclass(frozen=True, slots=True)
class LoggedPoint:
    """A metric point on its way into the database."""

    key: str
    step: int
    value: float
    epoch: float | None
    wall_time: float


def key_ids(connection: sa.Connection, names: Iterable[str]) -> dict[str, int]:
    """The rows of metrics by name, made where they are not there."""
    names = set(names)
    key = t.metric_key.c
    query = sa.select(key.name, key.id).where(key.name.in_(names))
    found: dict[str, int] = dict(connection.execute(query).all())
    if missing := sorted(names - found.keys()):
        connection.execute(t.metric_key.insert(), [{"name": name} for name in missing])
        found = dict(connection.execute(query).all())
    return found


def key_id(name: str) -> sa.ScalarSelect[Any]:
    """The row of a metric, as a part of a statement; no row, nothing found."""
    return sa.select(t.metric_key.c.id).where(t.metric_key.c.name == name).scalar_subquery()


def metric_names(connection: sa.Connection) -> list[str]:
    """Every metric that was ever logged or scored."""
    return list(connection.scalars(sa.select(t.metric_key.c.name).order_by(t.metric_key.c.name)))


def insert_points(connection: sa.Connection, run: int, points: Sequence[LoggedPoint]) -> None:
    """Add points to a run's history, in the order they were logged in, with all that is kept about them."""
    series: dict[str, list[LoggedPoint]] = {}
    for point in points:
        series.setdefault(point.key, []).append(point)
    keys = key_ids(connection, series)
    known = {summary.key: summary for summary in summaries(connection, run, keys)}
    rows, buckets, updated = [], [], []
    for key, logged in series.items():
        before = known.get(key)
        seq = 0 if before is None else before.count
        of_series = {"run_id": run, "key_id": keys[key]}
        for number, point in enumerate(logged, seq):
            rows.append(
                {
                    **of_series,
                    "step": point.step,
                    "seq": number,
                    "epoch": point.epoch,
                    "wall_time": point.wall_time,
                    "value": _null(point.value),
                }
            )
        for level, size in enumerate(SIZES):
            for bucket in range(seq // size, (seq + len(logged) - 1) // size + 1):
                found = _extremes(logged[max(0, bucket * size - seq) : (bucket + 1) * size - seq])
                buckets.append({**of_series, "level": level, "bucket": bucket, **found})
        summary = _summed(before, logged)
        values = {name: value for name, value in vars(summary).items() if name != "key"}
        updated.append({**of_series, **values, **{name: _null(values[name]) for name in _SUMMARY_FLOATS}})
    connection.execute(t.metric_point.insert(), rows)
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement: Any = insert(t.metric_summary)
    kept = [column.name for column in t.metric_summary.c if not column.primary_key]
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["run_id", "key_id"], set_={name: statement.excluded[name] for name in kept}
        ),
        updated,
    )
    statement = insert(t.metric_bucket)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["run_id", "key_id", "level", "bucket"], set_=_merged(statement.excluded)
        ),
        buckets,
    )


def summaries(connection: sa.Connection, run: int, keys: Mapping[str, int] | None = None) -> list[MetricSummary]:
    """The summaries of a run's metrics, or of some of them, by name."""
    s = t.metric_summary
    query = (
        sa.select(s, t.metric_key.c.name.label("key"))
        .join(t.metric_key, s.c.key_id == t.metric_key.c.id)
        .where(s.c.run_id == run)
        .order_by(t.metric_key.c.name)
    )
    if keys is not None:
        query = query.where(s.c.key_id.in_(keys.values()))
    found = []
    for row in connection.execute(query).mappings():
        values: dict[str, Any] = {name: value for name, value in row.items() if name not in ("run_id", "key_id")}
        values.update({name: _nan(values[name]) for name in _SUMMARY_FLOATS})
        found.append(MetricSummary(**values))
    return found


def _extremes(points: Sequence[LoggedPoint]) -> dict[str, float | int | None]:
    """The columns of a bucket that holds these points."""
    numbers = [point for point in points if not math.isnan(point.value)]
    low = min(numbers, key=lambda point: point.value, default=None)
    high = max(numbers, key=lambda point: point.value, default=None)
    missing = next((point for point in points if math.isnan(point.value)), None)
    steps, times = [point.step for point in points], [point.wall_time for point in points]
    columns: dict[str, float | int | None] = {
        "first_step": min(steps),
        "last_step": max(steps),
        "first_time": min(times),
        "last_time": max(times),
        "min": None if low is None else low.value,
        "max": None if high is None else high.value,
    }
    for name, point in (("min", low), ("max", high), ("nan", missing)):
        columns[f"{name}_step"] = None if point is None else point.step
        columns[f"{name}_epoch"] = None if point is None else point.epoch
        columns[f"{name}_time"] = None if point is None else point.wall_time
    return columns


def _merged(new: Any) -> dict[str, sa.ColumnElement[Any]]:
    """A bucket's columns when points join those it has; ties stay with the earlier point."""
    b = t.metric_bucket.c
    columns: dict[str, sa.ColumnElement[Any]] = {
        "first_step": sa.case((new.first_step < b.first_step, new.first_step), else_=b.first_step),
        "last_step": sa.case((new.last_step > b.last_step, new.last_step), else_=b.last_step),
        "first_time": sa.case((new.first_time < b.first_time, new.first_time), else_=b.first_time),
        "last_time": sa.case((new.last_time > b.last_time, new.last_time), else_=b.last_time),
    }
    for name, better in (
        ("min", b.min.is_(None) | (new.min < b.min)),
        ("max", b.max.is_(None) | (new.max > b.max)),
        ("nan", b.nan_step.is_(None)),
    ):
        for column in (name, f"{name}_step", f"{name}_epoch", f"{name}_time"):
            if column != "nan":
                columns[column] = sa.case((better, new[column]), else_=b[column])
    return columns


def _summed(before: MetricSummary | None, points: Sequence[LoggedPoint]) -> MetricSummary:
    """The summary of a series with ``points`` added, which are in the order they were logged in."""
    numbers = [point for point in points if not math.isnan(point.value)]
    low = min(numbers, key=lambda point: point.value, default=None)
    high = max(numbers, key=lambda point: point.value, default=None)
    new = MetricSummary(
        key=points[0].key,
        count=len(points),
        nan_count=len(points) - len(numbers),
        first=points[0].value,
        last=points[-1].value,
        min=low.value if low else math.nan,
        max=high.value if high else math.nan,
        mean=sum(point.value for point in numbers) / len(numbers) if numbers else math.nan,
        first_step=points[0].step,
        last_step=points[-1].step,
        min_step=low.step if low else None,
        max_step=high.step if high else None,
    )
    if before is None:
        return new
    # A comparison with NaN is false, so a side without numbers never wins; ties stay with the earlier point.
    lower = new if new.min < before.min or math.isnan(before.min) else before
    higher = new if new.max > before.max or math.isnan(before.max) else before
    were, are = before.count - before.nan_count, len(numbers)
    return MetricSummary(
        key=new.key,
        count=before.count + new.count,
        nan_count=before.nan_count + new.nan_count,
        first=before.first,
        last=new.last,
        min=lower.min,
        max=higher.max,
        mean=sum(n * mean for n, mean in ((were, before.mean), (are, new.mean)) if n) / (were + are)
        if were + are
        else math.nan,
        first_step=before.first_step,
        last_step=new.last_step,
        min_step=lower.min_step,
        max_step=higher.max_step,
    )


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
