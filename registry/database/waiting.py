"""Wait for SQLite's write lock, so that Ctrl-C is seen and says what was waited for.

Python hands a signal on only when a call into SQLite returns, and that would wait for the whole of its busy timeout.
"""

import sqlite3
import time
from typing import Final

import sqlalchemy as sa

SLICE: Final = 1.0
"""Seconds of one wait inside SQLite."""


def begin_writing(connection: sa.Connection, seconds: float, label: str, *, wait: bool = True) -> None:
    """Begin a transaction that holds the write lock.

    Args:
        connection: Without an open transaction. After an error its busy timeout is undefined.
        seconds: How long to wait in all; also the busy timeout that the connection has afterwards.
        label: The database's name in messages.
        wait: Otherwise it waits for nothing, and only a later statement for ``seconds``.

    Raises:
        OperationalError: Another connection held the lock all the time, or the database cannot be written.
        KeyboardInterrupt: With a message, if it came while another connection held the lock.
    """
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    patience = seconds if wait else 0
    until = time.monotonic() + patience
    waited = False
    try:
        raw.execute(f"PRAGMA busy_timeout = {int(min(SLICE, patience) * 1000)}")
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                break
            except sa.exc.OperationalError as error:
                waited = True  # first of all: the signal may be seen at any call that follows
                # Extended codes carry the primary one in their lowest byte.
                if (
                    getattr(error.orig, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY
                    or time.monotonic() >= until
                ):
                    raise
        raw.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
    except KeyboardInterrupt as error:
        # During the first slice it is seen while SQLAlchemy handles the driver's error.
        if waited or isinstance(error.__context__, sqlite3.OperationalError):
            raise interrupted_wait(label) from error
        raise


def interrupted_wait(label: str) -> KeyboardInterrupt:
    """The interrupt of a wait for the write lock, with a message that ends "interrupted …"."""
    return KeyboardInterrupt(f"while waiting for another process that writes to the database {label}")
