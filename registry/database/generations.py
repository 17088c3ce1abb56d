"""Generations of the store: functions over an open transaction.

Before files of new versions are stored, the database and then the store get a new random token. A store whose token a
database does not have was written to by another copy of that database: its newer versions are in no row here.
"""

import secrets

import sqlalchemy as sa

from . import tables as t

_g = t.generation.c


def begin_generation(connection: sa.Connection) -> str:
    """Add a new token to the database, and return it."""
    token = secrets.token_hex(16)
    connection.execute(t.generation.insert().values(token=token))
    return token


def newest_generation(connection: sa.Connection) -> str | None:
    """Return the token that was added last; None if nothing was ever stored."""
    return connection.scalar(sa.select(_g.token).order_by(_g.id.desc()).limit(1))


def has_generation(connection: sa.Connection, token: str) -> bool:
    """Whether the database has a token."""
    return connection.scalar(sa.select(_g.id).where(_g.token == token)) is not None
