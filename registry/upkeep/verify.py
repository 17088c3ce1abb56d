"""Verify: every sha256, every row against every file, and the database's own checks."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.refs import ref_column
from ..errors import ObjectMissingError, SettingsError, StoreError
from ..metrics.buckets import SIZES
from ..registry import Registry
from ..versions import manifest as manifests

WORKERS: Final = min(4, os.cpu_count() or 1)
_MANY: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    subject: str
    """A version's ref, an object's digest, or ``database``."""
    text: str
    digest: str | None = None
    """The object that a good copy of would mend it."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``verify`` found."""

    problems: tuple[Problem, ...]
    versions: int
    files: int
    """Different files of all versions."""
    size: int
    """Their bytes."""


def verify(registry: Registry) -> Report:
    """Check everything there is to check, and list what is wrong.

    The database's own integrity and foreign keys; every version's manifest against its digest and against its rows;
    numbers, aliases, lineage and summaries against what they count and point to; the sha256 and size of every file.
    Others may write meanwhile: what is removed while it is being read is no problem.
    """
    problems = [Problem(subject="database", text=text) for text in registry.database.problems()]
    versions = 0
    # One after the other: on SQLite, writers wait for readers.
    with registry.database.reading() as connection:
        for row, rows in _versions(connection):
            versions += 1
            problems += [Problem(subject=row.ref, text=text) for text in _wrong_with(row, rows)]
        files = {row.sha256: row.size for row in connection.execute(_files())}
    for check in (_wrong_rows, _wrong_histories):
        with registry.database.reading() as connection:
            problems += [Problem(subject=subject, text=text) for subject, text in check(connection)]
    with ThreadPoolExecutor(WORKERS) as pool:
        broken = {
            digest: text for digest, text in pool.map(lambda file: _check(registry, *file), files.items()) if text
        }
    for digest, refs in _still_needed(registry, broken).items():
        problems.append(Problem(subject=digest, text=f"{broken[digest]}; it belongs to {refs}", digest=digest))
    return Report(problems=tuple(problems), versions=versions, files=len(files), size=sum(files.values()))


def _files() -> sa.Select[Any]:
    f = t.version_file.c
    return sa.select(f.sha256, sa.func.max(f.size).label("size")).group_by(f.sha256).order_by(f.sha256)


def _check(registry: Registry, digest: str, size: int) -> tuple[str, str | None]:
    try:
        found, length = registry.store.measure(digest)
    except ObjectMissingError:
        return digest, f"the file is missing from {registry.store.label}"
    except StoreError as error:
        return digest, str(error)
    if found == digest:
        return digest, None if length == size else f"the file has {length} bytes, its rows say {size}"
    return digest, f"the file is damaged: its {length} bytes ({size} are right) have the sha256 {found}"


def _still_needed(registry: Registry, digests: Iterable[str]) -> dict[str, str]:
    """Which versions need some files now, in words; files that no version needs any more are not in it."""
    f = t.version_file.c
    needed: dict[str, str] = {}
    with registry.database.reading() as connection:
        for digest in digests:
            rows = connection.execute(
                sa.select(ref_column(), f.name)
                .join(t.version, t.version.c.adapter_id == t.adapter.c.id)
                .join(t.version_file, f.version_id == t.version.c.id)
                .where(f.sha256 == digest)
                .order_by(t.version.c.id)
                .limit(6)
            ).all()
            if rows:
                more = " and others" if len(rows) > 5 else ""
                needed[digest] = ", ".join(f"{ref} ({name})" for ref, name in rows[:5]) + more
    return needed


def _versions(connection: sa.Connection) -> Iterator[tuple[Any, dict[str, list[Any]]]]:
    """Every version's row, and what hangs on it, some at a time."""
    v = t.version
    rows = iter(
        connection.execute(
            sa.select(v, ref_column(), t.base.c.fingerprint)
            .join(t.adapter, v.c.adapter_id == t.adapter.c.id)
            .join(t.base, v.c.base_id == t.base.c.id)
            .order_by(v.c.id)
        )
    )
    while some := list(islice(rows, _MANY)):
        hanging: dict[str, dict[int, list[Any]]] = {}
        first, last = some[0].id, some[-1].id
        for name, column, query in (
            ("files", "version_id", sa.select(t.version_file).where(t.version_file.c.version_id.between(first, last))),
            (
                "parents",
                "child_id",
                sa.select(t.lineage).where(t.lineage.c.child_id.between(first, last)).order_by(t.lineage.c.position),
            ),
            (
                "metrics",
                "version_id",
                sa.select(t.version_metric, t.metric_key.c.name)
                .join(t.metric_key, t.version_metric.c.key_id == t.metric_key.c.id)
                .where(t.version_metric.c.version_id.between(first, last)),
            ),
        ):
            groups = hanging.setdefault(name, {})
            for row in connection.execute(query):
                groups.setdefault(getattr(row, column), []).append(row)
        for row in some:
            yield row, {name: groups.get(row.id, []) for name, groups in hanging.items()}


