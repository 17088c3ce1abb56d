"""Registry: the one face of the database and the object store."""

import operator
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import platformdirs
import sqlalchemy as sa

from .database import events as log
from .database import tables as t
from .database.database import DATABASE_NAME, Database
from .database.events import now
from .errors import ConflictError, MetricNotFoundError, SettingsError, StoreError, unknown
from .metrics import history as histories
from .metrics import points, summaries
from .metrics.series import Window
from .records import (
    Base,
    ComparedField,
    Event,
    File,
    Lineage,
    MetricPoint,
    MetricSummary,
    Page,
    Run,
    RunStatus,
    Version,
    VersionPoint,
)
from .refs import BEST, LATEST, Ref, check_alias, check_filename, check_metric, check_name, check_note, check_tag
from .runs import liveness, runs
from .runs.recorder import RunRecorder
from .storage.files import write_atomically
from .storage.remote import open_store
from .versions import catalog, compare, labels, lineage, listing

HOME_VARIABLE: Final = "POINTSMAN_HOME"
DATABASE_VARIABLE: Final = "POINTSMAN_DATABASE_URL"
STORE_VARIABLE: Final = "POINTSMAN_STORE"


def default_home() -> Path:
    """``POINTSMAN_HOME``, or else the user's data directory."""
    return Path(os.environ.get(HOME_VARIABLE) or platformdirs.user_data_path("pointsman"))


