"""The backends, one for each kind of database: SQLite for one machine, PostgreSQL for a team.

Both follow one policy. A reader sees one state of the database from its first statement to its last. A writer holds the
registry's write lock from its start, so writers run one after the other. Version numbers without gaps, compare-and-swap
and unique rows depend on this policy.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import sqlalchemy as sa

from ..errors import (
    Action,
    Advice,
    BusyError,
    ConflictError,
    DatabaseError,
    DiskFullError,
    NotARegistryError,
    PointsmanError,
    ReadOnlyError,
    SettingsError,
)
from .damaged import read_json, read_text, write_json
from .waiting import begin_writing, interrupted_wait

BUSY_SECONDS: Final = 60

WAL_IS_SAFE: Final = sqlite3.sqlite_version_info >= (3, 51, 3)
"""Whether this SQLite may write in WAL mode: earlier ones can corrupt a database when two connections write or
checkpoint at once (sqlite.org/wal.html#walresetbug)."""

WRITE: Final = "pointsman_write"
"""The execution option of a connection that will write: True, ``ROW`` or ``HINT``."""

_KEPT_JOURNAL: Final = 1 << 20
"""Bytes of a rollback journal that stay on the disk between transactions."""

ROW: Final = "row"
"""What a connection will write that changes one row without reading others: it need not wait for other writers."""

HINT: Final = "hint"
"""What a connection will write that may as well stay unwritten: where another one writes, it fails at once."""


def _to_server_json(value: Any) -> str:
    """Serialise for a driver that does so while it executes: SQLAlchemy does not wrap an error that is raised there."""
    try:
        return write_json(value)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"settings and the like must be plain JSON: {error}") from error


_Errors = dict[str, tuple[type[PointsmanError], str]]


class Backend(Protocol):
    """One kind of database."""

    label: str
    """The name in messages, never with a password."""
    can_lose_answers: bool
    """Whether a commit may succeed and look like one that failed."""

    def connect(self) -> sa.Engine:
        """Return an engine whose transactions follow the policy."""

    def tables(self, connection: sa.Connection) -> set[str]:
        """Return the names of all tables."""

    def rebuilding_tables(self, connection: sa.Connection) -> Any:
        """Return a context in which a migration may replace tables; the connection must not be in a transaction."""

    def problems(self, connection: sa.Connection) -> list[str]:
        """Return the problems that the database's own checks report."""

    def translate(self, error: sa.exc.DBAPIError) -> PointsmanError:
        """Return the error to raise for an error of the driver."""


