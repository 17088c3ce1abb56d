"""Read the points of one series, of all its steps or of a window."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..database.shape import damaged
from ..records import MetricPoint


class Series(NamedTuple):
    """One metric of one run, by their row ids."""

    run: int
    key: int


@dataclass(frozen=True, kw_only=True)
class Window:
    """A range of steps and a range of times, both ends included; None leaves an end open.

    Examples:
        >>> window = Window(first_step=1_000, last_step=1_999)
    """

    first_step: int | None = None
    last_step: int | None = None
    since: float | None = None
    """Seconds since 1970-01-01 UTC."""
    until: float | None = None
    """Seconds since 1970-01-01 UTC."""

    def contains_point(self) -> list[sa.ColumnElement[bool]]:
        """The conditions under which a point is in the window."""
        p = t.metric_point.c
        return self._conditions(p.step, p.step, p.wall_time, p.wall_time)

    def overlaps_bucket(self) -> list[sa.ColumnElement[bool]]:
        """The conditions under which a bucket may have points in the window."""
        b = t.metric_bucket.c
        return self._conditions(b.first_step, b.last_step, b.first_time, b.last_time)

    def contains_bucket(self) -> sa.ColumnElement[bool]:
        """The condition under which all points of a bucket are in the window."""
        b = t.metric_bucket.c
        return sa.and_(sa.true(), *self._conditions(b.last_step, b.first_step, b.last_time, b.first_time))

    def _conditions(
        self,
        low_step: sa.Column[int],
        high_step: sa.Column[int],
        low_time: sa.Column[float],
        high_time: sa.Column[float],
    ) -> list[sa.ColumnElement[bool]]:
        """Conditions on the columns that are compared with the upper (``low``) and the lower (``high``) ends."""
        conditions: list[sa.ColumnElement[bool]] = []
        if self.first_step is not None:
            conditions.append(high_step >= self.first_step)
        if self.last_step is not None:
            conditions.append(low_step <= self.last_step)
        if self.since is not None:
            conditions.append(high_time >= self.since)
        if self.until is not None:
            conditions.append(low_time <= self.until)
        return conditions


_p = t.metric_point.c
_OF_SERIES = sa.select(_p.step, _p.value, _p.epoch, _p.wall_time).where(
    _p.run_id == sa.bindparam("run"), _p.key_id == sa.bindparam("key")
)
_BY_STEP = _OF_SERIES.order_by(_p.step, _p.seq)
_LAST = _OF_SERIES.order_by(_p.step.desc(), _p.seq.desc()).limit(1)


def read_points(
    connection: sa.Connection,
    series: Series,
    where: Collection[sa.ColumnElement[bool]] = (),
    *,
    limit: int | None = None,
    last: bool = False,
) -> list[MetricPoint]:
    """The points of a series, sorted by step; points of one step in the order they were logged.

    Args:
        connection: A transaction.
        series: The series.
        where: Conditions on ``metric_point``.
        limit: At most this many, from the lowest step on.
        last: Only the last point.
    """
    query = _LAST if last else _BY_STEP
    if where:
        query = query.where(*where)
    if limit is not None:
        query = query.limit(limit)
    return to_points(connection, series, connection.execute(query, series._asdict()).all())


def to_points(connection: sa.Connection, series: Series, rows: Iterable[Any]) -> list[MetricPoint]:
    """Records from rows ``(step, value, epoch, wall_time)``; a NULL value is NaN.

    Raises:
        DamagedRowError: A row cannot be read.
    """
    points = [
        MetricPoint(step, math.nan if value is None else value, epoch, wall_time)
        for step, value, epoch, wall_time in rows
    ]
    check(connection, series, points, _POINT)
    return points


_NUMBER: Final[frozenset[type]] = frozenset({float, int})
_POINT: Final[tuple[frozenset[type], ...]] = (frozenset({int}), _NUMBER, _NUMBER | {type(None)}, _NUMBER)


def check(
    connection: sa.Connection, series: Series, rows: Sequence[Sequence[Any]], kinds: Sequence[frozenset[type]]
) -> None:
    """Refuse rows of a series that have a value of another type than SQLite was given.

    Args:
        connection: A transaction.
        series: The series.
        rows: The rows.
        kinds: The types that the values of each column may have.

    Raises:
        DamagedRowError: There is one; the message names the run and the metric.
    """
    for place, kind in enumerate(kinds):
        # A column at a time: there may be millions of rows, and this takes a tenth of what reading them takes.
        values = map(itemgetter(place), rows)
        if set(map(type, values)) <= kind:
            continue
        wrong = next(value for value in map(itemgetter(place), rows) if type(value) not in kind)
        what = "a value is missing" if wrong is None else f"{wrong!a:.40} is not a number"
        raise damaged(f"the metric {_name(connection, series)}", what)


def _name(connection: sa.Connection, series: Series) -> str:
    """How messages name a series."""
    uid = connection.scalar(sa.select(t.run.c.uid).where(t.run.c.id == series.run))
    key = connection.scalar(sa.select(t.metric_key.c.name).where(t.metric_key.c.id == series.key))
    return f"{key} of run:{uid}"
