"""Add, resolve and remove versions of adapters: functions over an open transaction.

The caller opens the transaction (``Registry`` does), so that several calls make one atomic change.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ..database import tables as t
from ..database.bases import base_id
from ..database.events import now, record
from ..database.refs import ref_column
from ..errors import (
    Action,
    AdapterNotFoundError,
    Advice,
    ConflictError,
    InUseError,
    RunNotFoundError,
    VersionNotFoundError,
    unknown,
)
from ..metrics.points import key_ids
from ..records import Base, Evaluation, File, Parent, VersionKind
from ..refs import ANY, BEST, GREATEST_NUMBER, LATEST, Ref, check_run
from ..runs.listing import TRAININGS
from ..storage.objects import check_digest
from ..values import check_whole
from . import best, checks, evaluations
from . import manifest as manifests

GREATEST_KEPT: Final = 999_999
"""The greatest number that an import keeps; a version with a greater one gets the next number.

A number is never given twice, so what a bundle says of a number holds for ever: with version 999,999,999 of an adapter,
the next one could not be named. From here, numbers are given one at a time only. So however many bundles come in, more
than 998 million versions of an adapter can still be made, and who has trained a million keeps every number.
"""


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """A version to insert; its files are in the store already."""

    name: str
    files: Sequence[File]
    task: Mapping[str, Any]
    kind: VersionKind
    method: str
    config: Mapping[str, Any]
    base: Base
    max_length: int
    parameters: int
    metrics: Mapping[str, float]
    primary_metric: str | None
    run: str | None
    tags: Mapping[str, str]
    note: str | None
    evaluation: Evaluation | None = None

    def __post_init__(self) -> None:
        checks.check_fields(
            name=self.name,
            files=[file.name for file in self.files],
            task=self.task,
            kind=self.kind,
            method=self.method,
            config=self.config,
            base=self.base,
            max_length=self.max_length,
            parameters=self.parameters,
            metrics=self.metrics,
            primary_metric=self.primary_metric,
            tags=self.tags,
            note=self.note,
        )
        for file in self.files:
            check_digest(file.sha256)
            check_whole(f"the size of the file '{file.name}'", file.size)
        check_whole("the size of all files", sum(file.size for file in self.files))
        if self.run is not None:
            check_run(self.run)
        evaluations.check(self.evaluation)

    def manifest(self, parents: Sequence[Parent]) -> str:
        """The canonical manifest of the version, made from these parents; its sha256 is the version's digest."""
        return manifests.build(
            files={file.name: file.sha256 for file in self.files},
            task=self.task,
            method=self.method,
            config=self.config,
            base=self.base.fingerprint,
            max_length=self.max_length,
            parents=[parent.digest for parent in parents],
        )


class VersionRow(NamedTuple):
    """The row of the version that a ref resolves to."""

    id: int
    number: int
    adapter_id: int
    run_id: int | None
    digest: str


def insert_version(
    connection: sa.Connection,
    new: NewVersion,
    *,
    parents: Sequence[Parent],
    created_at: datetime,
    number: int | None = None,
) -> Ref:
    """Add a version and return its ref.

    Args:
        connection: A transaction that writes.
        new: The version.
        parents: The versions that it was made from.
        created_at: When it was made.
        number: The version's number, if it is above every number that the adapter ever had and at most
            ``GREATEST_KEPT``; else it gets the next one.

    Raises:
        NotFoundError: The run does not exist.
        ConflictError: The run has made a version already, or the adapter has had the greatest number.
    """
    metrics = {key: float(value) for key, value in new.metrics.items()}
    manifest = new.manifest(parents)
    digest = manifests.digest(manifest)
    imported = number is not None  # what comes in with a bundle changes no version that is here
    adapter_id, number = _next_number(connection, new.name, number)
    score = None if new.primary_metric is None else _null(metrics[new.primary_metric])
    run_id = None if new.run is None else _free_run(connection, new.run)
    evaluation = new.evaluation
    if not imported:
        evaluations.correct_older(connection, evaluation, run_id=run_id, metric=new.primary_metric)
    version_id = connection.execute(
        t.version.insert()
        .values(
            adapter_id=adapter_id,
            number=number,
            digest=digest,
            manifest=manifest,
            task_name=new.task["name"],
            task=dict(new.task),
            kind=new.kind,
            method=new.method,
            config=dict(new.config),
            base_id=base_id(connection, new.base),
            max_length=new.max_length,
            parameters=new.parameters,
            size=sum(file.size for file in new.files),
            primary_metric=new.primary_metric,
            score=score,
            note=new.note,
            run_id=run_id,
            created_at=created_at,
            evaluation=None if evaluation is None else evaluation.fingerprint,
            evaluation_rows=None if evaluation is None else evaluation.rows,
        )
        .returning(t.version.c.id)
    ).scalar_one()
    connection.execute(
        t.version_file.insert(),
        [{"version_id": version_id, "name": f.name, "sha256": f.sha256, "size": f.size} for f in new.files],
    )
    if metrics:
        keys = key_ids(connection, metrics)
        connection.execute(
            t.version_metric.insert(),
            [{"version_id": version_id, "key_id": keys[key], "value": _null(metrics[key])} for key in metrics],
        )
    if new.tags:
        connection.execute(
            t.tag.insert(), [{"version_id": version_id, "key": key, "value": new.tags[key]} for key in new.tags]
        )
    _insert_parents(connection, version_id, parents)
    # An import may insert children before their parent: their rows get the parent's id now.
    connection.execute(
        t.lineage.update()
        .where(t.lineage.c.parent_digest == digest, t.lineage.c.parent_id.is_(None))
        .values(parent_id=version_id)
    )
    return Ref(new.name, number)


