"""Where the extremes of a series lie, for stretches of three sizes: so a picture costs what its width costs."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..records import LoggedPoint

SIZES: Final = (64, 1_024, 16_384)
"""Points in a bucket, by level."""


def buckets(points: Sequence[LoggedPoint], seq: int) -> Iterator[list[Any]]:
    """The buckets that points fall into whose first is number ``seq`` of its series, as rows without their run and key.

    A bucket that held points before is merged with these in the database, see ``merged``.
    """
    stretch, extremes = (-1, -1), []
    for level, size in enumerate(SIZES):
        for bucket in range(seq // size, (seq + len(points) - 1) // size + 1):
            wanted = max(0, bucket * size - seq), min(len(points), (bucket + 1) * size - seq)
            if wanted != stretch:
                stretch, extremes = wanted, _extremes(points[slice(*wanted)])
            yield [level, bucket, *extremes]


def _extremes(points: Sequence[LoggedPoint]) -> list[Any]:
    """The columns of a bucket that holds these points, in the order of the table."""
    _, steps, values, epochs, times = zip(*points, strict=True)
    numbers = [value for value in values if not math.isnan(value)]
    found: list[Any] = [min(steps), max(steps), min(times), max(times)]
    for extreme in (min(numbers, default=None), max(numbers, default=None)):
        if extreme is None:
            found += [None] * 4
        else:
            first = values.index(extreme)
            found += [extreme, steps[first], epochs[first], times[first]]
    if len(numbers) == len(values):
        return [*found, None, None, None]
    missing = next(place for place, value in enumerate(values) if math.isnan(value))
    return [*found, steps[missing], epochs[missing], times[missing]]


def merged(new: Any) -> dict[str, sa.ColumnElement[Any]]:
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
