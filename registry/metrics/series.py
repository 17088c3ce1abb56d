"""Read the points of one series, of all its steps or of a window."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..database.shape import damaged
from ..database.tuples import fetch_tuples
from ..records import MetricPoint
from .columns import Columns


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
_OF_KEY = sa.and_(_p.run_id == sa.bindparam("run"), _p.key_id == sa.bindparam("key"))
_OF_SERIES = sa.select(_p.step, _p.value, _p.epoch, _p.wall_time).where(_OF_KEY)
_BY_STEP = _OF_SERIES.order_by(_p.step, _p.seq)
_FIRST = _BY_STEP.limit(1)
_LAST = _OF_SERIES.order_by(_p.step.desc(), _p.seq.desc()).limit(1)


def read_points(
    connection: sa.Connection,
    series: Series,
    where: Collection[sa.ColumnElement[bool]] = (),
    *,
    last: bool = False,
    first: bool = False,
) -> list[MetricPoint]:
    """The points of a series, sorted by step; points of one step in the order they were logged.

    Args:
        connection: A transaction.
        series: The series.
        where: Conditions on ``metric_point``.
        last: Only the last point.
        first: Only the first point.
    """
    query = _LAST if last else _FIRST if first else _BY_STEP
    return _columns(connection, series, query.where(*where)).points()


def has_more(connection: sa.Connection, series: Series, where: Collection[sa.ColumnElement[bool]], count: int) -> bool:
    """Whether a series has more than ``count`` points that meet conditions on ``metric_point``; reads no value."""
    query = sa.select(sa.true()).where(_OF_KEY, *where).offset(count).limit(1)
    return connection.scalar(query, series._asdict()) is not None


def read_columns(connection: sa.Connection, series: Series, where: Collection[sa.ColumnElement[bool]] = ()) -> Columns:
    """The points of a series as columns, in the order of ``read_points``."""
    return _columns(connection, series, _BY_STEP.where(*where))


def _columns(connection: sa.Connection, series: Series, query: sa.Select[Any]) -> Columns:
    return to_columns(connection, series, fetch_tuples(connection, query, series._asdict()))


def to_columns(connection: sa.Connection, series: Series, rows: Sequence[Any]) -> Columns:
    """Columns from rows ``(step, value, epoch, wall_time)``; a NULL value is NaN.

    Raises:
        DamagedRowError: A row cannot be read.
    """
    columns = check(connection, series, rows, _POINT)
    if None in columns[1]:
        columns[1] = [math.nan if value is None else value for value in columns[1]]
    return Columns(*columns)


_NUMBER: Final[frozenset[type]] = frozenset({float, int})
_OPTIONAL: Final = _NUMBER | {type(None)}
_POINT: Final[tuple[frozenset[type], ...]] = (frozenset({int}), _OPTIONAL, _OPTIONAL, _NUMBER)


def check(
    connection: sa.Connection, series: Series, rows: Sequence[Sequence[Any]], kinds: Sequence[frozenset[type]]
) -> list[list[Any]]:
    """Refuse rows of a series that have a value of another type than SQLite was given.

    Args:
        connection: A transaction.
        series: The series.
        rows: The rows.
        kinds: The types that the values of each column may have.

    Returns:
        The columns that were checked.

    Raises:
        DamagedRowError: There is one; the message names the run and the metric.
    """
    # A column at a time: there may be millions of rows, and this takes a tenth of what reading them takes.
    columns = [list(map(itemgetter(place), rows)) for place in range(len(kinds))]
    for column, kind in zip(columns, kinds, strict=True):
        if set(map(type, column)) <= kind:
            continue
        wrong = next(value for value in column if type(value) not in kind)
        what = "a value is missing" if wrong is None else f"{wrong!a:.40} is not a number"
        raise damaged(f"the metric {_name(connection, series)}", what)
    return columns


def _name(connection: sa.Connection, series: Series) -> str:
    """How messages name a series."""
    uid = connection.scalar(sa.select(t.run.c.uid).where(t.run.c.id == series.run))
    key = connection.scalar(sa.select(t.metric_key.c.name).where(t.metric_key.c.id == series.key))
    return f"{key} of run:{uid}"
