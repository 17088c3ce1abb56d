"""The one place where connections open: one policy for SQLite, one translation of its errors.

SQLite's defaults are not safe enough for many writers, so every connection gets foreign keys, ``synchronous=FULL`` and
a busy timeout, and a writer takes its lock at BEGIN: a transaction that reads first and then upgrades to a writer fails
at once instead of waiting. The driver's own transaction handling is off, since it begins none for SELECT and DDL
(docs.sqlalchemy.org, "SQLite transactions").
"""

import errno
import functools
import json
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from .errors import (
    BusyError,
    ConflictError,
    DatabaseError,
    DiskFullError,
    NewSchemaError,
    NotARegistryError,
    OldSchemaError,
    ReadOnlyError,
    SettingsError,
)

REVISIONS: Final = ("0001",)
"""Every schema revision ever released, oldest first; this program needs the last."""

SCRIPTS: Final = "pointsman.migrations:."
"""Where Alembic finds the migrations, also inside a wheel."""

BUSY_SECONDS: Final = 60

# Releases before 3.51.3 can corrupt a database in WAL mode when two connections write or checkpoint at once
# (sqlite.org/wal.html#walresetbug).
JOURNAL_MODE: Final = "WAL" if sqlite3.sqlite_version_info >= (3, 51, 3) else "DELETE"

_ERRORS: Final[dict[str, tuple[type[DatabaseError], str]]] = {
    "SQLITE_BUSY": (BusyError, f"other processes held it for {BUSY_SECONDS} s; try again, or look for one that hangs"),
    "SQLITE_LOCKED": (BusyError, "other connections hold it; try again"),
    "SQLITE_READONLY": (ReadOnlyError, "it cannot be written; check its permissions and its directory's"),
    "SQLITE_PERM": (ReadOnlyError, "no permission; check its permissions and its directory's"),
    "SQLITE_CANTOPEN": (ReadOnlyError, "it cannot be opened; check that its directory exists and can be written"),
    "SQLITE_FULL": (DiskFullError, "no space is left on its disk; free some and try again, nothing was half-written"),
    "SQLITE_NOTADB": (NotARegistryError, "it is not a SQLite database"),
    "SQLITE_CORRUPT": (NotARegistryError, "SQLite finds it damaged; restore a backup"),
    "SQLITE_IOERR": (DatabaseError, "the disk could not be read or written"),
}


