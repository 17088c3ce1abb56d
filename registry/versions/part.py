"""The methods of ``Registry`` about adapters and their versions."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ..database import events as log
from ..database import tables as t
from ..database.bases import add_place, same_base_ids
from ..database.clock import clock
from ..database.events import now
from ..database.paging import check_page
from ..database.part import RegistryPart
from ..errors import ConflictError, SettingsError, StoreError
from ..metrics import summaries
from ..records import Adapter, Base, Best, ComparedField, Evaluation, File, Lineage, Page, Parent, Version, VersionKind
from ..refs import BEST, LATEST, Ref, check_name, check_note
from ..runs import listing as run_listing
from ..runs import runs
from ..runs.recorder import RunRecorder
from ..storage.files import write_atomically
from . import catalog, checks, compare, lineage, listing, ownership
from .contents import write_with_objects


class VersionsPart(RegistryPart):
    """Add, find, read and remove versions."""

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
        kind: str = VersionKind.ADAPTER,
        metrics: Mapping[str, float] | None = None,
        primary_metric: str | None = None,
        run: str | RunRecorder | None = None,
        parents: Sequence[tuple[str, str]] = (),
        tags: Mapping[str, str] | None = None,
        note: str | None = None,
        evaluation: Evaluation | None = None,
    ) -> Version:
        """Store the next version of the adapter ``name``, durably.

        Args:
            name: The adapter; created with its first version.
            files: Content by plain file name.
            task: The task as JSON, with its ``name``.
            method: The adapter method's name.
            config: The method's full configuration as JSON.
            base: The base it was trained on.
            max_length: The number of tokens that an input is truncated to.
            parameters: Trained parameters, head included.
            kind: ``"adapter"``; ``"fusion"`` for a fusion layer over its parents; ``"composition"`` for a named
                composition of them.
            metrics: Finite scores on the validation rows by name; NaN is kept.
            primary_metric: The one of ``metrics`` by which ``@best`` chooses; greater is better.
            run: The uid of the run that made it, or its recorder; a recorder that has lost its run adds nothing.
            parents: ``(role, ref)`` of the versions it was made from.
            tags: Text by key.
            note: Text for people.
            evaluation: What the primary metric was computed on: ``@best`` compares only scores on the same rows.

        Returns:
            The version.

        Raises:
            InvalidNameError: A name breaks the rules.
            SettingsError: No files, a file name with a path in it, an unknown kind, an infinite metric, a primary
                metric that is not among the metrics, a number out of range, something that is not JSON, or a fusion or
                composition that does not name its members as ``name@number``.
            NotFoundError: The run or a parent does not exist.
            ConflictError: The run has made a version already, or another process has taken it up.
            ForeignStoreError: The object store belongs to another registry.
            DiskFullError, StoreError, DatabaseError: It could not be written; nothing of it is listed.
        """
        # Made before anything is stored, since making it checks every field.
        new = catalog.NewVersion(
            name=name,
            files=[
                File(name=filename, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
                for filename, content in sorted(files.items(), key=lambda item: str(item[0]))
            ],
            task=task,
            kind=checks.check_kind(kind),
            method=method,
            config=config,
            base=base,
            max_length=max_length,
            parameters=parameters,
            metrics=metrics or {},
            primary_metric=primary_metric,
            run=run.uid if isinstance(run, RunRecorder) else run,
            tags=tags or {},
            note=None if note is None else check_note(note),
            evaluation=evaluation,
        )
        made_of = [(checks.check_role(role), Ref.parse(parent)) for role, parent in parents]

        def store() -> None:
            for content in files.values():
                self.store.put(content)

        def insert(connection: sa.Connection) -> Version:
            if isinstance(run, RunRecorder):
                run.check_owned(connection)
            resolved = catalog.resolve_parents(connection, made_of)
            ref = catalog.insert_version(connection, new, parents=resolved, created_at=now())
            if not made_of:  # what is made of other versions has their base, maybe by a name that came with a bundle
                add_place(connection, base, clock(connection))
            # Read before others can change or remove it.
            (version,) = listing.by_ids(connection, [catalog.resolve(connection, ref).id])
            log.record(connection, "add", ref, {"digest": version.digest, "run": version.run})
            return version

        ownership.extend_store(self.database, self.store)
        return write_with_objects(self.database, {file.sha256 for file in new.files}, store, insert)

    def version(self, ref: str | Ref) -> Version:
        """Return the version that ``ref`` means now.

        Raises:
            InvalidNameError: The ref is not well formed.
            AdapterNotFoundError, VersionNotFoundError: It does not exist; the message lists the known ones.
        """
        with self.database.reading() as connection:
            (version,) = listing.by_ids(connection, [catalog.resolve(connection, Ref.parse(ref)).id])
        return version

    def adapter(self, name: str) -> Adapter:
        """Return the numbers of an adapter's versions, and its aliases.

        Raises:
            InvalidNameError: The name breaks the rules.
            AdapterNotFoundError: It has no version; the message lists the known adapters.
        """
        with self.database.reading() as connection:
            adapter_id = catalog.resolve(connection, Ref(check_name(name))).adapter_id
            return listing.adapter(connection, name, adapter_id)

    def best(self, ref: str | Ref, *, limit: int = 5) -> Best:
        """Return the best version of an adapter, and the versions that it was not compared with.

        Args:
            ref: An adapter's name, or a ref with ``best``: ``sst2``, ``sst2@best``, ``sst2@best@3``, ``sst2@best@any``.
            limit: The number of versions to name at most of those that were left out.

        Raises:
            SettingsError: It is a ref to one version, or the limit is below 1.
            NotFoundError: There is no such adapter or version.

        Examples:
            >>> registry.best("sst2").left_out.total
            2
        """
        parsed = Ref.parse(ref)
        if parsed.selector == LATEST:
            parsed = Ref(parsed.name, BEST)
        if parsed.selector != BEST:
            raise SettingsError(f"'{parsed}' is one version: write {parsed.name}@best, or {parsed.name}@best@N")
        check_page(limit, 0)
        with self.database.reading() as connection:
            row, chosen = catalog.resolve(connection, parsed), catalog.best_group(connection, parsed)
            (version,) = listing.by_ids(connection, [row.id])
            scored = (t.version.c.adapter_id == row.adapter_id, t.version.c.score.is_not(None))
            inside, outside = ([], sa.false()) if chosen is None else (chosen.inside, chosen.outside)
            compared = connection.scalar(sa.select(sa.func.count()).select_from(t.version).where(*scored, *inside))
            left_out = listing.page(connection, where=[*scored, outside], sort="created", limit=limit)
        return Best(version=version, compared=compared or 0, left_out=left_out)

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
        """Return the versions that match, and the number of all of them.

        Args:
            where: A query: ``"task in (sst2, cola) and best(eval/accuracy) >= 0.85 and created > 7d ago"``; the module
                ``registry.search.version_fields`` lists its fields.
            name: Only versions of this adapter.
            task: Only versions for this task.
            base: Only versions of the base with this name, or with a fingerprint that begins so, be it the one that an
                older release computed.
            method: Only versions of this adapter method.
            sort: ``name`` (and number), ``created``, ``score``, ``parameters``, ``size``, or a metric, as in
                ``eval/accuracy``. Names ascend, all else descends, versions without a value come last. Scores of one
                metric on the same rows stand together, those that are scored as the newest version is first.
            reverse: The opposite order.
            newest_only: Only the newest version of each adapter.
            limit: At most this many.
            offset: The number of versions to leave out first.

        Raises:
            QueryError: The query cannot be understood; the message points at the character.
            MetricNotFoundError: No version has the metric ``sort``, or nothing in the registry has a metric that the
                query names.
            SettingsError: ``limit`` is below 1, or ``offset`` is below 0.
        """
        check_page(limit, offset)
        conditions: list[sa.ColumnElement[bool]] = []
        if name is not None:
            conditions.append(t.version.c.adapter_id.in_(sa.select(t.adapter.c.id).where(t.adapter.c.name == name)))
        if task is not None:
            conditions.append(t.version.c.task_name == task)
        if base is not None:
            loaded = sa.select(t.base_place.c.base_id).where(t.base_place.c.name == base)
            named = sa.select(t.base.c.id).where((t.base.c.name == base) | t.base.c.id.in_(loaded))
            identified = same_base_ids(lambda fingerprint: fingerprint.startswith(base, autoescape=True))
            conditions.append(t.version.c.base_id.in_(sa.union(named, identified)))
        if method is not None:
            conditions.append(t.version.c.method == method)
        with self.database.reading() as connection:
            query = None
            if where is not None:
                # The parser takes a while to import, and most calls have no query.
                from ..search.conditions import compile_query  # noqa: PLC0415
                from ..search.version_fields import VERSIONS  # noqa: PLC0415

                query = compile_query(where, VERSIONS, connection.dialect.name)
                conditions.append(query.condition)
            page = listing.page(
                connection,
                where=conditions,
                sort=sort,
                reverse=reverse,
                newest_only=newest_only,
                limit=limit,
                offset=offset,
            )
            if query is not None and not page.total:
                query.check_metrics(connection)
        return page

    def newest_versions(self, base: Base, *, after: str | None = None, limit: int) -> list[Version]:
        """Return the newest version of each adapter, by name, where it is of a base; counts and sorts nothing.

        Args:
            base: The base.
            after: Only adapters whose names come after this one.
            limit: At most this many.

        Raises:
            InvalidNameError: ``after`` is no name of an adapter.
            SettingsError: ``limit`` is below 1.

        Examples:
            >>> first = registry.newest_versions(base, limit=100)
            >>> others = registry.newest_versions(base, after=first[-1].name, limit=100)
        """
        check_page(limit, 0)
        name = None if after is None else check_name(after)
        with self.database.reading() as connection:
            return listing.newest(connection, base, after=name, limit=limit)

    def remove(self, ref: str | Ref, *, force: bool = False) -> Ref:
        """Remove a version, and return the ref that it had.

        Its number is never used again, the run that made it keeps its history, and the next garbage collection removes
        its files.

        Args:
            ref: The version, named by a number or an alias.
            force: Also if other versions were made from it (they still name it) or aliases point to it (they go).

        Raises:
            InUseError: Other versions were made from it, or aliases point to it.
            SettingsError: The ref is ``latest`` or ``best``, which may mean another version tomorrow.
            NotFoundError: The version does not exist.
            ForeignStoreError: The object store belongs to another registry.
        """
        parsed = Ref.parse(ref)
        ownership.check_store(self.database, self.store)
        with self.database.writing() as connection:
            if parsed.selector in (LATEST, BEST):
                number = catalog.resolve(connection, parsed).number
                raise SettingsError(
                    f"{ref} may mean another version tomorrow: name the one to remove, as in {parsed.name}@{number}"
                )
            return catalog.remove_version(connection, parsed, force=force)

    def lineage(self, ref: str | Ref) -> Lineage:
        """Return all ancestors and descendants of a version."""
        with self.database.reading() as connection:
            return lineage.lineage(connection, catalog.resolve(connection, Ref.parse(ref)).id)

    def parents(self, ref: str | Ref) -> list[Parent]:
        """Return what a version was made from, in the order of ``Version.parents``, by the refs they have here now."""
        with self.database.reading() as connection:
            return lineage.parents(connection, catalog.resolve(connection, Ref.parse(ref)).id)

    def compare(self, refs: Iterable[str | Ref]) -> list[ComparedField]:
        """Compare configurations, settings, data and metrics of versions, or of runs (``run:UID``), field by field."""
        with self.database.reading() as connection:
            columns: list[compare.Column] = []
            for ref in refs:
                if isinstance(ref, str) and ref.startswith("run:"):
                    run_id: int | None = runs.run_id(connection, ref.removeprefix("run:"))
                    version = None
                else:
                    row = catalog.resolve(connection, Ref.parse(ref))
                    (version,) = listing.by_ids(connection, [row.id])
                    run_id = row.run_id
                found = [] if run_id is None else run_listing.records(connection, where=[t.run.c.id == run_id])
                run = found[0] if found else None  # a version may have lost its run, as ``verify`` tells
                logged = summaries.summaries(connection, run_id) if run_id is not None and version is None else ()
                columns.append(compare.Column(version, run, {summary.key: summary.last for summary in logged}))
        return compare.compare(columns)

    def read_file(self, version: Version, name: str) -> bytes:
        """Read one file of a version, and check its sha256.

        Raises:
            StoreError: The version has no such file.
            ObjectMissingError, ObjectCorruptError: The store has lost or damaged it.
        """
        for file in version.files:
            if file.name == name:
                return self.store.read(file.sha256)
        raise StoreError(f"{version.ref} has no file {name[:80]!a}; it has: {', '.join(f.name for f in version.files)}")

    def read_files(self, version: Version) -> dict[str, bytes]:
        """Read all files of a version by name, and check the sha256 of each.

        Raises:
            ObjectMissingError, ObjectCorruptError: The store has lost or damaged one.
        """
        return {file.name: self.store.read(file.sha256) for file in version.files}

    def fetch(self, version: Version) -> None:
        """Bring the files of a version onto this machine, where the store is elsewhere, so that reading them is quick.

        Raises:
            ObjectMissingError, ObjectCorruptError: The store has lost or damaged one.
        """
        for file in version.files:
            self.store.fetch(file.sha256)

    def export(self, ref: str | Ref, directory: str | Path) -> Path:
        """Write a version's files into ``directory``, created if it does not exist, in the format of ``adapters``.

        ``model.load_adapter(directory, use_safetensors=True)`` loads it.

        Raises:
            ConflictError: The directory already has a file of one of the names with other content.
            ObjectMissingError, ObjectCorruptError: The store has lost or damaged a file; nothing was written.
            StoreError: The directory cannot be written; the files written before are removed again.
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
