"""Metric points on their way into the database: functions over an open transaction.

A run's points of one metric make a series, counted by ``seq`` in the order they were logged in. Three things are kept
in one transaction: the points, a summary of the series (``summaries``), and where its extremes lie (``buckets``).
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from itertools import chain
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..records import LoggedPoint
from .buckets import buckets, merged
from .summaries import columns, summaries, summed

_MOST_VALUES: Final = 999
"""Bound values in one statement, which any SQLite takes."""

_KEYS: Final = sa.select(t.metric_key.c.name, t.metric_key.c.id).where(
    t.metric_key.c.name.in_(sa.bindparam("names", expanding=True))
)


def key_ids(connection: sa.Connection, names: Iterable[str]) -> dict[str, int]:
    """The rows of metrics by name, made where they are not there."""
    names = set(names)
    found: dict[str, int] = dict(connection.execute(_KEYS, {"names": list(names)}).all())
    if missing := sorted(names - found.keys()):
        connection.execute(t.metric_key.insert(), [{"name": name} for name in missing])
        found = dict(connection.execute(_KEYS, {"names": list(names)}).all())
    return found


def key_id(name: str) -> sa.ScalarSelect[Any]:
    """The row of a metric, as a part of a statement; no row, nothing found."""
    return sa.select(t.metric_key.c.id).where(t.metric_key.c.name == name).scalar_subquery()


def metric_names(connection: sa.Connection) -> list[str]:
    """Every metric that was ever logged or scored."""
    return list(connection.scalars(sa.select(t.metric_key.c.name).order_by(t.metric_key.c.name)))


def insert_points(connection: sa.Connection, run: int, points: Sequence[LoggedPoint], *, stored: bool = False) -> None:
    """Add points to a run's history, in the order they were logged in, with all that is kept about them.

    Args:
        connection: A transaction.
        run: The run's row.
        points: The points.
        stored: They are in the database already, with the numbers that they would get: add only what is kept about
            them.
    """
    series: dict[str, list[LoggedPoint]] = {}
    for point in points:
        series.setdefault(point.key, []).append(point)
    keys = key_ids(connection, series)
    known = {summary.key: summary for summary in summaries(connection, run, keys.values())}
    rows: dict[sa.Table, list[tuple[Any, ...]]] = {t.metric_point: [], t.metric_summary: [], t.metric_bucket: []}
    for key, logged in series.items():
        before = known.get(key)
        seq = 0 if before is None else before.count
        rows[t.metric_point] += [
            (run, keys[key], step, number, epoch, time, None if math.isnan(value) else value)
            for number, (_, step, value, epoch, time) in enumerate(logged, seq)
        ]
        rows[t.metric_summary].append((run, keys[key], *columns(summed(before, logged))))
        rows[t.metric_bucket] += [(run, keys[key], *bucket) for bucket in buckets(logged, seq)]
    if stored:
        del rows[t.metric_point]
    for table, values in rows.items():
        _put(connection, table, values)


def _put(connection: sa.Connection, table: sa.Table, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows, whose values come in the order of the table's columns, or merge them with those that are there.

    A point has no value that SQLAlchemy would have to convert; so it compiles the statement once, and is not asked
    about each of a thousand rows.
    """
    statement = _statement(table, connection.dialect.name)
    if statement.names is not None:
        connection.exec_driver_sql(statement.one, [dict(zip(statement.names, row, strict=True)) for row in rows])
        return
    rest = len(rows) % statement.rows
    for start in range(0, len(rows) - rest, statement.rows):
        connection.exec_driver_sql(statement.many, tuple(chain.from_iterable(rows[start : start + statement.rows])))
    if rest:
        connection.exec_driver_sql(statement.one, rows[-rest:])


class _Statement(NamedTuple):
    """An insert of one row, and one of many, which costs SQLite half of many inserts of one.

    ``names`` are the parameters' where the driver wants these by name; such a driver sends many rows at once by itself.
    """

    one: str
    many: str
    rows: int
    names: list[str] | None


@cache
def _statement(table: sa.Table, dialect: str) -> _Statement:
    # Only the dialect that is in use is imported: that of PostgreSQL takes its time.
    module: Any = import_module(f"sqlalchemy.dialects.{dialect}")
    statement = module.insert(table)
    if table is not t.metric_point:
        kept = [column.name for column in table.c if not column.primary_key]
        new = statement.excluded
        changes = merged(new) if table is t.metric_bucket else {name: new[name] for name in kept}
        statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changes)
    driver = module.psycopg.dialect() if dialect == "postgresql" else module.dialect()
    compiled = statement.compile(dialect=driver)
    one, names, rows = str(compiled), [column.name for column in table.c], _MOST_VALUES // len(table.c)
    if not compiled.positional:
        return _Statement(one, one, 1, names)
    row = f"({', '.join('?' for _ in names)})"
    return _Statement(one, one.replace(row, ", ".join([row] * rows), 1), rows, None)
