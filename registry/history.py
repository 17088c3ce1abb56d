"""Metric histories, whole or thinned out: functions over an open transaction."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from . import tables as t
from .buckets import SIZES
from .errors import MetricNotFoundError, unknown
from .points import key_id
from .records import MetricPoint, VersionPoint
from .summaries import summaries

_FEW: Final = 16
"""Buckets across the ends of a window: of a series in order, there is one at each end."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which points of a series are asked for; both ends belong to it."""

    first_step: int | None = None
    last_step: int | None = None
    since: float | None = None
    """Seconds since 1970-01-01 UTC."""
    until: float | None = None

    def of_points(self) -> list[sa.ColumnElement[bool]]:
        """The conditions on a point."""
        p = t.metric_point.c
        return self._within(p.step, p.step, p.wall_time, p.wall_time)

    def touches(self) -> list[sa.ColumnElement[bool]]:
        """The conditions on a bucket that may hold points of the window."""
        b = t.metric_bucket.c
        return self._within(b.first_step, b.last_step, b.first_time, b.last_time)

    def holds(self, bucket: Any) -> bool:
        """Whether all points of a bucket are in the window."""
        return (
            (self.first_step is None or bucket.first_step >= self.first_step)
            and (self.last_step is None or bucket.last_step <= self.last_step)
            and (self.since is None or bucket.first_time >= self.since)
            and (self.until is None or bucket.last_time <= self.until)
        )

    def _within(
        self,
        first_step: sa.Column[int],
        last_step: sa.Column[int],
        first_time: sa.Column[float],
        last_time: sa.Column[float],
    ) -> list[sa.ColumnElement[bool]]:
        where: list[sa.ColumnElement[bool]] = []
        if self.first_step is not None:
            where.append(last_step >= self.first_step)
        if self.last_step is not None:
            where.append(first_step <= self.last_step)
        if self.since is not None:
            where.append(last_time >= self.since)
        if self.until is not None:
            where.append(first_time <= self.until)
        return where


class _Series(NamedTuple):
    """The points of one metric of one run, by their rows."""

    run: int
    key: int


_p = t.metric_point.c
_OF_SERIES = sa.select(_p.step, _p.value, _p.epoch, _p.wall_time).where(
    _p.run_id == sa.bindparam("run"), _p.key_id == sa.bindparam("key")
)
_POINTS = _OF_SERIES.order_by(_p.step, _p.seq)
_LAST = _OF_SERIES.order_by(_p.step.desc(), _p.seq.desc()).limit(1)
_SERIES = (
    sa.select(t.metric_summary.c.key_id, t.metric_summary.c.count.label("length"))
    .join(t.metric_key, t.metric_summary.c.key_id == t.metric_key.c.id)
    .where(t.metric_summary.c.run_id == sa.bindparam("run"), t.metric_key.c.name == sa.bindparam("name"))
)


# The least and the greatest value come first, to be compared; then each with its point, in the order of MetricPoint.
_b = t.metric_bucket.c
_BUCKETS = sa.select(
    *(_b.min, _b.max),
    *(_b.min_step, _b.min.label("least"), _b.min_epoch, _b.min_time),
    *(_b.max_step, _b.max.label("greatest"), _b.max_epoch, _b.max_time),
    *(_b.nan_step, _b.nan_epoch, _b.nan_time),
    *(_b.bucket, _b.first_step, _b.last_step, _b.first_time, _b.last_time),
)
_LEAST, _GREATEST = itemgetter(0), itemgetter(1)


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
    series, count = _Series(run, found.key_id), found.length
    where = window.of_points()
    if max_points is None or count <= max_points:
        return _raw(connection, series, where)
    if where:
        points = _raw(connection, series, where, limit=max_points + 1)
        if len(points) <= max_points:
            return points
    else:
        points = _raw(connection, series, limit=1)
    ends = [points[0], *_raw(connection, series, where, last=True)]
    return _thinned(connection, series, window, max_points - 2, ends=ends)


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


def _raw(
    connection: sa.Connection,
    series: _Series,
    where: Collection[sa.ColumnElement[bool]] = (),
    *,
    limit: int | None = None,
    last: bool = False,
) -> list[MetricPoint]:
    query = (_LAST if last else _POINTS).where(*where) if where else (_LAST if last else _POINTS)
    rows = connection.execute(query if limit is None else query.limit(limit), series._asdict())
    return [
        MetricPoint(step, math.nan if value is None else value, epoch, wall_time)
        for step, value, epoch, wall_time in rows.all()
    ]


