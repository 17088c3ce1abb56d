"""Adapters, versions, aliases, lineage and events: functions over an open transaction.

Each takes the connection of a transaction that the caller opened (``Registry`` does), so that several of them make one
atomic change.
"""

import getpass
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from . import manifest as manifests
from . import tables as t
from .errors import (
    AdapterNotFoundError,
    ConflictError,
    RunNotFoundError,
    SettingsError,
    VersionNotFoundError,
    unknown,
)
from .records import Base, Event, File, Version
from .refs import BEST, LATEST, Ref


def now() -> datetime:
    """The time that goes into every row."""
    return datetime.now(UTC)


def record_event(connection: sa.Connection, action: str, subject: str, details: Mapping[str, Any]) -> None:
    """Append one line to the log."""
    connection.execute(
        t.event.insert().values(at=now(), actor=_actor(), action=action, subject=subject, details=dict(details))
    )


def events(connection: sa.Connection, *, limit: int) -> list[Event]:
    """The newest ``limit`` events, newest first."""
    rows = connection.execute(sa.select(t.event).order_by(t.event.c.id.desc()).limit(limit))
    return [Event(at=r.at, actor=r.actor, action=r.action, subject=r.subject, details=r.details) for r in rows]


def base_id(connection: sa.Connection, base: Base) -> int:
    """The row of ``base``, made if it is not there."""
    found = connection.scalar(sa.select(t.base.c.id).where(t.base.c.fingerprint == base.fingerprint))
    if found is not None:
        return int(found)
    values = {column.name: getattr(base, column.name) for column in t.base.c if column.name != "id"}
    return _inserted(connection.execute(t.base.insert().values(values)))


def base_record(row: Any) -> Base:
    """The base of a joined row whose columns carry the prefix ``base_``."""
    return Base(**{column.name: getattr(row, f"base_{column.name}") for column in t.base.c if column.name != "id"})


def base_columns() -> list[sa.Label[Any]]:
    """The columns that ``base_record`` reads."""
    return [column.label(f"base_{column.name}") for column in t.base.c if column.name != "id"]


def insert_version(
    connection: sa.Connection,
    *,
    name: str,
    files: Sequence[File],
    task: Mapping[str, Any],
    method: str,
    config: Mapping[str, Any],
    base: Base,
    max_length: int,
    parameters: int,
    metrics: Mapping[str, float],
    primary_metric: str | None,
    run: str | None,
    parents: Sequence[tuple[str, Ref]],
) -> Ref:
    """Add the next version of ``name`` and return its ref. The files are in the store already.

    Args:
        parents: ``(role, ref)`` of the versions it was made from, in order.
    """
    metrics = {key: float(value) for key, value in metrics.items()}
    if primary_metric is not None and primary_metric not in metrics:
        raise SettingsError(f"primary metric '{primary_metric}' is not among the metrics: {', '.join(metrics)}")
    if infinite := [key for key, value in metrics.items() if math.isinf(value)]:
        raise SettingsError(f"metric '{infinite[0]}' is infinite: a version's metrics have to be finite or NaN")
    score = metrics[primary_metric] if primary_metric is not None else None
    resolved = [(role, *resolve(connection, ref)) for role, ref in parents]
    digests = {
        row.id: row.digest
        for row in connection.execute(
            sa.select(t.version.c.id, t.version.c.digest).where(t.version.c.id.in_([i for _, i, _ in resolved]))
        )
    }
    manifest = manifests.build(
        files={file.name: file.sha256 for file in files},
        task=task,
        method=method,
        config=config,
        base=base.fingerprint,
        max_length=max_length,
        parents=[digests[version_id] for _, version_id, _ in resolved],
    )
    adapter_id, number = _next_number(connection, name)
    version_id = _inserted(
        connection.execute(
            t.version.insert().values(
                adapter_id=adapter_id,
                number=number,
                digest=manifests.digest(manifest),
                manifest=manifest,
                task_name=task["name"],
                task=dict(task),
                method=method,
                config=dict(config),
                base_id=base_id(connection, base),
                max_length=max_length,
                parameters=parameters,
                size=sum(file.size for file in files),
                metrics={key: None if math.isnan(value) else value for key, value in metrics.items()},
                primary_metric=primary_metric,
                score=None if score is None or math.isnan(score) else score,
                run_id=None if run is None else _free_run(connection, run),
                created_at=now(),
            )
        )
    )
    connection.execute(
        t.version_file.insert(),
        [{"version_id": version_id, "name": f.name, "sha256": f.sha256, "size": f.size} for f in files],
    )
    if resolved:
        connection.execute(
            t.lineage.insert(),
            [
                {"child_id": version_id, "position": position, "parent_id": parent_id, "role": role}
                for position, (role, parent_id, _) in enumerate(resolved)
            ],
        )
    ref = Ref(name, number)
    record_event(connection, "add", str(ref), {"digest": manifests.digest(manifest), "run": run})
    return ref