def resolve_parents(connection: sa.Connection, refs: Iterable[tuple[str, Ref]]) -> list[Parent]:
    """Resolve ``(role, ref)`` pairs to the parents of a new version."""
    resolved = [(role, ref.name, resolve(connection, ref)) for role, ref in refs]
    return [
        Parent(ref=f"{name}@{version.number}", digest=version.digest, role=role, present=True)
        for role, name, version in resolved
    ]


def resolve(connection: sa.Connection, ref: Ref) -> VersionRow:
    """Return the row of the version that ``ref`` resolves to.

    Raises:
        AdapterNotFoundError, VersionNotFoundError: It does not exist; the message lists the known ones.
        SettingsError: The best is to be scored as a version that has no score.
    """
    v, a = t.version.c, t.adapter.c
    query = (
        sa.select(v.id, v.number, v.adapter_id, v.run_id, v.digest)
        .join(t.adapter, v.adapter_id == a.id)
        .where(a.name == ref.name)
    )
    if ref.selector == LATEST:
        query = query.order_by(v.number.desc())
    elif ref.selector == BEST:
        query = best.ranked(query, best_group(connection, ref))
    elif isinstance(ref.selector, int):
        query = query.where(v.number == ref.selector)
    else:
        query = query.join(t.alias, t.alias.c.version_id == v.id).where(
            t.alias.c.adapter_id == a.id, t.alias.c.name == ref.selector
        )
    row = connection.execute(query.limit(1)).first()
    if row is not None:
        return VersionRow(*row)
    live = sa.exists().where(v.adapter_id == a.id)
    names = connection.scalars(sa.select(a.name).where(live).order_by(a.name)).all()
    if ref.name not in names:
        raise unknown(AdapterNotFoundError, "adapter", ref.name, names, advice=_advice(connection, ref.name, names))
    of_adapter = (v.adapter_id == a.id) & (a.name == ref.name)
    numbers = connection.scalars(sa.select(v.number).where(of_adapter).order_by(v.number))
    aliases = connection.scalars(
        sa.select(t.alias.c.name).where(t.alias.c.adapter_id == a.id, a.name == ref.name).order_by(t.alias.c.name)
    )
    known = [f"{ref.name}@{selector}" for selector in (*numbers, *aliases)]
    raise unknown(
        VersionNotFoundError, "version", str(ref), known, advice=Advice(Action.LIST_VERSIONS, {"adapter": ref.name})
    )


def best_group(connection: sa.Connection, ref: Ref) -> best.Group | None:
    """The group of versions that a ref with ``best`` chooses from; None: all.

    Raises:
        VersionNotFoundError, SettingsError: The version that it is to be scored as does not exist, or has no score.
    """
    like = None if ref.scored_as in (None, ANY) else resolve(connection, Ref(ref.name, ref.scored_as)).id
    return best.group(connection, ref, like)


def _advice(connection: sa.Connection, name: str, known: Sequence[str]) -> Advice:
    """The advice for an adapter without a version: show its newest run, list the others, or train the first."""
    trainings = sa.select(t.run.c.uid).where(t.run.c.adapter_name == name, TRAININGS)
    newest = trainings.order_by(t.run.c.id.desc()).limit(1)
    uid = connection.scalar(newest)
    if uid is not None:
        return Advice(Action.SHOW_HISTORY, {"run": uid})
    return Advice(Action.LIST_VERSIONS) if known else Advice(Action.TRAIN)


