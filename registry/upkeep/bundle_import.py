"""Bringing the versions of a bundle into a registry: all of them, or none."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from ..database import events
from ..database import tables as t
from ..errors import BundleError, PointsmanError
from ..metrics.points import insert_points
from ..records import Base, File, LoggedPoint, Parent, RunStatus
from ..refs import Ref, check_alias, check_filename, check_metric, check_name, check_note, check_run, check_tag
from ..registry import Registry
from ..runs import runs
from ..storage.objects import check_digest
from ..versions import catalog
from .bundle import Bundle
from .older_bundles import kind_of, split_origin

_BATCH: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of one version of a bundle."""

    source: str
    """Its ref in the registry that it comes from."""
    ref: str
    """Its ref here."""
    new: bool
    """Whether it was not here before."""
    aliases: tuple[str, ...]
    """Aliases that came along: those that nothing here had."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    uid: str
    adapter: str
    values: Mapping[str, Any]


def import_bundle(registry: Registry, path: str | Path) -> list[Imported]:
    """Bring the versions of a bundle in, with runs, metric histories, lineage, tags and notes.

    A version that is here already (the same adapter, content and run) is left as it is, so that importing twice is
    importing once. The others keep their number where it is still ahead of all the adapter ever had, and get the next
    one where it is not. Aliases come along where nothing here has that name; none is moved.

    Raises:
        BundleError: The bundle is damaged, hostile, or of another format; nothing of it was imported.
        DiskFullError, StoreError, DatabaseError: It could not be written; no version of it is listed.
    """
    with Bundle(path) as bundle:
        index = bundle.index()
        try:
            versions = [_version(record) for record in index["versions"]]
            found = {run.uid: run for run in map(_run, index["runs"])}
            aliases = [[check_alias(alias) for alias in record["aliases"]] for record in index["versions"]]
        except PointsmanError as error:
            raise BundleError(f"the bundle {bundle.label} has a record that cannot be: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BundleError(f"the bundle {bundle.label} has a record that lacks or mistakes {error}") from error
        _check_whole(bundle, [new for _, new in versions], found)
        for digest in bundle.objects:
            registry.store.put_stream(bundle.stream(f"objects/{digest}"), digest)
        with registry.database.writing() as connection:
            imported = []
            for (number, new), names in zip(versions, aliases, strict=True):
                here = _already(connection, new)
                ref = here or _insert(connection, bundle, new, number, found)
                moved = [] if here else [alias for alias in names if _set_alias(connection, ref, alias)]
                source = f"{new.name}@{number}"
                imported.append(Imported(source=source, ref=str(ref), new=here is None, aliases=tuple(moved)))
                if here is None:
                    details: dict[str, Any] = {"bundle": bundle.path.name, "from": source, "digest": new.digest}
                    details |= {"run": new.run, "aliases": moved}
                    events.record(connection, "import", ref, details)
            # As when a version is added: nobody collects garbage now, and what was collected before is put back.
            for digest in bundle.objects:
                if not registry.store.has(digest):
                    registry.store.put_stream(bundle.stream(f"objects/{digest}"), digest)
    return imported


def _check_whole(bundle: Bundle, versions: list[catalog.NewVersion], found: Mapping[str, _Run]) -> None:
    """Refuse a bundle in which something is named and not there, before anything of it is stored."""
    listed = set(bundle.objects)
    for new in versions:
        for file in new.files:
            if file.sha256 not in listed:
                raise BundleError(f"the bundle {bundle.label} lacks the file {file.name} of {new.name}: {file.sha256}")
        if new.run is not None and new.run not in found:
            raise BundleError(f"the bundle {bundle.label} lacks the run {new.run} that made {new.name}")
    for uid in found:
        if not bundle.has(f"history/{uid}.jsonl"):
            raise BundleError(f"the bundle {bundle.label} lacks the history of the run {uid}")
    # Every member is read to its end once: what is damaged is found before anything is written.
    for uid in found:
        for _ in _points(bundle, uid):
            pass


def _version(record: Mapping[str, Any]) -> tuple[int, catalog.NewVersion]:
    new = catalog.NewVersion(
        name=check_name(record["name"]),
        files=[
            File(name=check_filename(file["name"]), sha256=check_digest(file["sha256"]), size=_whole(file["size"]))
            for file in record["files"]
        ],
        task=_task(record["task"]),
        kind=catalog.check_kind(record["kind"]) if "kind" in record else kind_of(record["method"], record["config"]),
        method=_text(record["method"], 64),
        config=dict(record["config"]),
        base=_base(record["base"]),
        max_length=_whole(record["max_length"]),
        parameters=_whole(record["parameters"]),
        metrics={
            check_metric(key): math.nan if value is None else float(value) for key, value in record["metrics"].items()
        },
        primary_metric=record["primary_metric"],
        run=None if record["run"] is None else check_run(record["run"]),
        parents=[
            Parent(
                ref=str(Ref.parse(_text(parent["ref"], 80))),
                digest=check_digest(parent["digest"]),
                role=_text(parent["role"], 32),
                present=False,
            )
            for parent in record["parents"]
        ],
        created_at=_time(record["created_at"]),
        tags=dict(record["tags"]),
        note=None if record["note"] is None else check_note(record["note"]),
    )
    for key, value in new.tags.items():
        check_tag(key, _text(value, 5_000))
    if not new.files or len({file.name for file in new.files}) < len(new.files):
        raise BundleError(f"{new.name} has no files, or two of one name")
    if new.digest != record["digest"]:
        raise BundleError(f"{new.name}@{record['number']} has the digest {new.digest}, not {record['digest']}")
    number = _whole(record["number"])
    if not 0 < number < 10**9:
        raise BundleError(f"{new.name} has the number {number}")
    return number, new


def _run(record: Mapping[str, Any]) -> _Run:
    origin, settings = split_origin(record)
    if origin is not None:
        runs.check_origin(origin)
    values = {
        "task": check_name(record["task"], "task name"),
        "method": _text(record["method"], 64),
        "base": _base(record["base"]),
        "settings": settings,
        "data": dict(record["data"]),
        "environment": dict(record["environment"]),
        "seed": _whole(record["seed"], least=-(2**63)),
        "status": RunStatus(record["status"]),
        "error": None if record["error"] is None else _text(record["error"], 1 << 20),
        "started_at": _time(record["started_at"]),
        "ended_at": None if record["ended_at"] is None else _time(record["ended_at"]),
        "heartbeat_at": _time(record["heartbeat_at"]),
        "origin": origin,
    }
    return _Run(uid=check_run(record["uid"]), adapter=check_name(record["adapter"]), values=values)


def _already(connection: sa.Connection, new: catalog.NewVersion) -> Ref | None:
    """The ref of the same version, if it is here: the same adapter, content and run."""
    v = t.version.c
    number = connection.scalar(
        sa.select(v.number)
        .join(t.adapter, v.adapter_id == t.adapter.c.id)
        .outerjoin(t.run, v.run_id == t.run.c.id)
        .where(
            t.adapter.c.name == new.name,
            v.digest == new.digest,
            t.run.c.uid.is_(None) if new.run is None else t.run.c.uid == new.run,
            v.created_at == new.created_at,
        )
        .limit(1)
    )
    return None if number is None else Ref(new.name, number)


def _insert(
    connection: sa.Connection, bundle: Bundle, new: catalog.NewVersion, number: int, found: Mapping[str, _Run]
) -> Ref:
    if new.run is not None:
        run = found[new.run]
        if connection.scalar(sa.select(t.run.c.id).where(t.run.c.uid == run.uid)) is None:
            run_id = runs.insert(connection, uid=run.uid, adapter=run.adapter, **run.values)
            batch: list[LoggedPoint] = []
            for point in _points(bundle, run.uid):
                batch.append(point)
                if len(batch) == _BATCH:
                    insert_points(connection, run_id, batch)
                    batch = []
            if batch:
                insert_points(connection, run_id, batch)
    try:
        return catalog.insert_version(connection, new, number=number)
    except PointsmanError as error:
        raise BundleError(f"the bundle {bundle.label} has a version that cannot be: {error}") from error


def _points(bundle: Bundle, uid: str) -> Iterator[LoggedPoint]:
    name = f"history/{uid}.jsonl"
    for line in bundle.lines(name):
        try:
            key, step, epoch, wall_time, value = json.loads(line.decode())
            if epoch is not None:
                epoch = float(epoch)
            number = math.nan if value is None else float(value)
            yield LoggedPoint(check_metric(key), _whole(step), number, epoch, float(wall_time))
        except (ValueError, TypeError, RecursionError, PointsmanError) as error:
            raise BundleError(
                f"{name} in the bundle {bundle.label} has a line that cannot be: {line[:80]!a}"
            ) from error


def _set_alias(connection: sa.Connection, ref: Ref, alias: str) -> bool:
    version = catalog.resolve(connection, ref)
    taken = sa.select(t.alias.c.name).where(t.alias.c.adapter_id == version.adapter_id, t.alias.c.name == alias)
    if connection.scalar(taken) is not None:
        return False
    connection.execute(
        t.alias.insert().values(adapter_id=version.adapter_id, name=alias, version_id=version.id, moved_at=events.now())
    )
    return True


def _task(value: Any) -> dict[str, Any]:
    task = dict(value)
    check_name(task["name"], "task name")
    return task


def _base(value: Mapping[str, Any]) -> Base:
    former = value.get("former_fingerprint")
    return Base(
        fingerprint=check_digest(value["fingerprint"]),
        name=_text(value["name"], 4_096),
        model_type=_text(value["model_type"], 64),
        hidden_size=_whole(value["hidden_size"]),
        layers=_whole(value["layers"]),
        parameters=_whole(value["parameters"]),
        size=_whole(value["size"]),
        former_fingerprint=None if former is None else check_digest(former),
    )


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise TypeError(f"a text of at most {most} characters")
    return value


def _whole(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value < 2**63:
        raise TypeError("a whole number")
    return value


def _time(value: Any) -> datetime:
    found = datetime.fromisoformat(_text(value, 64))
    if found.tzinfo is None:
        raise ValueError("a time with its zone")
    return found
