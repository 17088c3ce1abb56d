"""Verify metrics: each summary and each bucket against the points."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from ..database import tables as t
from ..metrics.buckets import SIZES


def metric_problems(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Summaries and buckets that contradict the points: pairs of ``run:UID`` and what is wrong with it."""
    yield from _summary_problems(connection)
    for level, size in enumerate(SIZES):
        yield from _bucket_problems(connection, level, size)


def _summary_problems(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    p, s = t.metric_point.c, t.metric_summary.c
    count = sa.func.count
    points = (
        sa.select(
            p.run_id,
            p.key_id,
            count().label("count"),
            (count() - count(p.value)).label("nan_count"),
            sa.func.min(p.value).label("min"),
            sa.func.max(p.value).label("max"),
        )
        .group_by(p.run_id, p.key_id)
        .subquery()
    )
    same_series = (points.c.run_id == s.run_id) & (points.c.key_id == s.key_id)
    expected: list[sa.ColumnElement[Any]] = [
        sa.func.coalesce(points.c["count"], 0),
        sa.func.coalesce(points.c.nan_count, 0),
        points.c["min"],
        points.c["max"],
    ]
    stored = [s.count, s.nan_count, s.min, s.max]
    differs = [column.is_distinct_from(other) for column, other in zip(stored, expected, strict=True)]
    for uid, name, *values in connection.execute(
        _select_series(*stored, *expected).outerjoin(points, same_series).where(sa.or_(*differs))
    ):
        yield f"run:{uid}", f"the summary of {name} says {_describe(*values[:4])}; there are {_describe(*values[4:])}"
    for uid, name, number in connection.execute(
        sa.select(t.run.c.uid, t.metric_key.c.name, points.c["count"])
        .join(t.run, points.c.run_id == t.run.c.id)
        .join(t.metric_key, points.c.key_id == t.metric_key.c.id)
        .outerjoin(t.metric_summary, same_series)
        .where(s.run_id.is_(None))
    ):
        yield f"run:{uid}", f"{name} has {number} points and no summary"


def _describe(count: int, nan_count: int, low: float | None, high: float | None) -> str:
    return f"{count} points, {nan_count} of them NaN, from {low} to {high}"


def _bucket_problems(connection: sa.Connection, level: int, size: int) -> Iterator[tuple[str, str]]:
    """Compare the number and the extremes of a series' buckets of one level with its summary."""
    b, s = t.metric_bucket.c, t.metric_summary.c
    buckets = (
        sa.select(
            b.run_id,
            b.key_id,
            sa.func.count().label("count"),
            sa.func.min(b.min).label("min"),
            sa.func.max(b.max).label("max"),
        )
        .where(b.level == level)
        .group_by(b.run_id, b.key_id)
        .subquery()
    )
    same_series = (buckets.c.run_id == s.run_id) & (buckets.c.key_id == s.key_id)
    for uid, name in connection.execute(
        _select_series()
        .outerjoin(buckets, same_series)
        .where(
            (sa.func.coalesce(buckets.c["count"], 0) != (s.count + size - 1) // size)
            | s.min.is_distinct_from(buckets.c["min"])
            | s.max.is_distinct_from(buckets.c["max"])
        )
    ):
        yield f"run:{uid}", f"the buckets of {size} points of {name} contradict its summary"


def _select_series(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """The run's uid, the metric's name and further columns of every series that has a summary."""
    s = t.metric_summary.c
    return (
        sa.select(t.run.c.uid, t.metric_key.c.name, *columns)
        .select_from(t.metric_summary)
        .join(t.run, s.run_id == t.run.c.id)
        .join(t.metric_key, s.key_id == t.metric_key.c.id)
    )
