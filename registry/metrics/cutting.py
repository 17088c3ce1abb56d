"""Cut a run's history off after a step: functions over an open transaction.

A training that resumes from a checkpoint repeats the steps after it. Their earlier points go first, and summaries,
buckets and numbers become what they would be if those points had never been logged.
"""

from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..records import LoggedPoint
from .points import insert_points
from .series import Series, to_columns

_CHUNK: Final = 10_000
"""Points in memory at a time."""

_p = t.metric_point.c
_METRICS: Final = (
    sa.select(t.metric_key.c.name, t.metric_key.c.id)
    .join(t.metric_summary, t.metric_summary.c.key_id == t.metric_key.c.id)
    .where(t.metric_summary.c.run_id == sa.bindparam("run"))
)


def cut(connection: sa.Connection, run: int, last_step: int) -> None:
    """Remove the points of all steps after ``last_step`` from all series of a run.

    Args:
        connection: A transaction.
        run: The run's row id.
        last_step: The last step that stays; -1 removes all points.
    """
    for name, key in connection.execute(_METRICS, {"run": run}).all():
        series = Series(run, key)
        removed = (*_of_series(t.metric_point, series), _p.step > last_step)
        first_removed = connection.scalar(sa.select(sa.func.min(_p.seq)).where(*removed))
        if first_removed is not None:
            connection.execute(t.metric_point.delete().where(*removed))
            _renumber(connection, series, first_removed)
            _rebuild(connection, series, name)


def _renumber(connection: sa.Connection, series: Series, first_gap: int) -> None:
    """Number the remaining points from 0 without gaps; ``first_gap`` is the lowest number that is free."""
    in_series = _of_series(t.metric_point, series)
    highest = connection.scalar(sa.select(sa.func.max(_p.seq)).where(*in_series))
    if highest is None or highest < first_gap:
        return  # the steps were rising, so the points removed were the last ones
    numbered = (
        sa.select(_p.step, _p.seq, (sa.func.row_number().over(order_by=_p.seq) - 1).label("number"))
        .where(*in_series)
        .subquery()
    )
    # Through negative numbers: a database checks the primary key after every row, and a new number may still be the old
    # one of a row that comes later.
    same_point = (_p.step == numbered.c.step, _p.seq == numbered.c.seq)
    connection.execute(t.metric_point.update().where(*in_series, *same_point).values(seq=-1 - numbered.c.number))
    connection.execute(t.metric_point.update().where(*in_series, _p.seq < 0).values(seq=-1 - _p.seq))


def _rebuild(connection: sa.Connection, series: Series, name: str) -> None:
    """Compute the summary and the buckets of a series anew from its points."""
    for table in (t.metric_summary, t.metric_bucket):
        connection.execute(table.delete().where(*_of_series(table, series)))
    points = sa.select(_p.step, _p.value, _p.epoch, _p.wall_time).where(*_of_series(t.metric_point, series))
    rows = connection.execute(
        points.order_by(_p.seq),
        # An option of this statement only: as the connection's, it would hold for every later statement, too.
        execution_options={"yield_per": _CHUNK},
    )
    for chunk in rows.partitions():
        insert_points(
            connection,
            series.run,
            [LoggedPoint(name, *point) for point in to_columns(connection, series, chunk).points()],
            stored=True,
        )


def _of_series(table: sa.Table, series: Series) -> tuple[sa.ColumnElement[Any], ...]:
    return table.c.run_id == series.run, table.c.key_id == series.key
