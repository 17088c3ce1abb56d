"""Registry: the one face of the database and the object store."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import platformdirs
import sqlalchemy as sa

from . import catalog, runs
from . import tables as t
from .database import Database
from .errors import ConflictError, MetricNotFoundError, SettingsError, StoreError
from .recorder import RunRecorder
from .records import Base, Event, File, MetricPoint, MetricSummary, Run, Version
from .refs import Ref, check_alias, check_metric, check_name
from .store import Store, write_atomically

HOME_VARIABLE: Final = "POINTSMAN_HOME"


def default_home() -> Path:
    """``POINTSMAN_HOME``, or else the user's data directory."""
    return Path(os.environ.get(HOME_VARIABLE) or platformdirs.user_data_path("pointsman"))


class Registry:
    """Remembers every adapter version with its weights, configuration, lineage and metric history.

    Safe to share between threads; many processes may have the same home open and write at once.

    Args:
        home: The directory of the registry, made if it does not exist; by default ``default_home()``.

    Raises:
        DatabaseError: The database there cannot be used; its kinds say why.
    """

    def __init__(self, home: str | Path | None = None) -> None:
        # Absolute, so that a program may change its directory while the registry is open.
        self.home = (Path(home) if home is not None else default_home()).absolute()
        self._store = Store(self.home / "objects")
        self._database = Database(self.home / "registry.db")

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # Versions

    def add_version(
        self,
        name: str,
        *,
        files: Mapping[str, bytes],
        task: Mapping[str, Any],
        method: str,
        config: Mapping[str, Any],
        base: Base,
        max_length: int,
        parameters: int,
        metrics: Mapping[str, float] | None = None,
        primary_metric: str | None = None,
        run: str | None = None,
        parents: Sequence[tuple[str, str]] = (),
    ) -> Version:
        """Store the next version of the adapter ``name``; when it returns, the version is on the disk for good.

        Args:
            name: The adapter; made with its first version.
            files: Content by plain file name.
            task: The task as JSON, with its ``name``.
            method: The adapter method's name.
            config: The method's full configuration as JSON.
            base: The base it was trained on.
            max_length: Tokens that an input is cut to.
            parameters: Trained parameters, head included.
            metrics: Finite scores on the validation rows by name; NaN is kept.
            primary_metric: The one of ``metrics`` that ``@best`` goes by; greater is better.
            run: The uid of the run that made it.
            parents: ``(role, ref)`` of the versions it was made from.

        Raises:
            InvalidNameError: A name breaks the rules.
            SettingsError: No files, a file name with a path in it, an infinite metric, a primary metric that is not
                among the metrics, or something that is not JSON.
            NotFoundError: No such run or parent.
            ConflictError: The run has made a version already.
            DiskFullError, StoreError, DatabaseError: It could not be written; nothing of it is listed.
        """
        check_name(name)
        check_name(str(task.get("name", "")), "task name")
        for metric in metrics or {}:
            check_metric(metric)
        if not files:
            raise SettingsError(f"a version of '{name}' needs at least one file")
        for filename in files:
            if (
                filename in ("", ".", "..")
                or not filename.isprintable()
                or len(filename.encode()) > 255
                or set("/\\") & {*filename}
            ):
                raise SettingsError(f"file name {filename[:80]!a} is not valid: use a plain name without a path")
        stored = [
            File(name=filename, sha256=self._store.put(content), size=len(content))
            for filename, content in sorted(files.items())
        ]
        with self._database.writing() as connection:
            ref = catalog.insert_version(
                connection,
                name=name,
                files=stored,
                task=task,
                method=method,
                config=config,
                base=base,
                max_length=max_length,
                parameters=parameters,
                metrics=metrics or {},
                primary_metric=primary_metric,
                run=run,
                parents=[(role, Ref.parse(parent)) for role, parent in parents],
            )
        return self.version(ref)

    def version(self, ref: str | Ref) -> Version:
        """The version that ``ref`` means now.

        Raises:
            InvalidNameError: The ref is not well formed.
            AdapterNotFoundError, VersionNotFoundError: There is no such version; the message lists those there are.
        """
        with self._database.reading() as connection:
            version_id, _ = catalog.resolve(connection, Ref.parse(ref))
            (version,) = catalog.versions(connection, where=[t.version.c.id == version_id])
        return version

    def versions(
        self,
        *,
        name: str | None = None,
        task: str | None = None,
        base: str | None = None,
        method: str | None = None,
        sort: str | None = None,
        newest_only: bool = False,
        limit: int | None = None,
    ) -> list[Version]:
        """The versions that match, by name and number unless sorted otherwise.

        Args:
            name: Of this adapter only.
            task: Of this task only.
            base: Of the base with this name, or whose fingerprint begins so.
            method: Of this adapter method only.
            sort: A metric, as in ``eval/accuracy``: greatest first, versions without it last.
            newest_only: The newest version of each adapter only.
            limit: At most so many.

        Raises:
            MetricNotFoundError: No version has a metric of the name ``sort``.
        """
        where: list[sa.ColumnElement[bool]] = []
        if name is not None:
            where.append(t.adapter.c.name == name)
        if task is not None:
            where.append(t.version.c.task_name == task)
        if base is not None:
            where.append((t.base.c.name == base) | t.base.c.fingerprint.startswith(base, autoescape=True))
        if method is not None:
            where.append(t.version.c.method == method)
        order_by: list[sa.ColumnElement[Any]] = []
        if sort is not None:
            order_by.append(t.version.c.metrics[check_metric(sort)].as_float().desc().nulls_last())
        with self._database.reading() as connection:
            found = catalog.versions(connection, where=where, order_by=order_by, newest_only=newest_only, limit=limit)
        if sort is not None and found and not any(sort in version.metrics for version in found):
            known = sorted({metric for version in found for metric in version.metrics})
            raise MetricNotFoundError(f"no version has the metric '{sort}'; there is: {', '.join(known) or 'none'}")
        return found

    def read_file(self, version: Version, name: str) -> bytes:
        """One file of a version, its sha256 checked.

        Raises:
            StoreError: The version has no such file.
            ObjectMissingError, ObjectCorruptError: The store has lost or damaged it.
        """
        for file in version.files:
            if file.name == name:
                return self._store.read(file.sha256)
        raise StoreError(f"{version.ref} has no file {name[:80]!a}; it has: {', '.join(f.name for f in version.files)}")

    def export(self, ref: str | Ref, directory: str | Path) -> Path:
        """Write a version's files into ``directory``, made if it does not exist, in the format of ``adapters``.

        ``model.load_adapter(directory, use_safetensors=True)`` loads it.

        Raises:
            ConflictError: The directory already has a file of one of the names with other content.
            ObjectMissingError, ObjectCorruptError: The store has lost or damaged a file; nothing was written.
            StoreError: The directory cannot be written; the files that were written before are gone again.
        """
        directory = Path(directory)
        version = self.version(ref)
        contents = {file.name: self.read_file(version, file.name) for file in version.files}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            missing = {directory / name: content for name, content in contents.items()}
            for path in [path for path in missing if path.exists()]:
                if path.read_bytes() != missing.pop(path):
                    raise ConflictError(f"{path} exists and is another file: name an empty directory")
            with ExitStack() as undo:
                for path, content in missing.items():
                    undo.callback(path.unlink, missing_ok=True)
                    write_atomically(path, content)
                undo.pop_all()
        except OSError as error:
            raise StoreError(f"the directory {directory} cannot be written: {error.strerror}") from error
        return directory

    def set_alias(self, ref: str | Ref, alias: str) -> Version:
        """Point ``alias`` at the version that ``ref`` means now, and return it.

        Raises:
            InvalidNameError: The alias breaks the rules or is reserved.
            NotFoundError: There is no such version.
        """
        check_alias(alias)
        with self._database.writing() as connection:
            catalog.set_alias(connection, Ref.parse(ref), alias)
        return self.version(Ref(Ref.parse(ref).name, alias))

    def events(self, *, limit: int = 100) -> list[Event]:
        """The newest lines of the append-only log, newest first."""
        with self._database.reading() as connection:
            return catalog.events(connection, limit=limit)

    # Runs

    def start_run(
        self,
        adapter: str,
        *,
        task: str,
        method: str,
        base: Base,
        settings: Mapping[str, Any],
        data: Mapping[str, Any],
        environment: Mapping[str, Any],
        seed: int,
    ) -> RunRecorder:
        """Begin a run and return the recorder that logs its metrics.

        Args:
            adapter: The adapter that it trains a version of.
            task: The task's name.
            method: The adapter method's name.
            base: The base.
            settings: Everything that was asked for, as JSON.
            data: Where the rows came from, how many, and their fingerprint.
            environment: Versions, processor, command.
            seed: The random seed.
        """
        check_name(adapter)
        with self._database.writing() as connection:
            uid = runs.insert(
                connection,
                adapter=adapter,
                task=task,
                method=method,
                base=base,
                settings=settings,
                data=data,
                environment=environment,
                seed=seed,
            )
        return RunRecorder(self._database, uid)

    def run(self, uid: str) -> Run:
        """The run of that uid, or whose uid begins so.

        Raises:
            RunNotFoundError: There is none, or more than one.
        """
        with self._database.reading() as connection:
            (run,) = runs.runs(connection, where=[t.run.c.id == runs.run_id(connection, uid)])
        return run

    def runs(self, *, adapter: str | None = None, limit: int | None = None) -> list[Run]:
        """Runs, newest first."""
        with self._database.reading() as connection:
            where = [] if adapter is None else [t.run.c.adapter_name == adapter]
            return runs.runs(connection, where=where, limit=limit)

    def history(self, ref: str | Ref, metric: str) -> list[MetricPoint]:
        """Every point of one metric of the run that made a version, by step.

        Args:
            ref: A version's ref, or ``run:UID`` for a run.
            metric: As in ``eval/accuracy``.

        Raises:
            MetricNotFoundError: It has no such metric; the message lists those it has.
            NotFoundError: There is no such version or run.
        """
        with self._database.reading() as connection:
            return runs.history(connection, self._run_of(connection, ref), metric)

    def summaries(self, ref: str | Ref) -> list[MetricSummary]:
        """What each metric of a version's run (or of ``run:UID``) came to, by name."""
        with self._database.reading() as connection:
            return runs.summaries(connection, self._run_of(connection, ref))

    def check_writable(self) -> None:
        """Raise now what a later write would raise.

        Raises:
            ReadOnlyError, BusyError: The database cannot be written.
        """
        self._database.check_writable()

    @staticmethod
    def _run_of(connection: sa.Connection, ref: str | Ref) -> int:
        if isinstance(ref, str) and ref.startswith("run:"):
            return runs.run_id(connection, ref.removeprefix("run:"))
        version_id, number = catalog.resolve(connection, Ref.parse(ref))
        run_id = connection.scalar(sa.select(t.version.c.run_id).where(t.version.c.id == version_id))
        if run_id is None:
            raise MetricNotFoundError(f"{Ref.parse(ref).name}@{number} was made by no run, so it has no metric history")
        return int(run_id)
