"""Verify versions: each manifest against its digest and its rows; numbers, aliases and lineage."""

import json
import math
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.refs import ref_column
from ..errors import SettingsError
from ..records import VersionKind
from ..versions import manifest as manifests
from .batches import batched

_BATCH: Final = 1_000
"""Versions in memory at a time."""

VersionRows = dict[str, list[Any]]
"""The rows of a version in the tables of files, parents and metrics, under these three names."""


def versions_with_rows(connection: sa.Connection) -> Iterator[tuple[Any, VersionRows]]:
    """Every version's row, with its ``ref`` and ``fingerprint``, and the rows that belong to it."""
    v = t.version
    versions = connection.execute(
        sa.select(v, ref_column(), t.base.c.fingerprint)
        .join(t.adapter, v.c.adapter_id == t.adapter.c.id)
        .join(t.base, v.c.base_id == t.base.c.id)
        .order_by(v.c.id)
    )
    for batch in batched(versions, _BATCH):
        first, last = batch[0].id, batch[-1].id
        tables = {
            "files": _by_column(
                connection,
                "version_id",
                sa.select(t.version_file).where(t.version_file.c.version_id.between(first, last)),
            ),
            "parents": _by_column(
                connection,
                "child_id",
                sa.select(t.lineage).where(t.lineage.c.child_id.between(first, last)).order_by(t.lineage.c.position),
            ),
            "metrics": _by_column(
                connection,
                "version_id",
                sa.select(t.version_metric, t.metric_key.c.name)
                .join(t.metric_key, t.version_metric.c.key_id == t.metric_key.c.id)
                .where(t.version_metric.c.version_id.between(first, last)),
            ),
        }
        for version in batch:
            yield version, {name: rows.get(version.id, []) for name, rows in tables.items()}


def _by_column(connection: sa.Connection, column: str, query: sa.Select[Any]) -> dict[int, list[Any]]:
    """Rows by the value of a column."""
    groups: dict[int, list[Any]] = {}
    for row in connection.execute(query):
        groups.setdefault(getattr(row, column), []).append(row)
    return groups


def version_problems(version: Any, rows: VersionRows) -> Iterator[str]:
    """What is wrong with one version of ``versions_with_rows``."""
    if manifests.digest(version.manifest) != version.digest:
        yield f"its manifest has the sha256 {manifests.digest(version.manifest)}, not {version.digest}"
        return
    try:
        rebuilt = manifests.build(
            files={file.name: file.sha256 for file in rows["files"]},
            task=version.task,
            method=version.method,
            config=version.config,
            base=version.fingerprint,
            max_length=version.max_length,
            parents=[parent.parent_digest for parent in rows["parents"]],
        )
    except (SettingsError, TypeError, ValueError) as error:
        yield f"its rows are invalid: {error}"
        return
    if rebuilt != version.manifest:
        expected, stored = json.loads(version.manifest), json.loads(rebuilt)
        different = [key for key in expected if expected[key] != stored.get(key)]
        yield f"its rows differ from its manifest: {', '.join(different)}"
    size = sum(file.size for file in rows["files"])
    if size != version.size:
        yield f"its files have {size} bytes, its row says {version.size}"
    task = version.task.get("name")
    if version.task_name != task:
        yield f"it is listed under the task '{version.task_name}', but its task is '{task}'"
    if version.primary_metric is not None:
        scores = {metric.name: metric.value for metric in rows["metrics"]}
        score = scores.get(version.primary_metric, math.inf)
        if score != version.score:
            yield f"its score is {version.score}, but its {version.primary_metric} is {score}"


def version_notes(connection: sa.Connection) -> Iterator[str]:
    """Bases whose versions an older release stored, with its fingerprint or without a tokenizer: one text a base.

    Every base that this release stores has a former fingerprint; a row without one was stored by an older release.
    """
    v, b, other = t.version.c, t.base.c, t.base.alias("other").c
    successor = sa.select(sa.func.min(other.fingerprint)).where(other.former_fingerprint == b.fingerprint)
    for name, fingerprint, present, number in connection.execute(
        sa.select(b.name, b.fingerprint, successor.scalar_subquery(), sa.func.count(v.id))
        .join(t.version, v.base_id == b.id)
        .where(b.former_fingerprint.is_(None))
        .group_by(b.id, b.name, b.fingerprint)
        .order_by(b.id)
    ):
        both = fingerprint[:12] if present is None else f"{fingerprint[:12]}, now {present[:12]}"
        yield (
            f"versions stored under the fingerprint of an older release: {number:,} of the base '{name}' ({both}); "
            "they go on loading"
        )
    for name, fingerprint, number in connection.execute(
        sa.select(b.name, b.fingerprint, sa.func.count(v.id))
        .join(t.version, v.base_id == b.id)
        .where(b.former_fingerprint.is_not(None), b.tokenizer.is_(None))
        .group_by(b.id, b.name, b.fingerprint)
        .order_by(b.id)
    ):
        yield (
            f"versions stored before tokenizers were recorded: {number:,} of the base '{name}' ({fingerprint[:12]}); "
            "they go on loading, and only the weights of their base are checked"
        )


def row_problems(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Adapters, aliases and lineage that contradict the versions: pairs of a ref and what is wrong with it."""
    v, a, link = t.version.c, t.adapter.c, t.lineage.c
    for name, last_number, highest in connection.execute(
        sa.select(a.name, a.last_number, sa.func.max(v.number))
        .join(t.version, v.adapter_id == a.id)
        .group_by(a.id, a.name, a.last_number)
        .having(sa.func.max(v.number) > a.last_number)
    ):
        yield name, f"its last number is {last_number}, but it has a version of number {highest}"
    for name, alias in connection.execute(
        sa.select(a.name, t.alias.c.name)
        .join(t.alias, t.alias.c.adapter_id == a.id)
        .join(t.version, t.alias.c.version_id == v.id)
        .where(v.adapter_id != a.id)
    ):
        yield f"{name}@{alias}", "the alias points to a version of another adapter"
    children = t.version.alias()
    child = children.c
    for ref, parent, digest in connection.execute(
        sa.select(ref_column(child.number), link.parent_ref, link.parent_digest)
        .join(children, child.adapter_id == a.id)
        .join(t.lineage, link.child_id == child.id)
        .join(t.version, link.parent_id == v.id)
        .where(link.parent_digest != v.digest)
    ):
        yield ref, f"its parent {parent} ({digest}) is linked to a version with other content"
    # A merge holds all of its parents' weights; what has no weights of its own cannot do without its members.
    for ref, parent, digest in connection.execute(
        sa.select(ref_column(child.number), link.parent_ref, link.parent_digest)
        .join(children, child.adapter_id == a.id)
        .join(t.lineage, link.child_id == child.id)
        .where(link.parent_id.is_(None), child.kind.in_([VersionKind.FUSION, VersionKind.COMPOSITION]))
        .order_by(child.id, link.position)
    ):
        yield ref, f"its member {parent} ({digest[:12]}) was removed: it cannot be loaded; import the member again"
