"""Buckets: the extremes of consecutive points of a series, at three sizes.

The points ``64 * n`` to ``64 * n + 63`` of a series are bucket ``n`` of level 0; levels 1 and 2 have buckets of 1,024
and 16,384 points. Each bucket keeps its minimum, its maximum and its first NaN, each with step, epoch and time, and the
range of its steps and times. A plot of a long series reads buckets instead of points (see ``thinning``), so its cost
depends on its width and not on the length of the series.
"""

import math
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from .columns import Columns

SIZES: Final = (64, 1_024, 16_384)
"""Points in a bucket, by level."""


def to_bucket_rows(points: Columns, start: int) -> Iterator[list[Any]]:
    """The bucket rows of new points of one series, without their run and key.

    A row of ``metric_bucket`` that exists already is merged with the new one by ``merged_columns``.

    Args:
        points: The new points, in the order they were logged.
        start: The ``seq`` of the first one.

    Yields:
        ``[level, bucket, first_step, …]`` in the order of the table's columns.
    """
    covered, columns, count = (-1, -1), [], len(points.steps)
    for level, size in enumerate(SIZES):
        for bucket in range(start // size, (start + count - 1) // size + 1):
            span = max(0, bucket * size - start), min(count, (bucket + 1) * size - start)
            if span != covered:  # a few points are often one bucket's on every level
                covered, columns = span, _columns(points.part(*span))
            yield [level, bucket, *columns]


def _columns(points: Columns) -> list[Any]:
    """The columns of a bucket of exactly these points, in the order of the table."""
    (steps, values, epochs, times), numbers = points, points.numbers()
    columns: list[Any] = [min(steps), max(steps), min(times), max(times)]
    for extreme in (min(numbers, default=None), max(numbers, default=None)):
        if extreme is None:
            columns += [None] * 4
        else:
            first = values.index(extreme)
            columns += [extreme, steps[first], epochs[first], times[first]]
    if len(numbers) == len(values):
        return [*columns, None, None, None]
    first_nan = next(index for index, value in enumerate(values) if math.isnan(value))
    return [*columns, steps[first_nan], epochs[first_nan], times[first_nan]]


def merged_columns(new: Any) -> dict[str, sa.ColumnElement[Any]]:
    """The columns of a stored bucket after a merge with ``new``, the row of later points; of equal extremes, the
    earlier point stays.
    """
    b = t.metric_bucket.c
    columns: dict[str, sa.ColumnElement[Any]] = {
        "first_step": sa.case((new.first_step < b.first_step, new.first_step), else_=b.first_step),
        "last_step": sa.case((new.last_step > b.last_step, new.last_step), else_=b.last_step),
        "first_time": sa.case((new.first_time < b.first_time, new.first_time), else_=b.first_time),
        "last_time": sa.case((new.last_time > b.last_time, new.last_time), else_=b.last_time),
    }
    for name, replaced in (
        ("min", b.min.is_(None) | (new.min < b.min)),
        ("max", b.max.is_(None) | (new.max > b.max)),
        ("nan", b.nan_step.is_(None)),
    ):
        for column in (name, f"{name}_step", f"{name}_epoch", f"{name}_time"):
            if column != "nan":  # a NaN has no column of its own: its value is known
                columns[column] = sa.case((replaced, new[column]), else_=b[column])
    return columns
