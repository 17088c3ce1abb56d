"""Thinning: the extremes of a long series, read from its buckets.

The points of a window are divided into groups of equal length, and each group keeps its minimum, its maximum and its
first NaN. So a plot shows every spike and every failure, at any width. The extremes come from buckets; points are read
only where a bucket lies across an end of the window, or where the window has few points.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import filterfalse
from operator import itemgetter
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ..database import tables as t
from ..database.lists import select_numbers
from ..records import MetricPoint
from .buckets import SIZES
from .columns import Columns
from .series import Series, Window, check, read_columns, to_columns

_Item = TypeVar("_Item")

_MAX_CUT: Final = 16
"""Buckets that may lie across the ends of a window. Where the steps rise, one does at each end."""

_b = t.metric_bucket.c
_MIN, _MAX, _NAN = range(3)
_POINTS: Final = (
    (_b.min_step, _b.min, _b.min_epoch, _b.min_time),
    (_b.max_step, _b.max, _b.max_epoch, _b.max_time),
    (_b.nan_step, sa.null(), _b.nan_epoch, _b.nan_time),
)
"""The columns of a bucket's three points, in the order of ``MetricPoint``."""

_ROW: Final = (_b.bucket, _b.min, _b.max, _b.nan_step.is_not(None).label("has_nan"))
_WHOLE: Final[frozenset[type]] = frozenset({int})
_EXTREME: Final[frozenset[type]] = frozenset({float, int, type(None)})
_ROW_KINDS: Final = (_WHOLE, _EXTREME, _EXTREME)
_min, _max, _has_nan, _is_inside = (itemgetter(position) for position in range(1, 5))
"""Read a row by position: by name, SQLAlchemy's rows take eight times as long."""

by_step: Final = itemgetter(MetricPoint._fields.index("step"), MetricPoint._fields.index("wall_time"))
"""The key that points are sorted by."""


