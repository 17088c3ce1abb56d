"""Add the versions of a bundle to a registry: all of them, or none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ..database import events
from ..database import tables as t
from ..errors import BundleError, PointsmanError
from ..metrics.points import insert_points
from ..records import LoggedPoint
from ..refs import Ref
from ..registry import Registry
from ..runs import runs
from ..versions import catalog, evaluations, ownership
from ..versions.contents import write_with_objects
from .batches import batched
from .bundle import INDEX, Bundle
from .bundle_records import BundledRun, BundledVersion, read_point, read_run, read_version

_BATCH: Final = 10_000
"""Metric points in memory at a time."""

_Runs = Mapping[str, BundledRun]
_Record = TypeVar("_Record")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was done with one version of a bundle."""

    source: str
    """Its ref in the registry that it was exported from."""
    ref: str
    """Its ref in this registry."""
    new: bool
    """Whether it was added; otherwise this registry had it already."""
    aliases: tuple[str, ...]
    """The aliases that were set: those whose names were free."""


def import_bundle(registry: Registry, path: str | Path) -> list[Imported]:
    """Add the versions of a bundle, with runs, metric histories, lineage, tags and notes.

    A version that the registry has already (the same adapter, content and run) stays unchanged, so a second import
    changes nothing. A new version keeps its number if the adapter never had that or a greater one and it is at most
    999,999 (``catalog.GREATEST_KEPT``), and otherwise gets the next number. An alias is set if its name is free; none
    is moved.

    Args:
        registry: The registry.
        path: The bundle.

    Raises:
        BundleError: The bundle is damaged, hostile, or of another format; nothing of it was imported.
        ForeignStoreError: The registry's object store belongs to another registry.
        DiskFullError, StoreError, DatabaseError: The registry cannot be written; no version was added.

    Examples:
        >>> [version.ref for version in import_bundle(registry, "sst2.tar") if version.new]
        ['sst2@1', 'sst2@2']
    """
    with Bundle(path) as bundle:
        versions, bundled_runs = _read_records(bundle)
        _check_complete(bundle, versions, bundled_runs)
        objects = sorted({file.sha256 for version in versions for file in version.new.files})
        ownership.extend_store(registry.database, registry.store)

        def store() -> None:
            for digest in objects:
                registry.store.put_stream(bundle.stream(f"objects/{digest}"), digest)

        return write_with_objects(
            registry.database,
            objects,
            store,
            lambda connection: _import_all(connection, bundle, versions, bundled_runs),
        )


def _read_records(bundle: Bundle) -> tuple[list[BundledVersion], _Runs]:
    index = bundle.index()
    bundled_runs = {run.uid: run for run in _records(bundle, index, "runs", read_run)}
    return list(_records(bundle, index, "versions", partial(read_version, runs=bundled_runs))), bundled_runs


def _records(
    bundle: Bundle, index: Mapping[str, Any], field: str, read: Callable[[Mapping[str, Any]], _Record]
) -> Iterator[_Record]:
    """Read the records in one field of the index."""
    if not isinstance(index.get(field), list):
        raise BundleError(f"{INDEX} in the bundle {bundle.label} lacks the list '{field}'")
    for position, record in enumerate(index[field]):
        try:
            yield read(record)
        except KeyError as error:
            raise BundleError(
                f"the bundle {bundle.label} has a record, {field}[{position}], that lacks the field {error}"
            ) from error
        except (PointsmanError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"the bundle {bundle.label} has an invalid record, {field}[{position}]: {error}"
            ) from error


def _check_complete(bundle: Bundle, versions: Sequence[BundledVersion], bundled_runs: _Runs) -> None:
    """Refuse a bundle that lacks a file, a run or a history that it names, or that is damaged in a history.

    The histories are read here and again when they are imported, so that damage is reported before the first write.
    """
    for version in versions:
        new = version.new
        for file in new.files:
            size = bundle.objects.get(file.sha256)
            if size is None:
                raise BundleError(f"the bundle {bundle.label} lacks the file {file.name} of {new.name}: {file.sha256}")
            if size != file.size:
                raise BundleError(
                    f"the bundle {bundle.label} says that the file {file.name} of {new.name} has {file.size} bytes: "
                    f"it has {size}"
                )
        if new.run is not None and new.run not in bundled_runs:
            raise BundleError(f"the bundle {bundle.label} lacks the run {new.run} that made {new.name}")
    for uid in bundled_runs:
        if not bundle.has(f"history/{uid}.jsonl"):
            raise BundleError(f"the bundle {bundle.label} lacks the history of the run {uid}")
    for uid in bundled_runs:
        for _ in _points(bundle, uid):
            pass