class Database:
    """A registry's database: opens connections, and knows the schema it needs.

    Args:
        path: The SQLite file; it and its directory are made if they do not exist.
        upgrade: Bring an older release's database up to date, after a backup, instead of refusing it.

    Raises:
        NotARegistryError: The file is something else.
        OldSchemaError, NewSchemaError: Another release of pointsman made it.
    """

    def __init__(self, path: Path, *, upgrade: bool = False) -> None:
        self.path = path
        self.backup: Path | None = None
        """Where the database is as it was before it was upgraded, if it was."""
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            connect_args={"timeout": BUSY_SECONDS},
            # As many connections as there are threads at work: SQLite's own lock is the only queue.
            max_overflow=-1,
            # Python would write NaN, which is no JSON and which SQLite's JSON functions refuse.
            json_serializer=functools.partial(json.dumps, allow_nan=False),
        )
        sa.event.listen(self._engine, "connect", _configure)
        sa.event.listen(self._engine, "begin", _begin)
        try:
            self._open(upgrade)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database throughout."""
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that holds the write lock from its start; commits at the end, rolls back on any error."""
        with (
            self._translated(),
            self._engine.connect().execution_options(pointsman_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    def check_writable(self) -> None:
        """Raise now what a later write would raise: ReadOnlyError, BusyError."""
        with self.writing() as connection:
            # BEGIN IMMEDIATE alone succeeds on a read-only database.
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")

    def revision(self) -> str | None:
        """The schema revision of the file, or None where it holds no table at all.

        Raises:
            NotARegistryError: It holds other tables.
        """
        with self.reading() as connection:
            names = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
            if not names:
                return None
            if not {"alembic_version", "version_file"} <= names:
                raise NotARegistryError(
                    f"{self.path} is a SQLite database, but not a registry: found the tables "
                    f"{', '.join(sorted(names)[:5])}; name another home"
                )
            revisions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
            if len(revisions) != 1:
                raise NotARegistryError(
                    f"{self.path} names {len(revisions)} schema revisions instead of one: restore a backup"
                )
            return str(revisions[0])

    def upgrade(self) -> None:
        """Bring the schema to the newest revision, in one transaction: all of it happens, or nothing."""
        # Alembic takes longer to import than everything else here together, and is needed once in a database's life.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", SCRIPTS)
        with (
            self._translated(),
            self._engine.connect().execution_options(pointsman_write=True) as connection,
            _without_foreign_keys(connection),
            connection.begin(),
        ):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all():
                raise DatabaseError(f"the upgrade of {self.path} would orphan rows of the table {broken[0][0]}")

    def _open(self, upgrade: bool) -> None:
        try:
            if not self.path.exists():
                self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else ReadOnlyError
            raise kind(f"the directory {self.path.parent} cannot be made: {error.strerror}") from error
        revision = self.revision()
        if revision is None:
            # Two processes may come here at once: the second waits for the first's lock and finds nothing left to do.
            self.upgrade()
        elif revision in REVISIONS[:-1] and upgrade:
            self.backup = self._back_up(revision)
            self.upgrade()
        elif revision in REVISIONS[:-1]:
            raise OldSchemaError(
                f"{self.path} has schema {revision}, this pointsman needs {REVISIONS[-1]}; upgrade it "
                f"(a backup is made first): registry --home {shlex.quote(str(self.path.parent))} db upgrade"
            )
        elif revision != REVISIONS[-1]:
            raise NewSchemaError(
                f"{self.path} has schema {revision}, newer than this pointsman's {REVISIONS[-1]}: upgrade pointsman"
            )

    def _back_up(self, revision: str) -> Path:
        """Copy the database as it is at one moment, also while others write, to a new file beside it."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        path = self.path.with_name(f"{self.path.name}.{revision}.{stamp}.backup")
        with self._translated(), self._engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            with closing(sqlite3.connect(path)) as copy:
                raw.backup(copy)
        return path

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise SettingsError(f"text has to be valid Unicode: {error}") from error
        except OverflowError as error:
            raise SettingsError(f"whole numbers have to fit 64 bits: {error}") from error
        except sa.exc.IntegrityError as error:
            raise ConflictError(f"it contradicts what {self.path} holds: {error.orig}") from error
        except sa.exc.DBAPIError as error:
            # Extended codes carry the primary one as a prefix: SQLITE_READONLY_DIRECTORY, SQLITE_IOERR_FSYNC.
            code = getattr(error.orig, "sqlite_errorname", "")
            for prefix, (kind, advice) in _ERRORS.items():
                if code.startswith(prefix):
                    raise kind(f"the database {self.path} cannot be used: {advice} ({error.orig})") from error
            raise DatabaseError(f"the database {self.path} cannot be used: {error.orig}") from error
        except sa.exc.StatementError as error:
            # Not the database's doing: a value could not be brought into the form that it stores.
            raise SettingsError(f"settings and the like have to be plain JSON: {error.orig}") from error


@contextmanager
def _without_foreign_keys(connection: sa.Connection) -> Iterator[None]:
    """Let a migration make a table anew without deleting all rows that hang on the old one.

    The pragma does nothing inside a transaction: this goes around it.
    """
    connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        if not connection.invalidated:  # by KeyboardInterrupt: then it is closed already
            connection.connection.cursor().execute("PRAGMA foreign_keys = ON")


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA journal_mode = {JOURNAL_MODE}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    options: Any = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("pointsman_write") else "BEGIN")