def thin(connection: sa.Connection, series: Series, window: Window, max_points: int) -> list[MetricPoint]:
    """The extremes of a window, sorted by step: at most ``max_points`` points, of a window that has more.

    Args:
        connection: A transaction.
        series: The series.
        window: The window.
        max_points: At least 3.
    """
    buckets = _BucketReader(connection, series, window)
    level = len(SIZES) - 1
    rows = buckets.overlapping(level)
    # A bucket gives two points, and half of max_points is fine enough: so max_points / 4 buckets are. Each level has at
    # most 16 times the buckets of the one above it, which bounds the rows that are read.
    while level > 0 and 4 * len(rows) < max_points:
        level -= 1
        rows = buckets.overlapping(level, rows)
    cut = list(filterfalse(_is_inside, rows))
    if 4 * len(rows) < max_points or len(cut) > _MAX_CUT:
        # Either the window has too few points for its buckets to be of use, so the points are cheap to read; or the
        # steps jump back and forth, and most buckets lie across an end of the window.
        return _thinned(read_columns(connection, series, window.contains_point()), max_points)
    inside = list(filter(_is_inside, rows)) if cut else rows
    groups = max(1, max_points // (3 if any(map(_has_nan, inside)) else 2))
    points = buckets.extremes(level, _split(inside, groups))
    for row in cut:
        points += buckets.extremes_of_cut(level, row)
    return _thin_points(sorted(points, key=by_step), max_points)


def thinned(points: Sequence[MetricPoint], max_points: int) -> list[MetricPoint]:
    """At most ``max_points`` of some points, at least 8: the first and the last, and the extremes between them."""
    if len(points) <= max_points:
        return list(points)
    return [points[0], *_thin_points(points[1:-1], max_points - 2), points[-1]]


class _BucketReader:
    """Reads the buckets of a series that overlap a window: few columns of many buckets, all columns of few."""

    def __init__(self, connection: sa.Connection, series: Series, window: Window) -> None:
        self.connection = connection
        self.series = series
        self.window = window

    def overlapping(self, level: int, parents: Sequence[Any] = ()) -> Sequence[Any]:
        """The buckets of a level that overlap the window, in order.

        Args:
            level: An index of ``SIZES``.
            parents: Only buckets in the range of these, which are of the level above.

        Returns:
            Rows ``(bucket, min, max, has_nan, is_inside)``; ``is_inside``: all points of the bucket are in the window.
        """
        query = sa.select(*_ROW, self.window.contains_bucket().label("is_inside"))
        query = query.where(*self._of_level(level), *self.window.overlaps_bucket())
        if parents:
            ratio = SIZES[level + 1] // SIZES[level]
            query = query.where(_b.bucket >= parents[0].bucket * ratio, _b.bucket < (parents[-1].bucket + 1) * ratio)
        rows = self.connection.execute(query.order_by(_b.bucket)).all()
        check(self.connection, self.series, rows, _ROW_KINDS)
        return rows

    def extremes(self, level: int, groups: Iterable[Sequence[Any]]) -> list[MetricPoint]:
        """The minimum, the maximum and the first NaN of each group of buckets, as points."""
        selected = [choice for group in groups for choice in _select(group)]
        if not selected:
            return []
        columns = [column.label(None) for point in _POINTS for column in point]
        rows = self.connection.execute(
            sa.select(_b.bucket, *columns).where(
                *self._of_level(level),
                _b.bucket.in_(select_numbers(self.connection, {bucket for bucket, _ in selected})),
            )
        )
        by_bucket = {row.bucket: row[1:] for row in rows.all()}
        chosen = [by_bucket[bucket][4 * kind : 4 * kind + 4] for bucket, kind in selected]
        return to_columns(self.connection, self.series, chosen).points()

    def extremes_of_cut(self, level: int, row: Any) -> list[MetricPoint]:
        """The extremes of those points of a bucket that are in the window, from the levels below and from points."""
        if level == 0:
            return _thinned(read_columns(self.connection, self.series, self._points_of_cut(row)), 3)
        rows = self.overlapping(level - 1, [row])
        points = self.extremes(level - 1, [list(filter(_is_inside, rows))])
        for child in filterfalse(_is_inside, rows):
            points += self.extremes_of_cut(level - 1, child)
        return _thin_points(points, 3)

    def _of_level(self, level: int) -> tuple[sa.ColumnElement[bool], ...]:
        return _b.run_id == self.series.run, _b.key_id == self.series.key, _b.level == level

    def _points_of_cut(self, row: Any) -> list[sa.ColumnElement[bool]]:
        """The conditions on the points of a bucket of level 0 that are in the window."""
        of_bucket = (*self._of_level(0), _b.bucket == row.bucket)
        steps = self.connection.execute(sa.select(_b.first_step, _b.last_step).where(*of_bucket)).one()
        check(self.connection, self.series, [steps], [_WHOLE, _WHOLE])
        # One range of steps instead of two, since SQLite uses only one for its index and scans the rows of that.
        first_step, last_step = self.window.first_step, self.window.last_step
        window = replace(
            self.window,
            first_step=max(steps.first_step, first_step or 0),
            last_step=steps.last_step if last_step is None else min(steps.last_step, last_step),
        )
        p, start = t.metric_point.c, row.bucket * SIZES[0]
        return [*window.contains_point(), p.seq >= start, p.seq < start + SIZES[0]]


def _select(rows: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """The buckets of a group that hold its extremes: pairs of a bucket's number and ``_MIN``, ``_MAX`` or ``_NAN``."""
    with_numbers = [row for row in rows if _min(row) is not None]
    if with_numbers:
        yield min(with_numbers, key=_min).bucket, _MIN
        yield max(with_numbers, key=_max).bucket, _MAX
    first_nan = next(filter(_has_nan, rows), None)
    if first_nan is not None:
        yield first_nan.bucket, _NAN


def _split(items: Sequence[_Item], count: int) -> Iterator[Sequence[_Item]]:
    """At most ``count`` groups of consecutive items, all of one length except the last."""
    length = max(1, -(-len(items) // count))
    return (items[start : start + length] for start in range(0, len(items), length))


def _thin_points(points: Sequence[MetricPoint], count: int) -> list[MetricPoint]:
    """At most ``count`` of these points: the extremes of groups of equal length."""
    return [points[place] for place in _places([point.value for point in points], count)]


def _thinned(columns: Columns, count: int) -> list[MetricPoint]:
    """The same of points in columns."""
    return columns.points_at(_places(columns.values, count))


def _places(values: Sequence[float], count: int) -> Iterable[int]:
    """The places of at most ``count`` values: the extremes of groups of equal length, and the first NaN of each."""
    if len(values) <= count:
        return range(len(values))
    has_nan = any(map(math.isnan, values))
    places: list[int] = []
    start = 0
    for group in _split(values, max(1, count // (3 if has_nan else 2))):
        numbers = [value for value in group if not math.isnan(value)] if has_nan else group
        extremes = {group.index(min(numbers)), group.index(max(numbers))} if numbers else set()
        if len(numbers) < len(group):
            extremes.add(next(place for place, value in enumerate(group) if math.isnan(value)))
        places += sorted(start + place for place in extremes)
        start += len(group)
    return places
