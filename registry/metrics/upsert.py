"""Bulk inserts that update the rows which exist already."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import chain
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

_MAX_VALUES: Final = 999
"""Bound values in one statement: the default limit of SQLite before 3.32 (sqlite.org/limits.html)."""

Merge = Callable[[Any], Mapping[str, sa.ColumnElement[Any]]]
"""From the row that an insert would add (SQL's ``excluded``), the new values of the row that is there, by column."""


def upsert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]], merge: Merge | None = None
) -> None:
    """Insert rows, or update those whose primary key exists.

    The statement is compiled once a process and goes to the driver as text. No value here needs a conversion by
    SQLAlchemy, which would otherwise look at each value of thousands of rows.

    Args:
        connection: A transaction.
        table: The table.
        rows: Values in the order of the table's columns.
        merge: How a row that exists is updated; None where no row can exist yet.
    """
    statement = _statement(table, connection.dialect.name, merge)
    if statement.names is not None:
        connection.exec_driver_sql(statement.single, [dict(zip(statement.names, row, strict=True)) for row in rows])
        return
    remainder = len(rows) % statement.batch
    for start in range(0, len(rows) - remainder, statement.batch):
        batch = rows[start : start + statement.batch]
        connection.exec_driver_sql(statement.multiple, tuple(chain.from_iterable(batch)))
    if remainder:
        connection.exec_driver_sql(statement.single, list(rows[-remainder:]))


class _Statement(NamedTuple):
    """The text of one insert. In SQLite, an insert of many rows takes half the time of many inserts of one."""

    single: str
    """Inserts one row."""
    multiple: str
    """Inserts ``batch`` rows."""
    batch: int
    names: list[str] | None
    """The parameters' names where the driver takes them by name; such a driver sends many rows at once by itself."""


@cache
def _statement(table: sa.Table, dialect: str, merge: Merge | None) -> _Statement:
    # Imported by name, so that SQLite's users do not wait for PostgreSQL's dialect.
    module: Any = import_module(f"sqlalchemy.dialects.{dialect}")
    statement = module.insert(table)
    if merge is not None:
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key.columns), set_=merge(statement.excluded)
        )
    driver = module.psycopg.dialect() if dialect == "postgresql" else module.dialect()
    compiled = statement.compile(dialect=driver)
    single, names, batch = str(compiled), [column.name for column in table.c], _MAX_VALUES // len(table.c)
    if not compiled.positional:
        return _Statement(single, single, 1, names)
    row = f"({', '.join('?' for _ in names)})"
    return _Statement(single, single.replace(row, ", ".join([row] * batch), 1), batch, None)
