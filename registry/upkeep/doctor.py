"""Doctor: software versions, paths, counts and problems, also of a registry that cannot be opened."""

import os
import platform
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.database import REVISIONS
from ..errors import Action, Advice, PointsmanError
from ..records import RunStatus
from ..registry import DATABASE_VARIABLE, HOME_VARIABLE, STORE_VARIABLE, Registry, default_home
from ..runs import listing
from .garbage import collect_garbage
from .problems import Problem
from .verify_rows import damaged_rows

PACKAGES: Final = (
    "pointsman",
    "sqlalchemy",
    "alembic",
    "fsspec",
    "psycopg",
    "s3fs",
    "torch",
    "transformers",
    "adapters",
    "safetensors",
)
"""The packages whose versions are reported."""

LOW_DISK: Final = 1_000_000_000
"""Bytes of free disk space below which a training may fail to save its checkpoints."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The result of ``diagnose``."""

    facts: Mapping[str, str]
    """Versions, paths and counts, for people, by name."""
    problems: tuple[Problem, ...]
    advice: Mapping[str, Advice] = field(default_factory=dict)
    """Operations that help although nothing is wrong, by the name of the fact that tells why."""


def diagnose(home: str | Path | None = None) -> Diagnosis:
    """Look a registry over without reading its files; ``verify`` reads all of them.

    Args:
        home: As for ``Registry``.

    Examples:
        >>> diagnose().problems
        ()
    """
    facts = {
        "python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        **{name: _package_version(name) for name in PACKAGES},
        "sqlite": sqlite3.sqlite_version,
        "home": str(Path(home).absolute() if home is not None else default_home()),
        "schema": f"{REVISIONS[-1]} is what this pointsman needs",
    }
    for name in (HOME_VARIABLE, DATABASE_VARIABLE, STORE_VARIABLE):
        if value := os.environ.get(name):
            facts[name] = _without_password(value)
    try:
        # A home that is named is there, or it is a mistake.
        registry = Registry(home, create=home is None)
    except PointsmanError as error:
        return Diagnosis(facts=facts, problems=(Problem.of_error(error),))
    with closing(registry):
        return _Examination(registry, facts).diagnosis()


class _Examination:
    """The checks of a registry that is open; each adds facts, problems and advice."""

    def __init__(self, registry: Registry, facts: dict[str, str]) -> None:
        self.registry = registry
        self.facts = facts
        self.problems: dict[str, Problem] = {}
        self.advice: dict[str, Advice] = {}

    def diagnosis(self) -> Diagnosis:
        """Run every check; an error in one is a problem, and does not stop the others."""
        self.facts |= {"database": self.registry.database.label, "store": self.registry.store.label}
        self._check_disk()
        for check in (
            self._identify,
            self._count_rows,
            self._check_database,
            self._check_rows,
            self.registry.check_writable,
            self._check_files,
            self._count_garbage,
            self._count_unfinished_runs,
        ):
            try:
                check()
            except PointsmanError as error:
                self._add(Problem.of_error(error))
        return Diagnosis(facts=self.facts, problems=tuple(self.problems.values()), advice=self.advice)

    def _add(self, problem: Problem) -> None:
        # One cause, such as a database that cannot be read, makes several checks fail with one message.
        self.problems.setdefault(problem.text, problem)

    def _check_disk(self) -> None:
        home = self.registry.home
        # The home is only made when something is stored in it.
        existing = next(path for path in (home, *home.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        self.facts["free disk"] = f"{free / 1e9:.1f} GB"
        if free < LOW_DISK:
            self._add(Problem(subject="disk", text=f"only {free / 1e6:.0f} MB are free on the disk of {home}"))

    def _identify(self) -> None:
        self.facts["registry"] = self.registry.database.identity

    def _count_rows(self) -> None:
        with self.registry.database.reading() as connection:
            for name, table in (("versions", t.version), ("runs", t.run), ("bases", t.base)):
                self.facts[name] = f"{connection.scalar(sa.select(sa.func.count()).select_from(table)):,}"
            points: Any = connection.scalar(sa.select(sa.func.sum(t.metric_summary.c.count)))
            self.facts["metric points"] = f"{points or 0:,}"

    def _check_database(self) -> None:
        for text in self.registry.database.problems():
            self._add(Problem(subject="database", text=f"{self.registry.database.label}: {text}"))

    def _check_rows(self) -> None:
        with self.registry.database.reading() as connection:
            subjects = list(dict.fromkeys(row.subject for row in damaged_rows(connection)))
        if subjects:
            others = f" and {len(subjects) - 5} more" if len(subjects) > 5 else ""
            text = f"rows of {', '.join(subjects[:5])}{others} are damaged"
            self._add(Problem(subject="database", text=text, advice=Advice(Action.VERIFY)))

    def _check_files(self) -> None:
        """Compare the files' sizes with the database; their content is not read."""
        f = t.version_file.c
        with self.registry.database.reading() as connection:
            rows = connection.execute(sa.select(f.sha256, sa.func.max(f.size)).group_by(f.sha256)).all()
        needed = {digest: size for digest, size in rows if type(digest) is str and type(size) is int}
        sizes = {file.digest: file.size for file in self.registry.store.files() if file.digest is not None}
        self.facts["files"] = f"{len(needed):,} ({sum(needed.values()) / 1e6:.1f} MB)"
        others = [size for digest, size in sizes.items() if digest not in needed]
        self.facts["objects without versions"] = f"{len(others):,} ({sum(others) / 1e6:.1f} MB)"
        if wrong := sum(sizes.get(digest) != size for digest, size in needed.items()):
            text = f"files missing or of the wrong size in {self.registry.store.label}: {wrong}"
            self._add(Problem(subject="store", text=text, advice=Advice(Action.VERIFY)))

    def _count_garbage(self) -> None:
        garbage = collect_garbage(self.registry)
        self.facts["garbage"] = f"{len(garbage.files):,} files ({garbage.size / 1e6:.1f} MB)"
        if garbage.files:
            self.advice["garbage"] = Advice(Action.COLLECT_GARBAGE)

    def _count_unfinished_runs(self) -> None:
        """Count runs that never ended: a fact, since an interrupted training is no fault of the registry."""
        unended = [t.run.c.status == RunStatus.RUNNING, listing.TRAININGS]
        with self.registry.database.reading() as connection:
            unfinished = listing.records(connection, where=unended, damaged=[])
        running = sum(run.status == RunStatus.RUNNING for run in unfinished)
        self.facts["unfinished runs"] = f"{running} running, {len(unfinished) - running} interrupted"


def _without_password(text: str) -> str:
    try:
        return sa.make_url(text).render_as_string(hide_password=True)
    except (sa.exc.ArgumentError, ValueError):  # a path, which has no password
        return text


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