class Sqlite:
    """A SQLite file.

    SQLite's defaults are unsafe with many writers, so every connection gets foreign keys, ``synchronous=FULL`` and a
    busy timeout. A writer takes its lock at BEGIN: a transaction that reads first and writes later fails at once
    instead of waiting for the lock. The driver's own transaction handling is off, since it begins no transaction for
    SELECT and DDL (docs.sqlalchemy.org, "SQLite transactions").

    The database keeps a rollback journal, also where SQLite is free of the bug that ``WAL_IS_SAFE`` is about. The mode
    is a property of the file: a process with an older SQLite that has it open follows when another one turns WAL mode
    on. A file that comes in WAL mode is changed back as soon as no other process has it open.

    A commit overwrites the header of the journal, and SQLite waits until that is on the disk. If it removed the journal
    instead, with ``synchronous=FULL`` it would not wait for the directory: after a loss of power the journal could be
    there again, and undo a transaction that was committed. To make a file takes longer than to overwrite one, too.
    """

    _ERRORS: Final[_Errors] = {
        "SQLITE_BUSY": (
            BusyError,
            f"other processes held it for {BUSY_SECONDS} s; try again, or look for a process that hangs",
        ),
        "SQLITE_LOCKED": (BusyError, "other connections hold it; try again"),
        "SQLITE_READONLY": (ReadOnlyError, "it cannot be written; check its permissions and its directory's"),
        "SQLITE_PERM": (ReadOnlyError, "no permission; check its permissions and its directory's"),
        "SQLITE_CANTOPEN": (ReadOnlyError, "it cannot be opened; check that its directory exists and can be written"),
        "SQLITE_FULL": (
            DiskFullError,
            "no space is left on its disk; free some and try again, nothing was half-written",
        ),
        "SQLITE_NOTADB": (NotARegistryError, "it is not a SQLite database"),
        "SQLITE_CORRUPT": (NotARegistryError, "SQLite reports that it is damaged; restore a backup"),
        "SQLITE_IOERR": (DatabaseError, "the disk could not be read or written"),
    }

    can_lose_answers = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)

    def connect(self) -> sa.Engine:
        """Return an engine whose transactions follow the policy."""
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(self.path)),
            connect_args={"timeout": BUSY_SECONDS},
            # One connection a thread, without a limit: SQLite's own lock is the only queue.
            max_overflow=-1,
            json_serializer=write_json,
            json_deserializer=read_json,
        )
        sa.event.listen(engine, "do_connect", self._open)
        sa.event.listen(engine, "connect", self._configure)
        sa.event.listen(engine, "begin", self._begin)
        return engine

    def tables(self, connection: sa.Connection) -> set[str]:
        """Return the names of all tables."""
        return set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())

    @contextmanager
    def rebuilding_tables(self, connection: sa.Connection) -> Iterator[None]:
        """Let a migration replace a table without deleting the rows of other tables that refer to it.

        SQLite ignores the pragma inside a transaction, so this context encloses the transaction.
        """
        connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")
        try:
            yield
        finally:
            if not connection.invalidated:  # KeyboardInterrupt invalidates it: it is closed then
                connection.connection.cursor().execute("PRAGMA foreign_keys = ON")

    @staticmethod
    def copy(connection: sa.Connection, path: Path) -> None:
        """Copy the database with SQLite's online backup: consistent also while others write."""
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        try:
            with closing(sqlite3.connect(path)) as copy:
                raw.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # the mode is copied too
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, sqlite3.Error):  # from the driver itself: SQLAlchemy has not wrapped it
                raise sa.exc.OperationalError("backup", None, error) from error
            raise

    def problems(self, connection: sa.Connection) -> list[str]:
        """Run SQLite's integrity check and its check of foreign keys."""
        problems = [
            str(line) for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars() if line != "ok"
        ]
        for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            # The rows of a table WITHOUT ROWID have no number.
            place = "" if row is None else f" ({row})"
            problems.append(f"a row of the table {table}{place} points to a missing row of {parent}")
        return problems

    def translate(self, error: sa.exc.DBAPIError) -> PointsmanError:
        """Return the error to raise for an error of the driver."""
        # Extended codes carry the primary one as a prefix: SQLITE_READONLY_DIRECTORY, SQLITE_IOERR_FSYNC.
        code = getattr(error.orig, "sqlite_errorname", "")
        for prefix, (kind, advice) in self._ERRORS.items():
            if code.startswith(prefix):
                return kind(f"the database {self.label} cannot be used: {advice} ({error.orig})")
        return DatabaseError(f"the database {self.label} cannot be used: {error.orig}")

    @staticmethod
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.text_factory = read_text
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA journal_size_limit = {_KEPT_JOURNAL}")
        _keep_journal(cursor)
        cursor.close()

    def _open(self, dialect: Any, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
        """Open a connection; to a file in WAL mode on a read-only disk, as to one that cannot change.

        SQLite needs two more files to read in WAL mode (sqlite.org/wal.html#readonly). Only SQLite opens the file: any
        other descriptor would release this process's locks when it is closed (sqlite.org/howtocorrupt.html, 2.2).
        """
        connection = dialect.connect(*arguments, **options)
        try:
            connection.execute("PRAGMA journal_mode").fetchone()  # reads the header
        except sqlite3.OperationalError as error:
            # Extended codes carry the primary one in their lowest byte.
            unreadable = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if not unreadable or not self.path.is_file() or os.access(self.path.parent, os.W_OK):
                connection.close()
                raise
            changes = Path(f"{self.path}-wal")
            if changes.exists() and changes.stat().st_size:
                connection.close()
                raise ReadOnlyError(
                    f"the database {self.label} cannot be read: it is in WAL mode, its newest changes are in "
                    f"{changes.name}, and its directory cannot be written; copy both files to one that can"
                ) from error
            connection.close()
            return dialect.connect(f"{self.path.absolute().as_uri()}?immutable=1", **options, uri=True)
        return connection

    def _begin(self, connection: sa.Connection) -> None:
        options: Any = connection.get_execution_options()
        if not options.get(WRITE):
            connection.exec_driver_sql("BEGIN")
            return
        try:
            begin_writing(connection, BUSY_SECONDS, self.label, wait=options[WRITE] != HINT)
        except BaseException:
            connection.invalidate()  # its busy timeout may be short now
            raise
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        if WAL_IS_SAFE or raw.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            return
        # Another process has changed the mode since this connection was opened, or held the file then.
        connection.exec_driver_sql("ROLLBACK")
        if not _keep_journal(raw):
            raise BusyError(
                f"the database {self.label} cannot be written: another process has it open in WAL mode, in which "
                f"SQLite {sqlite3.sqlite_version} could corrupt it; end that process, or use a Python with SQLite "
                "3.51.3 or newer"
            )
        self._begin(connection)


def _keep_journal(connection: Any) -> bool:
    """Let a connection, or its cursor, keep a rollback journal between transactions; return whether it does.

    A database in WAL mode is changed, unless another process has it open or it cannot be written.
    """
    try:
        return bool(connection.execute("PRAGMA journal_mode = PERSIST").fetchone()[0] != "wal")
    except sqlite3.OperationalError:
        return False


class Postgres:
    """A PostgreSQL database, or one schema of it, by URL; needs the extra ``postgres``.

    A writer takes an advisory lock of its schema first (postgresql.org, "Advisory Locks"), as it does in SQLite with
    BEGIN IMMEDIATE. A reader's transaction is REPEATABLE READ and read-only.
    """

    _ERRORS: Final[_Errors] = {
        "55P03": (BusyError, f"another process held its write lock for {BUSY_SECONDS} s; try again"),
        "40": (BusyError, "it conflicts with another transaction; try again"),
        "25006": (ReadOnlyError, "it is read-only"),
        "42501": (ReadOnlyError, "this user lacks a permission: grant it, or name another user in the URL"),
        "53100": (DiskFullError, "no space is left on its disk; free some and try again, nothing was half-written"),
        "22003": (SettingsError, "whole numbers must fit 64 bits"),
        "22": (SettingsError, "a value cannot be stored"),
    }

    _LIMITS: Final = {"connect_timeout": 10, "tcp_user_timeout": 30_000}
    """Seconds and milliseconds after which a server that does not answer is given up, unless the URL says otherwise."""

    can_lose_answers = True

    def __init__(self, url: sa.URL) -> None:
        self.url = url.set(drivername="postgresql+psycopg")
        self.label = url.render_as_string(hide_password=True)

    def connect(self) -> sa.Engine:
        """Return an engine whose transactions follow the policy."""
        try:
            # The ping before use replaces a connection that the server has closed meanwhile.
            engine = sa.create_engine(
                self.url,
                connect_args={name: value for name, value in self._LIMITS.items() if name not in self.url.query},
                pool_pre_ping=True,
                max_overflow=-1,
                json_serializer=_to_server_json,
                json_deserializer=read_json,
            )
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"{self.label} needs the PostgreSQL driver, which is not installed",
                advice=Advice(Action.INSTALL_EXTRA, {"extra": "postgres"}),
            ) from error
        sa.event.listen(engine, "begin", self._begin)
        return engine

    def tables(self, connection: sa.Connection) -> set[str]:
        """Return the names of all tables in the first schema of the search path."""
        query = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        return set(connection.exec_driver_sql(query).scalars())

    @contextmanager
    def rebuilding_tables(self, connection: sa.Connection) -> Iterator[None]:
        """Do nothing: PostgreSQL alters tables in place."""
        yield

    def problems(self, connection: sa.Connection) -> list[str]:
        """Return no problems: PostgreSQL enforces foreign keys, and checks the checksums of its pages when it reads."""
        return []

    def translate(self, error: sa.exc.DBAPIError) -> PointsmanError:
        """Return the error to raise for an error of the driver."""
        lines = str(error.orig).strip().splitlines()
        text = lines[0] if lines else type(error.orig).__name__
        state = getattr(error.orig, "sqlstate", None) or ""
        if state == "P0001":  # raised by a trigger, as the one that keeps the log append-only
            return ConflictError(f"the change contradicts the rows of {self.label}: {text}")
        for prefix, (kind, advice) in self._ERRORS.items():
            if state.startswith(prefix):
                return kind(f"the database {self.label} cannot be used: {advice} ({text})")
        # The driver itself refuses some values, such as text with a NUL, before it sends them.
        kind = SettingsError if isinstance(error, sa.exc.DataError) else DatabaseError
        return kind(f"the database {self.label} cannot be used: {text}")

    def _begin(self, connection: sa.Connection) -> None:
        options: Any = connection.get_execution_options()
        if options.get(WRITE):
            seconds = 0.001 if options[WRITE] == HINT else BUSY_SECONDS  # 0 has no end
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{seconds}s'")
            if options[WRITE] == ROW:
                return
            try:
                connection.exec_driver_sql(
                    "SELECT pg_advisory_xact_lock(hashtextextended('pointsman ' || current_schema(), 0))"
                )
            except KeyboardInterrupt as error:
                raise interrupted_wait(self.label) from error
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def backend(database: str | Path) -> Backend:
    """Return the backend of a path or a URL.

    Raises:
        SettingsError: The URL is malformed, or its database is not supported.
    """
    if isinstance(database, Path):
        return Sqlite(database.absolute())
    if "://" not in database:
        return Sqlite(Path(database).absolute())
    try:
        url = sa.make_url(database)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise SettingsError("the database's URL cannot be read: write postgresql://user@host/name") from error
    name = url.drivername.partition("+")[0]
    if name == "sqlite" and url.database:
        return Sqlite(Path(url.database).absolute())
    if name in ("postgresql", "postgres"):
        return Postgres(url)
    raise SettingsError(
        f"the database {url.render_as_string(hide_password=True)} is of a kind that is not supported: "
        "use postgresql://user@host/name or sqlite:///PATH"
    )