def _wrong_with(row: Any, rows: dict[str, list[Any]]) -> Iterator[str]:
    if manifests.digest(row.manifest) != row.digest:
        yield f"its manifest has the sha256 {manifests.digest(row.manifest)}, not {row.digest}"
        return
    try:
        rebuilt = manifests.build(
            files={file.name: file.sha256 for file in rows["files"]},
            task=row.task,
            method=row.method,
            config=row.config,
            base=row.fingerprint,
            max_length=row.max_length,
            parents=[parent.parent_digest for parent in rows["parents"]],
        )
    except (SettingsError, TypeError, ValueError) as error:
        yield f"its rows cannot be read: {error}"
        return
    if rebuilt != row.manifest:
        expected, found = json.loads(row.manifest), json.loads(rebuilt)
        other = [key for key in expected if expected[key] != found.get(key)]
        yield f"its rows are not what its manifest says: {', '.join(other)}"
    if sum(file.size for file in rows["files"]) != row.size:
        yield f"its files have {sum(file.size for file in rows['files'])} bytes, its row says {row.size}"
    if row.task_name != row.task.get("name"):
        yield f"it is listed under the task {row.task_name}, and is of {row.task.get('name')}"
    if row.primary_metric is not None:
        scores = {metric.name: metric.value for metric in rows["metrics"]}
        score = scores.get(row.primary_metric, math.inf)
        if score != row.score:
            yield f"its score is {row.score}, and {row.primary_metric} is {score}"


def _wrong_rows(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    v, a, c = t.version.c, t.adapter.c, t.lineage.c
    for name, last, greatest in connection.execute(
        sa.select(a.name, a.last_number, sa.func.max(v.number))
        .join(t.version, v.adapter_id == a.id)
        .group_by(a.id, a.name, a.last_number)
        .having(sa.func.max(v.number) > a.last_number)
    ):
        yield name, f"it counts {last} versions, and has one of number {greatest}"
    for name, alias in connection.execute(
        sa.select(a.name, t.alias.c.name)
        .join(t.alias, t.alias.c.adapter_id == a.id)
        .join(t.version, t.alias.c.version_id == v.id)
        .where(v.adapter_id != a.id)
    ):
        yield f"{name}@{alias}", "the alias points to a version of another adapter"
    children = t.version.alias()
    child = children.c
    for name, number, ref, digest in connection.execute(
        sa.select(a.name, child.number, c.parent_ref, c.parent_digest)
        .join(children, child.adapter_id == a.id)
        .join(t.lineage, c.child_id == child.id)
        .join(t.version, c.parent_id == v.id)
        .where(c.parent_digest != v.digest)
    ):
        yield f"{name}@{number}", f"its parent {ref} ({digest}) is linked to a version of other content"


def _wrong_histories(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Summaries and buckets that say something else than the points do."""
    p, s = t.metric_point.c, t.metric_summary.c
    count = sa.func.count
    points = (
        sa.select(
            p.run_id, p.key_id, count().label("n"), (count() - count(p.value)).label("nan_count"), *_ends(p.value)
        )
        .group_by(p.run_id, p.key_id)
        .subquery()
    )
    same = (points.c.run_id == s.run_id) & (points.c.key_id == s.key_id)
    there = [sa.func.coalesce(points.c.n, 0), sa.func.coalesce(points.c.nan_count, 0), points.c.low, points.c.high]
    kept = [s.count, s.nan_count, s.min, s.max]
    wrong = [one.is_distinct_from(other) for one, other in zip(kept, there, strict=True)]
    for uid, name, *values in connection.execute(
        _of_series(*kept, *there).outerjoin(points, same).where(sa.or_(*wrong))
    ):
        summed, found = ("{} points, {} of them NaN, from {} to {}".format(*values[of : of + 4]) for of in (0, 4))
        yield f"run:{uid}", f"the summary of {name} counts {summed}; there are {found}"
    for uid, name, n in connection.execute(
        sa.select(t.run.c.uid, t.metric_key.c.name, points.c.n)
        .join(t.run, points.c.run_id == t.run.c.id)
        .join(t.metric_key, points.c.key_id == t.metric_key.c.id)
        .outerjoin(t.metric_summary, same)
        .where(s.run_id.is_(None))
    ):
        yield f"run:{uid}", f"{name} has {n} points and no summary"
    for level, size in enumerate(SIZES):
        yield from _wrong_buckets(connection, level, size)


def _wrong_buckets(connection: sa.Connection, level: int, size: int) -> Iterator[tuple[str, str]]:
    b, s = t.metric_bucket.c, t.metric_summary.c
    buckets = (
        sa.select(b.run_id, b.key_id, sa.func.count().label("n"), *_ends(b.min, b.max))
        .where(b.level == level)
        .group_by(b.run_id, b.key_id)
        .subquery()
    )
    same = (buckets.c.run_id == s.run_id) & (buckets.c.key_id == s.key_id)
    for uid, name in connection.execute(
        _of_series()
        .outerjoin(buckets, same)
        .where(
            (sa.func.coalesce(buckets.c.n, 0) != (s.count + size - 1) // size)
            | s.min.is_distinct_from(buckets.c.low)
            | s.max.is_distinct_from(buckets.c.high)
        )
    ):
        yield f"run:{uid}", f"the extremes of {name}, kept for each {size} points, are not those of its summary"


def _of_series(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """The run's uid and the metric's name of every series that has a summary, and more columns."""
    s = t.metric_summary.c
    return (
        sa.select(t.run.c.uid, t.metric_key.c.name, *columns)
        .select_from(t.metric_summary)
        .join(t.run, s.run_id == t.run.c.id)
        .join(t.metric_key, s.key_id == t.metric_key.c.id)
    )


def _ends(lower: sa.ColumnElement[float], upper: sa.ColumnElement[float] | None = None) -> Sequence[sa.Label[float]]:
    """The least and the greatest of all of a group."""
    return sa.func.min(lower).label("low"), sa.func.max(lower if upper is None else upper).label("high")
