"""Registry: the face of the database and the object store; each room adds its methods in a part."""

import os
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self

import platformdirs

from .database.database import DATABASE_NAME, Database
from .errors import SettingsError
from .runs.part import RunsPart
from .storage.objects import Store
from .storage.remote import RemoteStore, open_store
from .versions import ownership
from .versions.bases_part import BasesPart
from .versions.history_part import HistoryPart
from .versions.labels_part import LabelsPart
from .versions.part import VersionsPart

HOME_VARIABLE: Final = "POINTSMAN_HOME"
DATABASE_VARIABLE: Final = "POINTSMAN_DATABASE_URL"
STORE_VARIABLE: Final = "POINTSMAN_STORE"


def default_home() -> Path:
    """Return ``POINTSMAN_HOME``, or the user's data directory if it is not set."""
    return Path(os.environ.get(HOME_VARIABLE) or platformdirs.user_data_path("pointsman"))


class Registry(VersionsPart, LabelsPart, RunsPart, HistoryPart, BasesPart):
    """Every adapter version with its weights, configuration, lineage and metric history.

    Safe to share between threads; many processes may have the same registry open and write at once.

    Args:
        home: The directory of the registry, created if it does not exist; by default ``default_home()``.
        database: Another place for the database: the URL of a PostgreSQL database, or a SQLite file. By default
            ``POINTSMAN_DATABASE_URL`` if ``home`` is not given, else ``registry.db`` in ``home``.
        store: Another place for the files: a directory, or a URL that fsspec knows. By default ``POINTSMAN_STORE`` if
            ``home`` is not given, else ``objects`` in ``home``.
        upgrade: Upgrade the database of an older release, after a backup, instead of refusing it.
        create: Make a registry where there is none, instead of refusing.

    Raises:
        DatabaseError: The database cannot be used; each subclass is a reason. One is that there is no database yet,
            while the store holds objects.
        SettingsError: A URL is of an unknown kind, or its driver is not installed.

    Examples:
        >>> with Registry() as registry:
        ...     version = registry.version("sst2@best")
        ...     points = registry.history(version.ref, "eval/accuracy")
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        database: str | Path | None = None,
        store: str | Path | None = None,
        upgrade: bool = False,
        create: bool = True,
    ) -> None:
        if home is None:
            # The environment counts only if no home is given: a named home is complete in itself.
            database = database or os.environ.get(DATABASE_VARIABLE)
            store = store or os.environ.get(STORE_VARIABLE)
        # Absolute, so that a program may change its directory while the registry is open.
        self.home = (Path(home) if home is not None else default_home()).absolute()
        self._inherited: list[Store] = []
        self.store = open_store(str(store or self.home / "objects"), self.home / "cache" / "objects")
        self.database = Database(
            database or self.home / DATABASE_NAME,
            backups=self.home,
            upgrade=upgrade,
            create=create,
            before_creation=partial(ownership.refuse_to_replace, self.store),
        )

    @property
    def store(self) -> Store:
        """The files of versions.

        Behind a URL, a forked process has a store of its own: the threads and connections of a driver stay with the
        parent.
        """
        if self._store_process != os.getpid() and isinstance(self._store, RemoteStore):
            self._inherited.append(self._store)  # kept: a driver's end would end the parent's connections
            self.store = open_store(self._store.label, self.home / "cache" / "objects")
        return self._store

    @store.setter
    def store(self, store: Store) -> None:
        self._store, self._store_process = store, os.getpid()

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise SettingsError(
            "a Registry cannot be copied or pickled, since it holds connections: share this one between threads, and "
            f"open one in each process, Registry('{self.home}')"
        )

    def check_writable(self) -> None:
        """Raise now what a later write would raise.

        Raises:
            ReadOnlyError, BusyError: The database cannot be written.
            ForeignStoreError: The object store belongs to another registry.
        """
        self.database.check_writable()
        ownership.check_store(self.database, self.store)