def remove_version(connection: sa.Connection, ref: Ref, *, force: bool) -> Ref:
    """Remove a version, and return the ref that it had; its number is never reused, and its run keeps its history.

    Raises:
        InUseError: Versions were made from it, or aliases point to it, and ``force`` is False.
    """
    version = resolve(connection, ref)
    removed = Ref(ref.name, version.number)
    aliases = connection.scalars(sa.select(t.alias.c.name).where(t.alias.c.version_id == version.id)).all()
    children = connection.scalars(
        sa.select(ref_column())
        .join(t.version, t.version.c.adapter_id == t.adapter.c.id)
        .join(t.lineage, t.lineage.c.child_id == t.version.c.id)
        .where(t.lineage.c.parent_id == version.id)
        .distinct()
    ).all()
    if not force and (aliases or children):
        reasons = [f"{', '.join(sorted(children))} {'were' if len(children) > 1 else 'was'} made from it"]
        reasons = reasons if children else []
        if aliases:
            named = " and ".join(f"{ref.name}@{name}" for name in sorted(aliases))
            reasons.append(
                f"the aliases {named} point to it" if len(aliases) > 1 else f"the alias {named} points to it"
            )
        raise InUseError(
            f"{removed} is in use: {', and '.join(reasons)}",
            advice=Advice(Action.REMOVE_VERSION, {"ref": str(removed), "force": True}),
        )
    connection.execute(t.alias.delete().where(t.alias.c.version_id == version.id))
    connection.execute(t.version.delete().where(t.version.c.id == version.id))
    record(connection, "remove", removed, {"digest": version.digest, "aliases": list(aliases)})
    return removed


def _insert_parents(connection: sa.Connection, version_id: int, parents: Sequence[Parent]) -> None:
    if not parents:
        return
    v = t.version.c
    query = sa.select(v.digest, sa.func.max(v.id)).where(v.digest.in_([parent.digest for parent in parents]))
    ids: dict[str, int] = dict(connection.execute(query.group_by(v.digest)).all())
    # The ref distinguishes versions with the same digest; if it names another version by now, the digest decides.
    named = sa.select(v.id, v.digest, ref_column()).join(t.adapter, v.adapter_id == t.adapter.c.id)
    exact = {(row.ref, row.digest): row.id for row in connection.execute(named.where(v.digest.in_(list(ids))))}
    connection.execute(
        t.lineage.insert(),
        [
            {
                "child_id": version_id,
                "position": position,
                "parent_id": exact.get((parent.ref, parent.digest), ids.get(parent.digest)),
                "parent_ref": parent.ref,
                "parent_digest": parent.digest,
                "role": parent.role,
            }
            for position, parent in enumerate(parents)
        ],
    )


def _free_run(connection: sa.Connection, uid: str) -> int:
    """Return the id of a run that has not made a version."""
    run_id = connection.scalar(sa.select(t.run.c.id).where(t.run.c.uid == uid))
    if run_id is None:
        uids = connection.scalars(sa.select(t.run.c.uid).order_by(t.run.c.id.desc()).limit(20))
        raise unknown(RunNotFoundError, "run", uid, uids, advice=Advice(Action.LIST_RUNS))
    if connection.scalar(sa.select(t.version.c.id).where(t.version.c.run_id == run_id)) is not None:
        raise ConflictError(f"run {uid} has made a version already: a run makes one version")
    return int(run_id)


def _next_number(connection: sa.Connection, name: str, wanted: int | None) -> tuple[int, int]:
    a = t.adapter.c
    wanted = None if wanted is None or wanted > GREATEST_KEPT else wanted
    row = connection.execute(sa.select(a.id, a.last_number).where(a.name == name)).first()
    if row is None:
        number = wanted or 1
        values = {"name": name, "last_number": number, "created_at": now()}
        return connection.execute(t.adapter.insert().values(values).returning(a.id)).scalar_one(), number
    number = wanted if wanted is not None and wanted > row.last_number else row.last_number + 1
    if number > GREATEST_NUMBER:
        raise ConflictError(
            f"the adapter '{name}' has had a version {GREATEST_NUMBER}, the greatest number there is: use another name"
        )
    connection.execute(t.adapter.update().where(a.id == row.id).values(last_number=number))
    return row.id, number


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
