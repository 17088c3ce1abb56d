"""The database: the only place that opens transactions, checks and upgrades the schema, and translates errors."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from ..errors import (
    Action,
    Advice,
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
from . import backends, forks
from . import tables as t
from .backends import HINT, ROW, WRITE, Sqlite, backend
from .events import RECORDED, last_recorded
from .outcome import Made, was_made
from .schema import schema_problems

REVISIONS: Final = ("0001", "0002", "0003", "0004")
"""Every released schema revision, oldest first; this program needs the last."""

DATABASE_NAME: Final = "registry.db"
"""The name of the file in a home."""

SCRIPTS: Final = "pointsman.migrations:."
"""The place of the migrations, for Alembic; valid inside a wheel too."""


class Database:
    """The database of a registry, in the schema that this release needs.

    After a fork, parent and child go on with connections of their own.

    Args:
        place: A SQLite file, created with its directory if it does not exist, or the URL of a PostgreSQL database.
        backups: The directory for the copy that is made before an upgrade; by default that of the SQLite file.
        upgrade: Upgrade the database of an older release, after a backup, instead of refusing it.
        create: Make the schema where there is none, instead of refusing.
        before_creation: Called with the label before tables are made in an empty database; it may refuse with
            NotARegistryError.

    Raises:
        NotARegistryError: The database is not a registry.
        OldSchemaError, NewSchemaError: Another release of pointsman created it.
        SettingsError: The URL is malformed, or its driver is not installed.

    Examples:
        >>> with closing(Database("registry.db")) as database, database.reading() as connection:
        ...     versions = connection.scalar(sa.select(sa.func.count()).select_from(tables.version))
    """

    def __init__(
        self,
        place: str | Path,
        *,
        backups: Path | None = None,
        upgrade: bool = False,
        create: bool = True,
        before_creation: Callable[[str], None] | None = None,
    ) -> None:
        self.backend = backend(place)
        self.label = self.backend.label
        """The name in messages: its path, or its URL without the password."""
        self.backup: Path | None = None
        """The copy from before the upgrade; None if the database was not upgraded."""
        self._backups = backups
        self._before_creation = before_creation
        self._identity: str | None = None
        self._engine = self.backend.connect()
        forks.watch(self)
        try:
            self._open(upgrade, create)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every pooled connection; a later transaction opens a new one."""
        self._engine.dispose()

    @property
    def identity(self) -> str:
        """The id of the registry that this is: 32 hexadecimal digits, the same in every copy of the database.

        Raises:
            NotARegistryError: It has none.
        """
        if self._identity is None:
            # Kept without a lock, which a fork could copy while another thread holds it.
            with self.reading() as connection:
                self._identity = connection.scalar(sa.select(t.identity.c.registry))
        if self._identity is None:
            raise NotARegistryError(f"{self.label} does not say which registry it is: restore a backup")
        return self._identity

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction that reads one state of the database."""
        with self._connecting(), self._engine.connect() as connection, connection.begin():
            yield connection

    def writing(self, made: Made | None = None) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that holds the write lock from its start; commit at the end, roll back on any error.

        Args:
            made: Tells whether the change was made, if it records no event. A server is asked for it, or for the event,
                where it did not answer the commit, so that no change is made twice; without both, such a commit counts
                as failed.
        """
        return self._writing(True, made)

    def writing_row(self) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that changes one row; on a server, it does not wait for the writers of other rows."""
        return self._writing(ROW)

    @contextmanager
    def writing_hint(self) -> Iterator[sa.Connection]:
        """Open a transaction that writes what nobody misses.

        Raises:
            BusyError: Another one writes just now; that is not waited for.
        """
        try:
            with self._writing(HINT) as connection:
                yield connection
        except BusyError as error:
            raise BusyError(f"another process writes to the database {self.label} just now; try again") from error

    @contextmanager
    def _writing(self, how: bool | str, made: Made | None = None) -> Iterator[sa.Connection]:
        with self._connecting(), self._connect(how) as connection:
            ended = False
            try:
                with connection.begin():
                    yield connection
                    ended = True
            except sa.exc.OperationalError as error:
                asked = made or last_recorded(connection)
                if not ended or asked is None or not self.backend.can_lose_answers:
                    raise
                if not self._was_made(asked, error):
                    raise

    def _connect(self, how: bool | str = True) -> sa.Connection:
        return self._engine.connect().execution_options(**{WRITE: how, RECORDED: []})

    def _was_made(self, made: Made, error: sa.exc.OperationalError) -> bool:
        """Whether a change was made whose commit ended with an error."""
        answer = was_made(self._connect, made, backends.BUSY_SECONDS)
        if answer is None:
            raise DatabaseError(
                f"the connection to the database {self.label} was lost during a commit, and for "
                f"{backends.BUSY_SECONDS} s it could not be asked whether the change was made: look before you "
                "make it again"
            ) from error
        return answer

    def check_writable(self) -> None:
        """Raise what a later write would raise.

        Raises:
            ReadOnlyError, BusyError: The database cannot be written.
        """
        with self.writing() as connection:
            # BEGIN IMMEDIATE alone succeeds on a read-only database.
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
            connection.rollback()

    def problems(self) -> list[str]:
        """Return what is missing of the schema, and what the database's own checks report: pages, indexes, keys."""
        with self.reading() as connection:
            return [*schema_problems(connection), *self.backend.problems(connection)]

    def revision(self) -> str | None:
        """Return the schema revision of the database, or None if it has no table.

        Raises:
            NotARegistryError: It has other tables.
        """
        with self.reading() as connection:
            names = self.backend.tables(connection)
            if not names:
                return None
            if not {"alembic_version", "version_file"} <= names:
                raise NotARegistryError(
                    f"{self.label} is a database, but not a registry: found the tables "
                    f"{', '.join(sorted(names)[:5])}; name another home"
                )
            revisions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
            if len(revisions) != 1:
                raise NotARegistryError(
                    f"{self.label} names {len(revisions)} schema revisions instead of one: restore a backup"
                )
            return str(revisions[0])

    def migrate(self, revision: str = "head") -> None:
        """Upgrade the schema to a revision, in one transaction."""
        # Imported only when needed: Alembic takes longer to import than all other modules here together.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", SCRIPTS)
        with (
            self._connecting(),
            self._connect() as connection,
            self.backend.rebuilding_tables(connection),
            connection.begin(),
        ):
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except ValueError as error:
                raise DatabaseError(
                    f"the upgrade of {self.label} met a row that it cannot read, and nothing was changed: {error}; "
                    "restore a backup"
                ) from error
            if broken := self.backend.problems(connection):
                raise DatabaseError(f"the upgrade of {self.label} would break it: {broken[0]}")

    def copy(self, path: Path) -> None:
        """Copy one state of the database into the new SQLite file ``path``, also while others write."""
        if isinstance(self.backend, Sqlite):
            with self._connecting(), self._engine.connect() as connection:
                self.backend.copy(connection, path)
            return
        with closing(_Empty(path)) as copy:
            copy.migrate(self.revision() or "head")
            with self.reading() as source, copy.writing() as target:
                tables = sa.MetaData()
                tables.reflect(target, only=lambda name, _: name != "alembic_version")
                for table in tables.sorted_tables:
                    target.execute(table.delete())  # the rows that the migrations make
                    for column in table.c:
                        if isinstance(column.type, sa.JSON):
                            column.type = sa.JSON(none_as_null=True)
                    for rows in source.execute(table.select()).mappings().partitions(10_000):
                        target.execute(table.insert(), [dict(row) for row in rows])

    def _open(self, upgrade: bool, create: bool) -> None:
        if isinstance(self.backend, Sqlite) and create:
            _make_directory(self.backend.path.parent)
        revision = self._present_revision()
        if revision is None:
            revision = self._check_creation()
        if revision is None and not create:
            raise NotARegistryError(f"there is no registry yet at {self.label}: name the home of an existing one")
        if revision is None:
            # Two processes may migrate at once: the second waits for the first's lock, and then does nothing.
            self.migrate()
        elif revision in REVISIONS[:-1] and upgrade:
            self.backup = self._back_up(revision)
            self.migrate()
        elif revision in REVISIONS[:-1]:
            # A database outside a home is named by the environment, which the upgrade command reads too.
            in_home = isinstance(self.backend, Sqlite) and self.backend.path.name == DATABASE_NAME
            raise OldSchemaError(
                f"{self.label} has schema {revision}, this pointsman needs {REVISIONS[-1]}: upgrade it (a backup is "
                "made first)",
                advice=Advice(
                    Action.UPGRADE_DATABASE,
                    {"home": str(self.backend.path.parent)} if in_home and isinstance(self.backend, Sqlite) else {},
                ),
            )
        elif revision != REVISIONS[-1]:
            raise NewSchemaError(
                f"{self.label} has schema {revision}, newer than this pointsman's {REVISIONS[-1]}: upgrade pointsman"
            )

    def _present_revision(self) -> str | None:
        """The revision, or None where there is no schema or no file: SQLite makes a file when it opens one."""
        missing = isinstance(self.backend, Sqlite) and not os.path.lexists(self.backend.path)
        return None if missing else self.revision()

    def _check_creation(self) -> str | None:
        """Ask whether a database may be made here; return the revision of one that was made meanwhile."""
        try:
            if self._before_creation is not None:
                self._before_creation(self.label)
        except NotARegistryError:
            # Another process may have made it, and stored something already.
            revision = self._present_revision()
            if revision is None:
                raise
            return revision
        return None

    def _back_up(self, revision: str) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        directory = self.backend.path.parent if isinstance(self.backend, Sqlite) else self._backups
        if directory is None:
            raise SettingsError(f"the backup of {self.label} needs a directory")
        path = directory / f"registry.db.{revision}.{stamp}.backup"
        self.copy(path)
        return path

    @contextmanager
    def _connecting(self) -> Iterator[None]:
        """Hold up forks while a connection is in use, and translate the errors of its driver."""
        try:
            with forks.no_fork():
                yield
        except UnicodeEncodeError as error:
            raise SettingsError(f"text must be valid Unicode: {error}") from error
        except OverflowError as error:
            raise SettingsError(f"whole numbers must fit 64 bits: {error}") from error
        except sa.exc.IntegrityError as error:
            raise ConflictError(f"the change contradicts the rows of {self.label}: {error.orig}") from error
        except sa.exc.DBAPIError as error:
            raise self.backend.translate(error) from error
        except sa.exc.StatementError as error:
            # SQLAlchemy could not serialise a value; the statement never reached the database.
            raise SettingsError(f"settings and the like must be plain JSON: {error.orig}") from error


class _Empty(Database):
    """A database without a schema: its tables are created or read by the caller."""

    def _open(self, upgrade: bool, create: bool) -> None:
        pass


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else ReadOnlyError
        raise kind(f"the directory {path} cannot be created: {error.strerror}") from error