class Registry:
    """Remembers every adapter version with its weights, configuration, lineage and metric history.

    Safe to share between threads; many processes may have the same registry open and write at once.

    Args:
        home: The directory of the registry, made if it does not exist; by default ``default_home()``.
        database: Another place for the database: the URL of a PostgreSQL database, or a SQLite file. By default
            ``registry.db`` in ``home``; where ``home`` is not given either, ``POINTSMAN_DATABASE_URL`` goes first.
        store: Another place for the files: a directory, or a URL that fsspec knows. By default ``objects`` in
            ``home``; where ``home`` is not given either, ``POINTSMAN_STORE`` goes first.
        upgrade: Bring an older release's database up to date, after a backup, instead of refusing it.

    Raises:
        DatabaseError: The database there cannot be used; its kinds say why.
        SettingsError: A URL is of an unknown kind, or its driver is not installed.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        *,
        database: str | Path | None = None,
        store: str | Path | None = None,
        upgrade: bool = False,
    ) -> None:
        if home is None:
            # A home that is named stands for itself: the environment says where things are for whoever names none.
            database = database or os.environ.get(DATABASE_VARIABLE)
            store = store or os.environ.get(STORE_VARIABLE)
        # Absolute, so that a program may change its directory while the registry is open.
        self.home = (Path(home) if home is not None else default_home()).absolute()
        self.store = open_store(str(store or self.home / "objects"), self.home / "cache" / "objects")
        self.database = Database(database or self.home / DATABASE_NAME, backups=self.home, upgrade=upgrade)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

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
        tags: Mapping[str, str] | None = None,
        note: str | None = None,
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
            tags: Text by key.
            note: Text for people.

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
        for key, value in (tags or {}).items():
            check_tag(key, value)
        if note is not None:
            check_note(note)
        if not files:
            raise SettingsError(f"a version of '{name}' needs at least one file")
        for filename in files:
            check_filename(filename)
        stored = [
            File(name=filename, sha256=self.store.put(content), size=len(content))
            for filename, content in sorted(files.items())
        ]
        with self.database.writing() as connection:
            new = catalog.NewVersion(
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
                parents=catalog.parents(connection, [(role, Ref.parse(parent)) for role, parent in parents]),
                created_at=now(),
                tags=tags or {},
                note=note,
            )
            ref = catalog.insert_version(connection, new)
            log.record(connection, "add", ref, {"digest": new.digest, "run": run})
            # Content that was stored already, by a version that was removed, may have been collected since; whoever
            # collects holds the write lock, as this does.
            for file in stored:
                if not self.store.has(file.sha256):
                    self.store.put(files[file.name])
        return self.version(ref)

    def version(self, ref: str | Ref) -> Version:
        """The version that ``ref`` means now.

        Raises:
            InvalidNameError: The ref is not well formed.
            AdapterNotFoundError, VersionNotFoundError: There is no such version; the message lists those there are.
        """
        with self.database.reading() as connection:
            (version,) = listing.by_ids(connection, [catalog.resolve(connection, Ref.parse(ref)).id])
        return version

    def versions(
        self,
        where: str | None = None,
        *,
        name: str | None = None,
        task: str | None = None,
        base: str | None = None,
        method: str | None = None,
        sort: str = "name",
        reverse: bool = False,
        newest_only: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> Page[Version]:
        """The versions that match, and how many there are in all.

        Args:
            where: A query: ``"task in (sst2, cola) and best(eval/accuracy) >= 0.85 and created > 7d ago"``; the module
                ``conditions`` lists its fields.
            name: Of this adapter only.
            task: Of this task only.
            base: Of the base with this name, or whose fingerprint begins so.
            method: Of this adapter method only.
            sort: ``name`` (and number), ``created``, ``score``, ``parameters``, ``size``, or a metric, as in
                ``eval/accuracy``. Names go from a to z, all else from the greatest down, what lacks it comes last.
            reverse: The other way round.
            newest_only: The newest version of each adapter only.
            limit: At most so many.
            offset: Leave out so many first.

        Raises:
            QueryError: The query cannot be understood; the message points at the character.
            MetricNotFoundError: No version has a metric of the name ``sort``, or nothing at all has one that the query
                names.
        """
        listing.check_page(limit, offset)
        conditions: list[sa.ColumnElement[bool]] = []
        if name is not None:
            conditions.append(t.version.c.adapter_id.in_(sa.select(t.adapter.c.id).where(t.adapter.c.name == name)))
        if task is not None:
            conditions.append(t.version.c.task_name == task)
        if base is not None:
            called = (t.base.c.name == base) | t.base.c.fingerprint.startswith(base, autoescape=True)
            conditions.append(t.version.c.base_id.in_(sa.select(t.base.c.id).where(called)))
        if method is not None:
            conditions.append(t.version.c.method == method)
        with self.database.reading() as connection:
            metrics = []
            if where is not None:
                # The parser takes a while to import, and most calls have no query.
                from .search import conditions as queries  # noqa: PLC0415
                from .search.query import parse  # noqa: PLC0415

                tree = parse(where)
                conditions.append(queries.condition(tree, where, connection.dialect.name))
                metrics = [(field, queries.metric_name(field)) for field in queries.metrics_of(tree)]
            found = listing.page(
                connection,
                where=conditions,
                sort=sort,
                reverse=reverse,
                newest_only=newest_only,
                limit=limit,
                offset=offset,
            )
            if metrics and not found.total:
                known = points.metric_names(connection)
                for _, metric in metrics:
                    if metric not in known:
                        raise unknown(MetricNotFoundError, "metric", metric, known)
        return found

    def remove(self, ref: str | Ref, *, force: bool = False) -> Ref:
        """Take a version out of the registry, and return the ref that it had.

        Its number is never given again; the run that made it keeps its history; its files go with the next collection
        of garbage.

        Args:
            ref: The version, named by a number or an alias.
            force: Also if other versions were made from it, which still name it, or aliases point to it, which go.

        Raises:
            InUseError: Other versions were made from it, or aliases point to it.
            SettingsError: The ref names no version for good: ``latest`` and ``best`` are another one tomorrow.
            NotFoundError: There is no such version.
        """
        parsed = Ref.parse(ref)
        with self.database.writing() as connection:
            if parsed.selector in (LATEST, BEST):
                number = catalog.resolve(connection, parsed).number
                raise SettingsError(
                    f"{ref} is another version from time to time: say which, as in {parsed.name}@{number}"
                )
            return catalog.remove_version(connection, parsed, force=force)

    def lineage(self, ref: str | Ref) -> Lineage:
        """What a version was made from, and what was made from it, as far as it goes."""
        with self.database.reading() as connection:
            return lineage.lineage(connection, catalog.resolve(connection, Ref.parse(ref)).id)

    def compare(self, refs: Iterable[str | Ref]) -> list[ComparedField]:
        """Configurations, settings, data and metrics of versions, or of runs (``run:UID``), side by side."""
        with self.database.reading() as connection:
            things: list[compare.Thing] = []
            for ref in refs:
                if isinstance(ref, str) and ref.startswith("run:"):
                    run_id: int | None = runs.run_id(connection, ref.removeprefix("run:"))
                    version = None
                else:
                    found = catalog.resolve(connection, Ref.parse(ref))
                    (version,) = listing.by_ids(connection, [found.id])
                    run_id = found.run_id
                run = None if run_id is None else runs.runs(connection, where=[t.run.c.id == run_id])[0]
                logged = summaries.summaries(connection, run_id) if run_id is not None and version is None else ()
                things.append(compare.Thing(version, run, {summary.key: summary.last for summary in logged}))
        return compare.compare(things)

    def read_file(self, version: Version, name: str) -> bytes:
        """One file of a version, its sha256 checked.

        Raises:
            StoreError: The version has no such file.
            ObjectMissingError, ObjectCorruptError: The store has lost or damaged it.
        """
        for file in version.files:
            if file.name == name:
                return self.store.read(file.sha256)
        raise StoreError(f"{version.ref} has no file {name[:80]!a}; it has: {', '.join(f.name for f in version.files)}")

    def read_files(self, version: Version) -> dict[str, bytes]:
        """All files of a version by name, the sha256 of each checked.

        Raises:
            ObjectMissingError, ObjectCorruptError: The store has lost or damaged one.
        """
        return {file.name: self.store.read(file.sha256) for file in version.files}

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
        contents = self.read_files(version)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            missing = {directory / name: content for name, content in contents.items()}
            for path in [path for path in missing if path.exists()]:
                if path.read_bytes() != missing.pop(path):
                    raise ConflictError(f"{path} exists and is another file: name an empty directory")
            with ExitStack() as undo:
                for path, content in missing.items():
                    undo.callback(path.unlink, missing_ok=True)
                    write_atomically(path, [content])
                undo.pop_all()
        except OSError as error:
            raise StoreError(f"the directory {directory} cannot be written: {error.strerror}") from error
        return directory

    # Labels

    def set_alias(self, ref: str | Ref, alias: str, *, if_currently: int | None = None) -> Version:
        """Point ``alias`` at the version that ``ref`` means now, and return it.

        Args:
            ref: The version.
            alias: The name; one that exists moves.
            if_currently: Only if it points to the version of this number now, or, if 0, to none: of several that
                try at once, one succeeds.

        Raises:
            InvalidNameError: The alias breaks the rules or is reserved.
            NotFoundError: There is no such version.
            ConflictError: It points elsewhere than ``if_currently``; nothing was changed.
        """
        check_alias(alias)
        with self.database.writing() as connection:
            labels.set_alias(connection, Ref.parse(ref), alias, if_currently=if_currently)
        return self.version(Ref(Ref.parse(ref).name, alias))

    def remove_alias(self, name: str, alias: str) -> None:
        """Take the alias ``name@alias`` away; the version stays.

        Raises:
            NotFoundError: There is no such alias.
        """
        with self.database.writing() as connection:
            labels.remove_alias(connection, check_name(name), alias)

    def set_tags(self, ref: str | Ref, tags: Mapping[str, str | None]) -> Version:
        """Set tags of a version, remove those whose value is None, and return the version.

        Raises:
            InvalidNameError: A key or a value breaks the rules; nothing was changed.
            NotFoundError: There is no such version.
        """
        for key, value in tags.items():
            check_tag(key, value)
        if not tags:
            return self.version(ref)
        with self.database.writing() as connection:
            own = labels.change_tags(connection, Ref.parse(ref), tags)
        return self.version(own)

    def set_note(self, ref: str | Ref, note: str | None) -> Version:
        """Replace a version's note, or take it away with None, and return the version.

        Raises:
            InvalidNameError: It is too long or has control characters.
            NotFoundError: There is no such version.
        """
        if note is not None:
            note = check_note(note.replace("\r\n", "\n"))
        with self.database.writing() as connection:
            own = labels.set_note(connection, Ref.parse(ref), note)
        return self.version(own)

    def events(self, ref: str | Ref | None = None, *, limit: int | None = 100, offset: int = 0) -> list[Event]:
        """Lines of the append-only log, newest first: who did what, when.

        Args:
            ref: Of this adapter (``sst2``, also after all its versions are gone) or this version (``sst2@3``) only.
            limit: At most so many.
            offset: Leave out so many first.
        """
        listing.check_page(limit, offset)
        parsed = None if ref is None else Ref.parse(ref)
        whole = parsed is not None and parsed.selector == LATEST
        with self.database.reading() as connection:
            if parsed is not None and not whole and not isinstance(parsed.selector, int):
                parsed = Ref(parsed.name, catalog.resolve(connection, parsed).number)
            return log.events(connection, ref=parsed, whole_adapter=whole, limit=limit, offset=offset)

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

        Raises:
            InvalidNameError: The adapter's name breaks the rules.
            SettingsError: Something is no JSON, or the environment has the registry's own key, ``process``.
        """
        check_name(adapter)
        if liveness.KEY in environment:
            raise SettingsError(
                f"the environment has the key '{liveness.KEY}', under which the registry keeps who records a run: "
                "call it something else"
            )
        uid, started = secrets.token_hex(6), now()
        with self.database.writing() as connection:
            runs.insert(
                connection,
                uid=uid,
                adapter=adapter,
                task=task,
                method=method,
                base=base,
                settings=settings,
                data=data,
                environment={**environment, liveness.KEY: liveness.this_process()},
                seed=seed,
                status=RunStatus.RUNNING,
                error=None,
                started_at=started,
                ended_at=None,
                heartbeat_at=started,
            )
        return RunRecorder(self.database, uid)

    def check_resumable(self, uid: str) -> Run:
        """The run that ``resume_run`` would take up, or what it would raise."""
        with self.database.reading() as connection:
            return runs.check_resumable(connection, uid)[1]

    def resume_run(self, uid: str, *, last_step: int) -> RunRecorder:
        """Take up a run that crashed or was interrupted, and return the recorder that logs the rest of it.

        Its history is cut off after ``last_step``, as if nothing later had ever been logged: so a training that goes
        on from a checkpoint leaves no step out and logs none twice, if it had flushed its metrics when it wrote that.
        Of several that try at once, one succeeds.

        Args:
            uid: The run's, or how it begins.
            last_step: The step of the checkpoint; points of that step stay. -1 removes all.

        Raises:
            RunNotFoundError: There is no such run, or more than one.
            ConflictError: The run has finished, has made a version, or is running still; nothing was changed. A run
                that was killed on this machine is known to be dead at once, one on another when it has been silent
                for a minute.
            SettingsError: ``last_step`` is below -1, or over 64 bits.
        """
        last_step = operator.index(last_step)
        with self.database.writing() as connection:
            uid = runs.resume(connection, uid, last_step)
        return RunRecorder(self.database, uid)

    def run_directory(self, uid: str) -> Path:
        """Where a run's checkpoints lie while it goes on."""
        return self.home / "runs" / uid

    def run(self, uid: str) -> Run:
        """The run of that uid, or whose uid begins so.

        Raises:
            RunNotFoundError: There is none, or more than one.
        """
        with self.database.reading() as connection:
            (run,) = runs.runs(connection, where=[t.run.c.id == runs.run_id(connection, uid)])
        return run

    def runs(self, *, adapter: str | None = None, limit: int | None = None, offset: int = 0) -> list[Run]:
        """Runs, newest first."""
        listing.check_page(limit, offset)
        with self.database.reading() as connection:
            where = [] if adapter is None else [t.run.c.adapter_name == adapter]
            return runs.runs(connection, where=where, limit=limit, offset=offset)

    # Metric history

    def history(
        self,
        ref: str | Ref,
        metric: str,
        *,
        first_step: int | None = None,
        last_step: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        max_points: int | None = None,
    ) -> list[MetricPoint]:
        """Points of one metric of the run that made a version, by step.

        Args:
            ref: A version's ref, or ``run:UID`` for a run.
            metric: As in ``eval/accuracy``.
            first_step: Leave out what comes before.
            last_step: Leave out what comes after.
            since: Leave out what was logged before.
            until: Leave out what was logged after.
            max_points: At most so many, 8 or more. Of a longer history, these are points of it, among them the first,
                the last, and of every stretch the least, the greatest and a NaN if there is one: what a picture of
                that width shows. It takes as long for ten million points as for a thousand.

        Raises:
            MetricNotFoundError: It has no such metric; the message lists those it has.
            NotFoundError: There is no such version or run.
            SettingsError: ``max_points`` is below 8.
        """
        if max_points is not None and max_points < 8:
            raise SettingsError(f"max_points {max_points} is not valid: it has to be 8 or more")
        window = Window(
            first_step=first_step,
            last_step=last_step,
            since=None if since is None else since.timestamp(),
            until=None if until is None else until.timestamp(),
        )
        with self.database.reading() as connection:
            return histories.history(connection, self._run_of(connection, ref), metric, window, max_points=max_points)

    def version_history(self, name: str, metric: str) -> list[VersionPoint]:
        """How a metric moved from version to version of an adapter, by number.

        Raises:
            AdapterNotFoundError: There is no such adapter.
            MetricNotFoundError: None of its versions has the metric.
        """
        with self.database.reading() as connection:
            adapter_id = catalog.resolve(connection, Ref(check_name(name))).adapter_id
            found = histories.across(connection, adapter_id, check_metric(metric))
            if not found:
                raise unknown(MetricNotFoundError, "metric", metric, histories.metrics_across(connection, adapter_id))
        return found

    def summaries(self, ref: str | Ref) -> list[MetricSummary]:
        """What each metric of a version's run (or of ``run:UID``) came to, by name."""
        with self.database.reading() as connection:
            return summaries.summaries(connection, self._run_of(connection, ref))

    def check_writable(self) -> None:
        """Raise now what a later write would raise.

        Raises:
            ReadOnlyError, BusyError: The database cannot be written.
        """
        self.database.check_writable()

    @staticmethod
    def _run_of(connection: sa.Connection, ref: str | Ref) -> int:
        if isinstance(ref, str) and ref.startswith("run:"):
            return runs.run_id(connection, ref.removeprefix("run:"))
        found = catalog.resolve(connection, Ref.parse(ref))
        if found.run_id is None:
            raise MetricNotFoundError(
                f"{Ref.parse(ref).name}@{found.number} was made by no run, so it has no metric history"
            )
        return found.run_id
