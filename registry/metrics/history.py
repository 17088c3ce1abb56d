"""Metric histories of runs, and across the versions of an adapter: functions over an open transaction."""

import math

import sqlalchemy as sa

from ..database import tables as t
from ..errors import MetricNotFoundError, unknown
from ..records import MetricPoint, VersionPoint
from .points import key_id
from .series import Series, Window, read
from .summaries import summaries
from .thinning import by_step, thinned

_SERIES = (
    sa.select(t.metric_summary.c.key_id, t.metric_summary.c.count.label("length"))
    .join(t.metric_key, t.metric_summary.c.key_id == t.metric_key.c.id)
    .where(t.metric_summary.c.run_id == sa.bindparam("run"), t.metric_key.c.name == sa.bindparam("name"))
)


def history(
    connection: sa.Connection, run: int, metric: str, window: Window, *, max_points: int | None = None
) -> list[MetricPoint]:
    """Points of one metric of a run, in the order of their steps.

    Args:
        connection: A transaction.
        run: The run's row.
        metric: The metric's name.
        window: Which of the points.
        max_points: If there are more, at most so many of them, 8 or more: of each stretch the least and the greatest
            and, where there is one, a NaN; and the first and the last of all.

    Raises:
        MetricNotFoundError: The run has no such metric; the message lists those it has.
    """
    found = connection.execute(_SERIES, {"run": run, "name": metric}).first()
    if found is None:
        raise unknown(MetricNotFoundError, "metric", metric, [summary.key for summary in summaries(connection, run)])
    series, count = Series(run, found.key_id), found.length
    where = window.of_points()
    if max_points is None or count <= max_points:
        return read(connection, series, where)
    if where:
        points = read(connection, series, where, limit=max_points + 1)
        if len(points) <= max_points:
            return points
    else:
        points = read(connection, series, limit=1)
    ends = [points[0], *read(connection, series, where, last=True)]
    inner = thinned(connection, series, window, max_points - 2)
    # The ends need not be extremes of anything.
    return sorted(dict.fromkeys([ends[0], *inner, ends[-1]]), key=by_step)


def across(connection: sa.Connection, adapter_id: int, metric: str) -> list[VersionPoint]:
    """How a metric moved from version to version of an adapter, by number; only versions that have it."""
    v, m, s = t.version.c, t.version_metric.c, t.metric_summary.c
    rows = connection.execute(
        sa.select(v.number, m.value, m.key_id, s.last, s.min, s.max, s.key_id.label("logged"), v.created_at)
        .select_from(t.version)
        .outerjoin(t.version_metric, (m.version_id == v.id) & (m.key_id == key_id(metric)))
        .outerjoin(t.metric_summary, (s.run_id == v.run_id) & (s.key_id == key_id(metric)))
        .where(v.adapter_id == adapter_id, m.key_id.is_not(None) | s.key_id.is_not(None))
        .order_by(v.number)
    )
    return [
        VersionPoint(
            number=row.number,
            value=_nan(row.last if row.key_id is None else row.value),
            min=None if row.logged is None else _nan(row.min),
            max=None if row.logged is None else _nan(row.max),
            created_at=row.created_at,
        )
        for row in rows
    ]


def metrics_across(connection: sa.Connection, adapter_id: int) -> list[str]:
    """The metrics that any version of an adapter has."""
    v, m, s = t.version.c, t.version_metric.c, t.metric_summary.c
    scored = sa.select(m.key_id).join(t.version, m.version_id == v.id).where(v.adapter_id == adapter_id)
    logged = sa.select(s.key_id).join(t.version, s.run_id == v.run_id).where(v.adapter_id == adapter_id)
    key = t.metric_key.c
    return list(connection.scalars(sa.select(key.name).where(key.id.in_(scored.union(logged))).order_by(key.name)))


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
