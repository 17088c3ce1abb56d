"""A series thinned out: the extremes of its stretches, found in the buckets that are kept about it."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import filterfalse
from operator import itemgetter
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ..database import tables as t
from ..database.backends import listed
from ..records import MetricPoint
from .buckets import SIZES
from .series import Series, Window, as_points, read

_Item = TypeVar("_Item")

_FEW: Final = 16
"""Buckets across the ends of a window: of a series in order, there is one at each end."""

_b = t.metric_bucket.c
_LEAST, _GREATEST, _MISSING = range(3)
_POINTS: Final = (
    (_b.min_step, _b.min, _b.min_epoch, _b.min_time),
    (_b.max_step, _b.max, _b.max_epoch, _b.max_time),
    (_b.nan_step, sa.null(), _b.nan_epoch, _b.nan_time),
)
"""The columns of a bucket's three points, in the order of ``MetricPoint``."""
_TOUCHED: Final = (_b.bucket, _b.min, _b.max, _b.nan_step.is_not(None).label("missing"))
by_step: Final = itemgetter(MetricPoint._fields.index("step"), MetricPoint._fields.index("wall_time"))
"""What points are sorted by."""
_by_value: Final = itemgetter(MetricPoint._fields.index("value"))
_min, _max, _missing, _whole = (itemgetter(place) for place in range(1, 5))


def thinned(connection: sa.Connection, series: Series, window: Window, max_points: int) -> list[MetricPoint]:
    """At most ``max_points`` points, by step, of a window that has more: of each stretch the least and the greatest
    and, where there is one, a NaN.
    """
    buckets = _Buckets(connection, series, window)
    level = len(SIZES) - 1
    rows = buckets.touched(level)
    # Two points come from a bucket, and half of what may be is enough. A level has at most 16 times the rows of the
    # one above: this never reads many more than it needs.
    while level > 0 and 4 * len(rows) < max_points:
        level -= 1
        rows = buckets.touched(level, rows)
    part = list(filterfalse(_whole, rows))
    if 4 * len(rows) < max_points or len(part) > _FEW:
        # Even the smallest buckets tell too little: then there are so few points that these can be read themselves.
        # Or the steps go to and fro, and most buckets lie across the window's ends.
        return _decimated(read(connection, series, window.of_points()), max_points)
    whole = list(filter(_whole, rows)) if part else rows
    stretches = max(1, max_points // (3 if any(map(_missing, whole)) else 2))
    found = buckets.extremes(level, _split(whole, stretches))
    for row in part:
        found += buckets.of_part(level, row)
    return _decimated(sorted(found, key=by_step), max_points)


class _Buckets:
    """Reads the buckets of a series that touch a window, no wider than is needed of so many rows."""

    def __init__(self, connection: sa.Connection, series: Series, window: Window) -> None:
        self.connection = connection
        self.series = series
        self.window = window

    def touched(self, level: int, above: Sequence[Any] = ()) -> Sequence[Any]:
        """The buckets of a level in order, or those below some of the level above: ``bucket``, ``min``, ``max``,
        whether a value is ``missing``, and whether the ``whole`` bucket is in the window.
        """
        query = sa.select(*_TOUCHED, self.window.holds().label("whole"))
        query = query.where(*self._of_level(level), *self.window.touches())
        if above:
            times = SIZES[level + 1] // SIZES[level]
            query = query.where(_b.bucket >= above[0].bucket * times, _b.bucket < (above[-1].bucket + 1) * times)
        return self.connection.execute(query.order_by(_b.bucket)).all()

    def extremes(self, level: int, stretches: Iterable[Sequence[Any]]) -> list[MetricPoint]:
        """The least, the greatest and a missing value of each of some stretches of buckets, as points."""
        chosen = [one for stretch in stretches for one in _chosen(stretch)]
        if not chosen:
            return []
        columns = [column.label(None) for point in _POINTS for column in point]
        rows = self.connection.execute(
            sa.select(_b.bucket, *columns).where(
                *self._of_level(level), _b.bucket.in_(listed(self.connection, {bucket for bucket, _ in chosen}))
            )
        )
        by_bucket = {row.bucket: row[1:] for row in rows.all()}
        return as_points(by_bucket[bucket][4 * kind : 4 * kind + 4] for bucket, kind in chosen)

    def of_part(self, level: int, bucket: Any) -> list[MetricPoint]:
        """The extremes of those points of a bucket that are in the window: found in the buckets below it."""
        if level == 0:
            return _decimated(read(self.connection, self.series, self._inside(bucket)), 3)
        rows = self.touched(level - 1, [bucket])
        found = self.extremes(level - 1, [list(filter(_whole, rows))])
        for row in filterfalse(_whole, rows):
            found += self.of_part(level - 1, row)
        return _decimated(found, 3)

    def _of_level(self, level: int) -> tuple[sa.ColumnElement[bool], ...]:
        return _b.run_id == self.series.run, _b.key_id == self.series.key, _b.level == level

    def _inside(self, bucket: Any) -> list[sa.ColumnElement[bool]]:
        """The conditions on a point of one of the smallest buckets that is in the window."""
        of_bucket = (*self._of_level(0), _b.bucket == bucket.bucket)
        steps = self.connection.execute(sa.select(_b.first_step, _b.last_step).where(*of_bucket)).one()
        # One range of steps, not two: SQLite looks up one of them, and goes through all that it holds.
        first_step, last_step = self.window.first_step, self.window.last_step
        window = replace(
            self.window,
            first_step=max(steps.first_step, first_step or 0),
            last_step=steps.last_step if last_step is None else min(steps.last_step, last_step),
        )
        p, first = t.metric_point.c, bucket.bucket * SIZES[0]
        return [*window.of_points(), p.seq >= first, p.seq < first + SIZES[0]]


def _chosen(buckets: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """In which of these buckets the least and the greatest value and a missing one are: bucket and kind of point."""
    numbers = [row for row in buckets if _min(row) is not None]
    if numbers:
        yield min(numbers, key=_min).bucket, _LEAST
        yield max(numbers, key=_max).bucket, _GREATEST
    for row in filter(_missing, buckets):
        yield row.bucket, _MISSING
        break


def _split(items: Sequence[_Item], count: int) -> Iterator[Sequence[_Item]]:
    """At most ``count`` stretches of the same length, the last one shorter."""
    width = max(1, -(-len(items) // count))
    return (items[start : start + width] for start in range(0, len(items), width))


def _decimated(points: Sequence[MetricPoint], count: int) -> list[MetricPoint]:
    """The extremes of stretches of a few points that are at hand."""
    if len(points) <= count:
        return list(points)
    nans = any(map(math.isnan, map(_by_value, points)))
    kept: list[MetricPoint] = []
    for stretch in _split(points, max(1, count // (3 if nans else 2))):
        numbers = [point for point in stretch if not math.isnan(point.value)]
        chosen = [min(numbers, key=_by_value), max(numbers, key=_by_value)] if numbers else []
        chosen += [point for point in stretch if math.isnan(point.value)][:1]
        kept += sorted(dict.fromkeys(chosen), key=by_step)
    return kept