def resolve(connection: sa.Connection, ref: Ref) -> tuple[int, int]:
    """The row id and the number of the version that ``ref`` means now.

    Raises:
        AdapterNotFoundError, VersionNotFoundError: Nothing of that name; the message lists what there is.
    """
    adapter_id = connection.scalar(sa.select(t.adapter.c.id).where(t.adapter.c.name == ref.name))
    if adapter_id is None:
        names = connection.scalars(sa.select(t.adapter.c.name).order_by(t.adapter.c.name))
        raise unknown(AdapterNotFoundError, "adapter", ref.name, names, "train one with 'registry train'")
    v = t.version.c
    query = sa.select(v.id, v.number).where(v.adapter_id == adapter_id)
    if ref.selector == LATEST:
        query = query.order_by(v.number.desc())
    elif ref.selector == BEST:
        query = query.order_by(v.score.desc().nulls_last(), v.number.desc())
    elif isinstance(ref.selector, int):
        query = query.where(v.number == ref.selector)
    else:
        query = query.join(t.alias, t.alias.c.version_id == v.id).where(
            t.alias.c.adapter_id == adapter_id, t.alias.c.name == ref.selector
        )
    row = connection.execute(query.limit(1)).first()
    if row is None:
        numbers = connection.scalars(sa.select(v.number).where(v.adapter_id == adapter_id).order_by(v.number))
        aliases = connection.scalars(
            sa.select(t.alias.c.name).where(t.alias.c.adapter_id == adapter_id).order_by(t.alias.c.name)
        )
        known = [f"{ref.name}@{selector}" for selector in (*numbers, *aliases)]
        raise unknown(VersionNotFoundError, "version", str(ref), known, "see 'registry list --all'")
    return row.id, row.number


