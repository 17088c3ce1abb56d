"""Verify: check every file's sha256, every row against the others, and the database itself."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.refs import ref_column
from ..errors import Action, Advice, ObjectMissingError, StoreError
from ..registry import Registry
from .problems import Problem
from .verify_metrics import metric_problems
from .verify_versions import row_problems, version_notes, version_problems, versions_with_rows

WORKERS: Final = min(4, os.cpu_count() or 1)
"""Threads that read files."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of ``verify``."""

    problems: tuple[Problem, ...]
    versions: int
    files: int
    """Different files of all versions."""
    size: int
    """Bytes of all these files."""
    notes: tuple[str, ...] = ()
    """What is worth knowing although nothing is wrong: versions stored under the fingerprint of an older release."""


def verify(registry: Registry) -> Report:
    """Check everything that a registry stores, and list what is wrong.

    The database's own integrity and foreign keys; each version's manifest against its digest and its rows; numbers,
    aliases and lineage; metric summaries and buckets against the points; the sha256 and the size of every file. Others
    may write meanwhile: what is removed while it is checked is not a problem.

    Args:
        registry: The registry.

    Raises:
        DatabaseError: The database cannot be read.

    Examples:
        >>> verify(registry).problems
        ()
    """
    problems = [Problem(subject="database", text=text) for text in registry.database.problems()]
    versions = 0
    # One short transaction after the other: in SQLite, a reader can delay writers.
    with registry.database.reading() as connection:
        for version, rows in versions_with_rows(connection):
            versions += 1
            problems += [Problem(subject=version.ref, text=text) for text in version_problems(version, rows)]
        notes = tuple(version_notes(connection))
        sizes = {row.sha256: row.size for row in connection.execute(_sizes())}
    for check in (row_problems, metric_problems):
        with registry.database.reading() as connection:
            problems += [Problem(subject=subject, text=text) for subject, text in check(connection)]
    problems += _file_problems(registry, sizes)
    return Report(problems=tuple(problems), versions=versions, files=len(sizes), size=sum(sizes.values()), notes=notes)


def _sizes() -> sa.Select[Any]:
    f = t.version_file.c
    return sa.select(f.sha256, sa.func.max(f.size).label("size")).group_by(f.sha256).order_by(f.sha256)


def _file_problems(registry: Registry, sizes: dict[str, int]) -> list[Problem]:
    """Read every file and check its sha256 and its size."""
    with ThreadPoolExecutor(WORKERS) as pool:
        texts = pool.map(lambda file: _file_problem(registry, *file), sizes.items())
        wrong = {digest: text for digest, text in zip(sizes, texts, strict=True) if text is not None}
    return [
        Problem(subject=digest, text=f"{wrong[digest]}; it belongs to {refs}", digest=digest, advice=_REPAIR)
        for digest, refs in _users(registry, wrong).items()
    ]


_REPAIR: Final = Advice(Action.REPAIR)


def _file_problem(registry: Registry, digest: str, size: int) -> str | None:
    try:
        real_digest, real_size = registry.store.measure(digest)
    except ObjectMissingError:
        return f"the file is missing from {registry.store.label}"
    except StoreError as error:
        return str(error)
    if real_digest != digest:
        return f"the file is damaged: its {real_size} bytes (expected {size}) have the sha256 {real_digest}"
    return None if real_size == size else f"the file has {real_size} bytes, its rows say {size}"


def _users(registry: Registry, digests: Iterable[str]) -> dict[str, str]:
    """The versions that need a file now, in words, by digest; a file that no version needs any more is left out."""
    f = t.version_file.c
    users: dict[str, str] = {}
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
                others = " and others" if len(rows) > 5 else ""
                users[digest] = ", ".join(f"{ref} ({name})" for ref, name in rows[:5]) + others
    return users