def _thinned(
    connection: sa.Connection, series: _Series, window: Window, max_points: int, *, ends: list[MetricPoint]
) -> list[MetricPoint]:
    """The extremes of a window that has more points than ``max_points``, and its ends."""
    b = t.metric_bucket.c
    query = _BUCKETS.where(b.run_id == series.run, b.key_id == series.key, *window.touches()).order_by(b.bucket)
    level = len(SIZES) - 1
    rows = connection.execute(query.where(b.level == level)).all()
    # A level has at most 16 times the rows of the one above: this never reads many more rows than it needs.
    while level > 0 and 2 * len(rows) < max_points:
        level -= 1
        rows = connection.execute(query.where(b.level == level)).all()
    whole, part = _divided(rows, window)
    if 2 * len(rows) < max_points or len(part) > _FEW:
        # Not even the smallest buckets tell enough: then there are so few points that these can be read themselves.
        # Or the steps go to and fro, and most buckets lie across the window's ends.
        found = _raw(connection, series, window.of_points())
    else:
        found = [point for row in part for point in _part(connection, series, window, level, row)]
        nans = any(row.nan_step is not None for row in whole)
        stretches = max(1, max_points // (3 if nans else 2))
        width = -(-len(whole) // stretches) if whole else 1
        for start in range(0, len(whole), width):
            found += _points_of(whole[start : start + width])
    found = _decimated(sorted(found, key=_by_step), max_points)
    # The ends come after: they need not be extremes of anything.
    return sorted(dict.fromkeys([ends[0], *found, ends[-1]]), key=_by_step)


def _divided(rows: Sequence[Any], window: Window) -> tuple[Sequence[Any], Sequence[Any]]:
    """The buckets that lie wholly in the window, and those that do only in part."""
    if window == Window():
        return rows, ()
    return [row for row in rows if window.holds(row)], [row for row in rows if not window.holds(row)]


def _part(connection: sa.Connection, series: _Series, window: Window, level: int, bucket: Any) -> list[MetricPoint]:
    """The extremes of those points of a bucket that are in the window: found in the buckets below it."""
    if level == 0:
        first = bucket.bucket * SIZES[0]
        # One range of steps, not two: SQLite looks up one of them, and goes through all that it holds.
        within = replace(
            window,
            first_step=max(bucket.first_step, window.first_step or 0),
            last_step=min(bucket.last_step, bucket.last_step if window.last_step is None else window.last_step),
        )
        inside = (_p.seq >= first, _p.seq < first + SIZES[0])
        return _decimated(_raw(connection, series, [*within.of_points(), *inside]), 3)
    b = t.metric_bucket.c
    times = SIZES[level] // SIZES[level - 1]
    below = (b.level == level - 1, b.bucket >= bucket.bucket * times, b.bucket < (bucket.bucket + 1) * times)
    rows = connection.execute(
        _BUCKETS.where(b.run_id == series.run, b.key_id == series.key, *below, *window.touches())
    ).all()
    whole, part = _divided(rows, window)
    found = _points_of(whole)
    for row in part:
        found += _part(connection, series, window, level - 1, row)
    return _decimated(found, 3)


def _points_of(buckets: Sequence[Any]) -> list[MetricPoint]:
    """The least, the greatest and a missing value of some buckets, as points."""
    numbers = [row for row in buckets if row[0] is not None]
    found = []
    if numbers:
        found.append(MetricPoint(*min(numbers, key=_LEAST)[2:6]))
        found.append(MetricPoint(*max(numbers, key=_GREATEST)[6:10]))
    missing = next((row for row in buckets if row.nan_step is not None), None)
    if missing is not None:
        found.append(MetricPoint(missing.nan_step, math.nan, missing.nan_epoch, missing.nan_time))
    return found


def _decimated(points: Sequence[MetricPoint], count: int) -> list[MetricPoint]:
    """The extremes of stretches of a few points that are at hand."""
    if len(points) <= count:
        return list(points)
    nans = any(math.isnan(point.value) for point in points)
    stretches = max(1, count // (3 if nans else 2))
    width = -(-len(points) // stretches)
    kept: list[MetricPoint] = []
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        numbers = [point for point in stretch if not math.isnan(point.value)]
        chosen = [min(numbers, key=_by_value), max(numbers, key=_by_value)] if numbers else []
        chosen += [point for point in stretch if math.isnan(point.value)][:1]
        kept += sorted(dict.fromkeys(chosen), key=_by_step)
    return kept


def _by_step(point: MetricPoint) -> tuple[int, float]:
    return point.step, point.wall_time


def _by_value(point: MetricPoint) -> float:
    return point.value


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
