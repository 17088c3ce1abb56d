"""Files that come and go while versions are written: no answer of an object store is waited for in a transaction.

A version's files are stored before the transaction that adds it. Meanwhile garbage collection may remove one of them,
which was there already and which no version needed. So it says in the table ``removal`` what it will remove, in a
transaction that also makes sure that no version needs it, and only then removes it. Whoever adds a version looks there
in his own transaction. If one of his files is named, he waits until it is removed, stores it anew, and tries again.
"""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeVar

import sqlalchemy as sa

from ..database import tables as t
from ..database.clock import clock
from ..database.database import Database
from ..database.lists import select_texts
from ..storage.bounded import LONGEST_REMOVAL

_T = TypeVar("_T")

REMOVING: Final = 30.0
"""Seconds in which garbage collection begins to remove what it has named."""

LEASE: Final = timedelta(seconds=REMOVING + LONGEST_REMOVAL + 30)
"""How long after it was named a file may still be removed, unless it is said to be done."""

KEPT: Final = timedelta(days=1)
"""How long a removal is remembered. A version whose files were stored before it and whose transaction begins after that
does not exist."""

_POLL: Final = 0.1


class _Removal(NamedTuple):
    at: datetime
    done: bool


def write_with_objects(
    database: Database, digests: Collection[str], store: Callable[[], None], write: Callable[[sa.Connection], _T]
) -> _T:
    """Store objects, and write to the database in a transaction in which all of them are certain to be stored.

    Args:
        database: The database.
        digests: The objects that the written rows name.
        store: Stores the objects that are missing; called again where one was removed meanwhile.
        write: Writes the rows.

    Returns:
        What ``write`` returns.
    """
    known: Mapping[str, _Removal] = {}
    while True:
        store()
        with database.writing() as connection:
            found = _removals(connection, digests)
            if found == known:
                # All were over before ``store`` was called, and none has begun since.
                connection.execute(_of(t.removal.delete(), connection, known))
                return write(connection)
        known = _wait_for(database, digests)


def name_removals(database: Database, digests: Collection[str]) -> set[str]:
    """Return those objects that no version needs, and say that they will be removed within ``REMOVING`` seconds."""
    f = t.version_file.c
    with database.writing() as connection:
        needed = connection.scalars(sa.select(f.sha256).where(f.sha256.in_(select_texts(connection, digests))))
        named = set(digests) - set(needed)
        at = clock(connection)
        connection.execute(t.removal.delete().where(t.removal.c.done, t.removal.c.at < at - KEPT))
        connection.execute(_of(t.removal.delete(), connection, named))
        if named:
            connection.execute(t.removal.insert(), [{"sha256": one, "at": at, "done": False} for one in named])
    return named


def end_removals(connection: sa.Connection, digests: Collection[str]) -> None:
    """Say that nothing more is being removed of what ``name_removals`` named."""
    connection.execute(_of(t.removal.update(), connection, digests).values(done=True))


_Statement = TypeVar("_Statement", sa.Delete, sa.Update)


def _of(statement: _Statement, connection: sa.Connection, digests: Collection[str]) -> _Statement:
    return statement.where(t.removal.c.sha256.in_(select_texts(connection, digests)))


def _removals(connection: sa.Connection, digests: Collection[str]) -> dict[str, _Removal]:
    query = sa.select(t.removal).where(t.removal.c.sha256.in_(select_texts(connection, digests)))
    return {row.sha256: _Removal(row.at, row.done) for row in connection.execute(query)}


def _wait_for(database: Database, digests: Collection[str]) -> Mapping[str, _Removal]:
    """Wait until every removal of these objects is over, and return them; a killed one is over with its lease."""
    while True:
        with database.reading() as connection:
            found, present = _removals(connection, digests), clock(connection)
        if all(removal.done or present - removal.at > LEASE for removal in found.values()):
            return found
        time.sleep(_POLL)