def _import_all(
    connection: sa.Connection, bundle: Bundle, versions: Sequence[BundledVersion], bundled_runs: _Runs
) -> list[Imported]:
    imported = [_import(connection, bundle, version, bundled_runs) for version in versions]
    evaluations.settle_imported(connection, [version.ref for version in imported if version.new])
    return imported


def _import(connection: sa.Connection, bundle: Bundle, version: BundledVersion, bundled_runs: _Runs) -> Imported:
    """Add one version, unless the registry has it."""
    new = version.new
    if existing := _find(connection, version):
        return Imported(source=version.ref, ref=str(existing), new=False, aliases=())
    if new.run is not None:
        _insert_run(connection, bundle, bundled_runs[new.run])
    try:
        ref = catalog.insert_version(
            connection, new, parents=version.parents, created_at=version.created_at, number=version.number
        )
    except PointsmanError as error:
        raise BundleError(f"the bundle {bundle.label} has an invalid version: {error}") from error
    aliases = [alias for alias in version.aliases if _set_free_alias(connection, ref, alias)]
    # The name of a file need not be Unicode.
    name = bundle.path.name.encode(errors="backslashreplace").decode()
    details = {"bundle": name, "from": version.ref, "digest": version.digest, "run": new.run}
    events.record(connection, "import", ref, {**details, "aliases": aliases})
    return Imported(source=version.ref, ref=str(ref), new=True, aliases=tuple(aliases))


def _find(connection: sa.Connection, version: BundledVersion) -> Ref | None:
    """The ref of the same version in this registry: the same adapter, content, run and time."""
    v, new = t.version.c, version.new
    number = connection.scalar(
        sa.select(v.number)
        .join(t.adapter, v.adapter_id == t.adapter.c.id)
        .outerjoin(t.run, v.run_id == t.run.c.id)
        .where(
            t.adapter.c.name == new.name,
            v.digest == version.digest,
            t.run.c.uid.is_(None) if new.run is None else t.run.c.uid == new.run,
            v.created_at == version.created_at,
        )
        .limit(1)
    )
    return None if number is None else Ref(new.name, number)


def _insert_run(connection: sa.Connection, bundle: Bundle, run: BundledRun) -> None:
    """Add a run with its points, unless the registry has it."""
    r = t.run.c
    here = connection.execute(sa.select(r.adapter_name, r.task, r.seed, r.started_at).where(r.uid == run.uid)).first()
    if here is not None:
        if here != (run.adapter, *(run.fields[name] for name in ("task", "seed", "started_at"))):
            raise BundleError(f"the bundle {bundle.label} has a run {run.uid}, which is another run here")
        return
    run_id = runs.insert(connection, uid=run.uid, adapter=run.adapter, **run.fields)
    for batch in batched(_points(bundle, run.uid), _BATCH):
        insert_points(connection, run_id, batch)


def _points(bundle: Bundle, uid: str) -> Iterator[LoggedPoint]:
    """The points of a run, in the order they were logged."""
    name = f"history/{uid}.jsonl"
    for number, line in enumerate(bundle.lines(name), 1):
        try:
            yield read_point(line)
        except (ValueError, TypeError, RecursionError, PointsmanError) as error:
            raise BundleError(
                f"{name} in the bundle {bundle.label} has an invalid line, number {number}: {line[:80]!a}: {error}"
            ) from error


def _set_free_alias(connection: sa.Connection, ref: Ref, alias: str) -> bool:
    """Set an alias if the adapter has none of this name; return whether it was set."""
    version = catalog.resolve(connection, ref)
    taken = sa.select(t.alias.c.name).where(t.alias.c.adapter_id == version.adapter_id, t.alias.c.name == alias)
    if connection.scalar(taken) is not None:
        return False
    connection.execute(
        t.alias.insert().values(adapter_id=version.adapter_id, name=alias, version_id=version.id, moved_at=events.now())
    )
    return True
