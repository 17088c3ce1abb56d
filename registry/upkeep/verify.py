"""Verify: check every file's sha256, every row against the others, and the database itself."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.refs import ref_column
from ..errors import Action, Advice, DatabaseError, ObjectMissingError, StoreError
from ..registry import Registry
from .problems import Problem
from .verify_metrics import metric_problems
from .verify_rows import damaged_rows, damaged_series
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

    The tables and columns, the database's own integrity and foreign keys; every row by itself; each version's manifest
    against its digest and its rows; numbers, aliases and lineage; metric summaries and buckets against the points; the
    sha256 and the size of every file. Others may write meanwhile: what is removed while it is checked is not a problem.
    What cannot be read is a problem, and the other checks go on.

    Args:
        registry: The registry.

    Examples:
        >>> verify(registry).problems
        ()
    """
    checks = _Checks(registry)
    for check in (checks.database, checks.rows, checks.versions, checks.relations, checks.metrics, checks.files):
        try:
            check()
        except DatabaseError as error:  # a table that is missing or cannot be read: the other checks go on
            checks.add(Problem.of_error(error))
    return Report(
        problems=tuple(checks.problems.values()),
        versions=checks.number,
        files=len(checks.sizes),
        size=sum(checks.sizes.values()),
        notes=checks.notes,
    )


class _Checks:
    """The checks and what they found; each is short transactions, since in SQLite a reader can delay writers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._damaged: set[int | None] = set()
        self.problems: dict[tuple[str, str], Problem] = {}
        """By subject and text, in the order they were found; what two checks find is one problem."""
        self.number = 0
        """Versions."""
        self.sizes: dict[str, int] = {}
        """The size of each file of the versions, by its sha256."""
        self.notes: tuple[str, ...] = ()

    def database(self) -> None:
        """The schema, and the database's own checks."""
        self._add(("database", text) for text in self._registry.database.problems())

    def rows(self) -> None:
        """Every row by itself."""
        with self._registry.database.reading() as connection:
            for row in damaged_rows(connection):
                self._damaged.add(row.version)
                self._add([(row.subject, row.text)])

    def versions(self) -> None:
        """Each version against its manifest; one with a damaged row would only be told of again."""
        with self._registry.database.reading() as connection:
            self.number = connection.scalar(sa.select(sa.func.count()).select_from(t.version)) or 0
            for version, rows in versions_with_rows(connection):
                if version.id not in self._damaged:
                    self._add((version.ref, text) for text in version_problems(version, rows))
            self.notes = tuple(version_notes(connection))

    def relations(self) -> None:
        """Versions, aliases and lineage against each other."""
        with self._registry.database.reading() as connection:
            self._add(row_problems(connection))

    def metrics(self) -> None:
        """Points, summaries and buckets."""
        with self._registry.database.reading() as connection:
            self._add(damaged_series(connection))
            self._add(metric_problems(connection))

    def files(self) -> None:
        """The content of every file."""
        f = t.version_file.c
        query = sa.select(f.sha256, sa.func.max(f.size)).group_by(f.sha256).order_by(f.sha256)
        with self._registry.database.reading() as connection:
            rows = connection.execute(query).all()
        self.sizes = {digest: size for digest, size in rows if type(digest) is str and type(size) is int}
        self.add(*_file_problems(self._registry, self.sizes))

    def add(self, *problems: Problem) -> None:
        """Add problems that a check found."""
        for problem in problems:
            self.problems.setdefault((problem.subject, problem.text), problem)

    def _add(self, found: Iterable[tuple[str, str]]) -> None:
        for subject, text in found:
            self.add(Problem(subject=subject, text=text))


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
