"""Faults of a database and a store: what a bad disk does to a value, past every check of SQLite's, and to a file."""

import os
import random
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple


class Place(NamedTuple):
    """A column of one row; the primary key identifies the row."""

    table: str
    column: str
    key: dict[str, Any]


def loosen(path: Path) -> None:
    """Let any value be written into any column, as a bad disk does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'")


def columns(path: Path) -> dict[str, list[str]]:
    """The columns of every table of a registry."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master "
            "WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name != 'alembic_version'"
        ).fetchall()
        return {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for (name,) in names}


def places(path: Path, seed: int) -> Iterator[Place]:
    """Every column of every table, each of a row of its own choice."""
    chance = random.Random(seed)
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        for table, names in columns(path).items():
            keys = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            for column in names:
                full = [row for row in rows if row[column] is not None]
                if full:
                    row = chance.choice(full)
                    yield Place(table, column, {key: row[key] for key in keys})


def write(path: Path, place: Place, value: object) -> bool:
    """Put a value into a place; whether SQLite can store it there at all, as it cannot in its own keys."""
    kind = "CAST(? AS TEXT)" if isinstance(value, memoryview) else "?"
    where = " AND ".join(f"{key} IS ?" for key in place.key)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        statement = f"UPDATE {place.table} SET {place.column} = {kind} WHERE {where}"
        try:
            return connection.execute(statement, [value, *place.key.values()]).rowcount == 1
        except sqlite3.IntegrityError:
            return False


def read(path: Path, place: Place) -> Any:
    """The value in a place."""
    where = " AND ".join(f"{key} IS ?" for key in place.key)
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        query = f"SELECT {place.column} FROM {place.table} WHERE {where}"
        return connection.execute(query, [*place.key.values()]).fetchone()[0]


def flipped(value: Any, chance: random.Random) -> Any:
    """A value with one bit flipped; text may become text that is none, which is passed on as a ``memoryview``."""
    if isinstance(value, int):
        return value ^ (1 << chance.randrange(40))
    content = bytearray(value if isinstance(value, bytes) else str(value).encode())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return memoryview(bytes(content))


DAMAGED: dict[str, Any] = {
    "missing": None,
    "no text": memoryview(b"a\xff\xfe"),
    "a blob": b"\x00\x01\xff",
    "a text": "neither a number nor a time",
    "a number": 7.5,
    "empty": "",
    "half a document": '{"name": "ss',
    "a list": "[1, 2]",
    "deep": "[" * 100_000,
}
"""What may stand in a column that holds something else."""


NO_FILES = ("directory", "pipe", "socket", "device")
"""What can have a file's name and is none."""


def replace_with(kind, path):
    """Put one of ``NO_FILES`` where a file is."""
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening, tempfile.TemporaryDirectory() as short:
            listening.bind(f"{short}/socket")  # its path is short, whatever the directory of the test
            shutil.move(f"{short}/socket", path)
    else:
        path.symlink_to(os.devnull)
