"""Histories: the points of a run's metric, and a metric across the versions of an adapter.

Functions over an open transaction.
"""

import math
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.lists import select_numbers
from ..database.shape import Shape, damaged
from ..errors import MetricNotFoundError, unknown
from ..records import MetricPoint, VersionPoint
from .points import key_id
from .series import Series, Window, has_more, read_points
from .summaries import summaries
from .thinning import by_step, thin, thinned

_SERIES = (
    sa.select(t.metric_summary.c.key_id, t.metric_summary.c.count.label("length"))
    .join(t.metric_key, t.metric_summary.c.key_id == t.metric_key.c.id)
    .where(t.metric_summary.c.run_id == sa.bindparam("run"), t.metric_key.c.name == sa.bindparam("name"))
)


def history(
    connection: sa.Connection, run: int, metric: str, window: Window, *, max_points: int | None = None
) -> list[MetricPoint]:
    """The points of one metric of a run, sorted by step.

    Args:
        connection: A transaction.
        run: The run's row id.
        metric: The metric's name.
        window: The steps and times to read.
        max_points: A longer history is reduced to at most this many points, at least 8: its first and its last point,
            and the minimum, the maximum and any NaN of groups of equal length between them.

    Raises:
        MetricNotFoundError: The run has no such metric; the message lists those it has.
    """
    row = connection.execute(_SERIES, {"run": run, "name": metric}).first()
    if row is None:
        raise unknown(MetricNotFoundError, "metric", metric, [summary.key for summary in summaries(connection, run)])
    series = Series(run, row.key_id)
    where = window.contains_point()
    if max_points is None or row.length <= max_points:
        return read_points(connection, series, where)
    # The points of a window are counted nowhere.
    if where and not has_more(connection, series, where, max_points):
        return read_points(connection, series, where)
    first = read_points(connection, series, where, first=True)
    if not first:
        raise damaged(f"the metric {metric}", f"its summary says {row.length} points, and there are none")
    last = read_points(connection, series, where, last=True)
    extremes = thin(connection, series, window, max_points - 2)
    return sorted(dict.fromkeys([*first, *extremes, *last]), key=by_step)


def joined_history(
    connection: sa.Connection, runs: Sequence[int], metric: str, window: Window, *, max_points: int | None = None
) -> list[MetricPoint]:
    """The points of one metric of several runs as one history, sorted by step; empty if none of them has it.

    Args:
        connection: A transaction.
        runs: The runs' row ids.
        metric: The metric's name.
        window: The steps and times to read.
        max_points: As for ``history``.
    """
    s = t.metric_summary.c
    logged = sa.select(s.run_id).where(s.key_id == key_id(metric), s.run_id.in_(select_numbers(connection, runs)))
    points = [
        point
        for run in connection.scalars(logged).all()
        for point in history(connection, run, metric, window, max_points=max_points)
    ]
    points.sort(key=by_step)
    return points if max_points is None else thinned(points, max_points)


_v, _m, _s = t.version.c, t.version_metric.c, t.metric_summary.c
_ACROSS: Final = Shape(
    {
        "number": _v.number,
        "score": _m.value,
        "key": _m.key_id,
        "last": _s.last,
        "min": _s.min,
        "max": _s.max,
        "logged": _s.key_id,
        "created_at": _v.created_at,
    },
    nullable=["key", "logged"],
)


def across(connection: sa.Connection, adapter_id: int, metric: str) -> list[VersionPoint]:
    """A metric across the versions of an adapter, by number; versions without the metric are left out.

    Args:
        connection: A transaction.
        adapter_id: The adapter's row id.
        metric: The metric's name.
    """
    v, m, s = _v, _m, _s
    rows = connection.execute(
        sa.select(v.number, m.value, m.key_id, s.last, s.min, s.max, s.key_id.label("logged"), v.created_at)
        .select_from(t.version)
        .outerjoin(t.version_metric, (m.version_id == v.id) & (m.key_id == key_id(metric)))
        .outerjoin(t.metric_summary, (s.run_id == v.run_id) & (s.key_id == key_id(metric)))
        .where(v.adapter_id == adapter_id, m.key_id.is_not(None) | s.key_id.is_not(None))
        .order_by(v.number)
    ).all()
    for row in rows:
        _ACROSS.check(row, lambda row: f"version {row.number}")
    return [
        VersionPoint(
            number=row.number,
            value=_from_null(row.last if row.key_id is None else row.value),
            min=None if row.logged is None else _from_null(row.min),
            max=None if row.logged is None else _from_null(row.max),
            created_at=row.created_at,
        )
        for row in rows
    ]


def metrics_across(connection: sa.Connection, adapter_id: int) -> list[str]:
    """The names of all metrics that any version of an adapter has, as a score or in its run."""
    v, m, s = t.version.c, t.version_metric.c, t.metric_summary.c
    scored = sa.select(m.key_id).join(t.version, m.version_id == v.id).where(v.adapter_id == adapter_id)
    logged = sa.select(s.key_id).join(t.version, s.run_id == v.run_id).where(v.adapter_id == adapter_id)
    key = t.metric_key.c
    return list(connection.scalars(sa.select(key.name).where(key.id.in_(scored.union(logged))).order_by(key.name)))


def _from_null(value: float | None) -> float:
    """A stored number; NULL is NaN."""
    return math.nan if value is None else value
