"""The points of one metric of one run, read as they are."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..records import MetricPoint


class Series(NamedTuple):
    """One metric of one run, by their rows."""

    run: int
    key: int


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

    def holds(self) -> sa.ColumnElement[bool]:
        """The condition on a bucket all of whose points are in the window."""
        b = t.metric_bucket.c
        return sa.and_(sa.true(), *self._within(b.last_step, b.first_step, b.last_time, b.first_time))

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


_p = t.metric_point.c
_OF_SERIES = sa.select(_p.step, _p.value, _p.epoch, _p.wall_time).where(
    _p.run_id == sa.bindparam("run"), _p.key_id == sa.bindparam("key")
)
_POINTS = _OF_SERIES.order_by(_p.step, _p.seq)
_LAST = _OF_SERIES.order_by(_p.step.desc(), _p.seq.desc()).limit(1)


def read(
    connection: sa.Connection,
    series: Series,
    where: Collection[sa.ColumnElement[bool]] = (),
    *,
    limit: int | None = None,
    last: bool = False,
) -> list[MetricPoint]:
    """Points by step, or only the last one; ``where`` are conditions on ``metric_point``."""
    query = _LAST if last else _POINTS
    if where:
        query = query.where(*where)
    if limit is not None:
        query = query.limit(limit)
    return as_points(connection.execute(query, series._asdict()).all())


def as_points(rows: Iterable[Any]) -> list[MetricPoint]:
    """Points from ``(step, value, epoch, wall_time)``; no value is NaN."""
    return [
        MetricPoint(step, math.nan if value is None else value, epoch, wall_time)
        for step, value, epoch, wall_time in rows
    ]