def versions(
    connection: sa.Connection,
    *,
    where: Iterable[sa.ColumnElement[bool]] = (),
    order_by: Iterable[sa.ColumnElement[Any]] = (),
    newest_only: bool = False,
    limit: int | None = None,
) -> list[Version]:
    """Versions as records, in three statements whatever their number.

    Args:
        where: Conditions over ``version``, ``adapter``, ``base`` and ``run``.
        order_by: Sort keys; the adapter's name and the number decide ties.
        newest_only: Of each adapter, only the version with the highest number.
        limit: At most so many.
    """
    v = t.version
    query = (
        sa.select(v, t.adapter.c.name.label("name"), t.run.c.uid.label("run_uid"), *base_columns())
        .join(t.adapter, v.c.adapter_id == t.adapter.c.id)
        .join(t.base, v.c.base_id == t.base.c.id)
        .outerjoin(t.run, v.c.run_id == t.run.c.id)
        .where(*where)
        .order_by(*order_by, t.adapter.c.name, v.c.number)
        .limit(limit)
    )
    if newest_only:
        other = v.alias()
        query = query.where(
            v.c.number
            == sa.select(sa.func.max(other.c.number)).where(other.c.adapter_id == v.c.adapter_id).scalar_subquery()
        )
    rows = connection.execute(query).all()
    # A subquery, not a list of ids: SQLite takes only so many bound values.
    ids = sa.select(query.with_only_columns(v.c.id).subquery().c.id)
    files = _grouped(
        connection.execute(
            sa.select(
                t.version_file.c.version_id, t.version_file.c.name, t.version_file.c.sha256, t.version_file.c.size
            )
            .where(t.version_file.c.version_id.in_(ids))
            .order_by(t.version_file.c.name)
        )
    )
    # Aliases and parents come in one statement: both are short lists of names beside a version.
    parent, parent_adapter = v.alias(), t.adapter.alias()
    names = _grouped(
        connection.execute(
            sa.union_all(
                sa.select(
                    t.alias.c.version_id, sa.literal("alias"), sa.literal(0).label("position"), t.alias.c.name
                ).where(t.alias.c.version_id.in_(ids)),
                sa.select(
                    t.lineage.c.child_id,
                    sa.literal("parent"),
                    t.lineage.c.position,
                    parent_adapter.c.name + "@" + sa.cast(parent.c.number, sa.String),
                )
                .join(parent, t.lineage.c.parent_id == parent.c.id)
                .join(parent_adapter, parent.c.adapter_id == parent_adapter.c.id)
                .where(t.lineage.c.child_id.in_(ids)),
            ).order_by("position", "name")
        )
    )
    return [
        Version(
            name=row.name,
            number=row.number,
            digest=row.digest,
            task=row.task,
            method=row.method,
            config=row.config,
            base=base_record(row),
            max_length=row.max_length,
            parameters=row.parameters,
            size=row.size,
            metrics={key: math.nan if value is None else value for key, value in row.metrics.items()},
            primary_metric=row.primary_metric,
            score=row.score,
            files=tuple(File(name=name, sha256=sha256, size=size) for name, sha256, size in files.get(row.id, ())),
            aliases=tuple(name for kind, _, name in names.get(row.id, ()) if kind == "alias"),
            parents=tuple(name for kind, _, name in names.get(row.id, ()) if kind == "parent"),
            run=row.run_uid,
            created_at=row.created_at,
        )
        for row in rows
    ]


def set_alias(connection: sa.Connection, ref: Ref, alias: str) -> None:
    """Point ``alias`` at the version that ``ref`` means now."""
    version_id, number = resolve(connection, ref)
    adapter_id = connection.scalar(sa.select(t.version.c.adapter_id).where(t.version.c.id == version_id))
    key = (t.alias.c.adapter_id == adapter_id) & (t.alias.c.name == alias)
    values = {"version_id": version_id, "moved_at": now()}
    if connection.execute(t.alias.update().where(key).values(values)).rowcount == 0:
        connection.execute(t.alias.insert().values(adapter_id=adapter_id, name=alias, **values))
    record_event(connection, "alias", f"{ref.name}@{number}", {"alias": alias})


def _free_run(connection: sa.Connection, uid: str) -> int:
    """The row of the run, which must not have made a version yet."""
    run_id = connection.scalar(sa.select(t.run.c.id).where(t.run.c.uid == uid))
    if run_id is None:
        raise RunNotFoundError(f"no run {uid[:80]!a}: give the uid of a run in this registry")
    if connection.scalar(sa.select(t.version.c.id).where(t.version.c.run_id == run_id)) is not None:
        raise ConflictError(f"run {uid} has made a version already: a run makes one")
    return int(run_id)


def _next_number(connection: sa.Connection, name: str) -> tuple[int, int]:
    counted = connection.execute(
        t.adapter.update()
        .where(t.adapter.c.name == name)
        .values(last_number=t.adapter.c.last_number + 1)
        .returning(t.adapter.c.id, t.adapter.c.last_number)
    ).first()
    if counted is not None:
        return counted.id, counted.last_number
    return _inserted(connection.execute(t.adapter.insert().values(name=name, last_number=1, created_at=now()))), 1


def _inserted(result: sa.CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _grouped(rows: Iterable[Any]) -> dict[int, list[Any]]:
    groups: dict[int, list[Any]] = {}
    for first, *rest in rows:
        groups.setdefault(first, []).append(rest)
    return groups


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in the password file
        return "unknown"
