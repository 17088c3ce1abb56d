"""Cutting a run's history off after a step, as if nothing later had been logged: functions over an open transaction."""

from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..records import LoggedPoint
from .points import insert_points
from .series import Series, as_points

_CHUNK: Final = 10_000

_p = t.metric_point.c
_METRICS: Final = (
    sa.select(t.metric_key.c.name, t.metric_key.c.id)
    .join(t.metric_summary, t.metric_summary.c.key_id == t.metric_key.c.id)
    .where(t.metric_summary.c.run_id == sa.bindparam("run"))
)


def cut(connection: sa.Connection, run: int, last_step: int) -> None:
    """Remove the points of all steps after ``last_step``, and have all else say what it says without them.

    However long a series is, a chunk of it at a time is in memory.
    """
    for name, key in connection.execute(_METRICS, {"run": run}).all():
        series = Series(run, key)
        later = (*_of(t.metric_point, series), _p.step > last_step)
        first = connection.scalar(sa.select(sa.func.min(_p.seq)).where(*later))
        if first is not None:
            connection.execute(t.metric_point.delete().where(*later))
            _renumber(connection, series, first)
            _rebuild(connection, series, name)


def _renumber(connection: sa.Connection, series: Series, first: int) -> None:
    """Close the gaps in the numbers of a series, the first of which is ``first``."""
    whole = _of(t.metric_point, series)
    last = connection.scalar(sa.select(sa.func.max(_p.seq)).where(*whole))
    if last is None or last < first:
        return  # the steps rose, and what was removed was the end
    numbered = (
        sa.select(_p.step, _p.seq, (sa.func.row_number().over(order_by=_p.seq) - 1).label("number"))
        .where(*whole)
        .subquery()
    )
    # By way of numbers below 0, for a database checks after every row that no two of a step are of one number.
    below = (_p.step == numbered.c.step, _p.seq == numbered.c.seq)
    connection.execute(t.metric_point.update().where(*whole, *below).values(seq=-1 - numbered.c.number))
    connection.execute(t.metric_point.update().where(*whole, _p.seq < 0).values(seq=-1 - _p.seq))


def _rebuild(connection: sa.Connection, series: Series, name: str) -> None:
    """Make anew what is kept about the points of a series."""
    for table in (t.metric_summary, t.metric_bucket):
        connection.execute(table.delete().where(*_of(table, series)))
    rows = connection.execute(
        sa.select(_p.step, _p.value, _p.epoch, _p.wall_time).where(*_of(t.metric_point, series)).order_by(_p.seq),
        # Of this statement only: an option of the connection would hold for all that come after it.
        execution_options={"yield_per": _CHUNK},
    )
    for chunk in rows.partitions():
        insert_points(connection, series.run, [LoggedPoint(name, *point) for point in as_points(chunk)], stored=True)


def _of(table: sa.Table, series: Series) -> tuple[sa.ColumnElement[Any], ...]:
    return table.c.run_id == series.run, table.c.key_id == series.key
