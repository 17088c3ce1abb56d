"""Doctor: versions, paths, what there is, and what is wrong, also of a registry that cannot be opened."""

import os
import platform
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..database.backends import JOURNAL_MODE
from ..database.database import REVISIONS
from ..errors import PointsmanError
from ..records import RunStatus
from ..registry import DATABASE_VARIABLE, HOME_VARIABLE, STORE_VARIABLE, Registry, default_home
from ..runs import listing
from .garbage import collect_garbage

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

LOW_DISK: Final = 1_000_000_000
"""Bytes: with less, a training of any size may not end well."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What ``diagnose`` found."""

    facts: dict[str, str]
    problems: tuple[str, ...]


def diagnose(home: str | Path | None = None) -> Diagnosis:
    """Look a registry over, quickly: ``verify`` is what reads every file.

    Args:
        home: As for ``Registry``.
    """
    facts = {
        "python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        **{name: _version(name) for name in PACKAGES},
        "sqlite": f"{sqlite3.sqlite_version}, journal mode {JOURNAL_MODE}",
        "home": str(Path(home).absolute() if home is not None else default_home()),
        "schema": f"{REVISIONS[-1]} is what this pointsman needs",
    }
    for name in (HOME_VARIABLE, DATABASE_VARIABLE, STORE_VARIABLE):
        if value := os.environ.get(name):
            facts[name] = _without_password(value)
    problems: list[str] = []
    try:
        registry = Registry(home)
    except PointsmanError as error:
        return Diagnosis(facts=facts, problems=(str(error),))
    with closing(registry):
        facts |= {"database": registry.database.label, "store": registry.store.label}
        # The home itself is not made before something is put into it.
        there = next(path for path in (registry.home, *registry.home.parents) if path.exists())
        free = shutil.disk_usage(there).free
        facts["free disk"] = f"{free / 1e9:.1f} GB"
        if free < LOW_DISK:
            problems.append(f"only {free / 1e6:.0f} MB are free on the disk of {registry.home}")
        for check in (_counts, _database, _writable, _files, _garbage, _runs):
            try:
                problems += check(registry, facts)
            except PointsmanError as error:
                problems.append(str(error))
    return Diagnosis(facts=facts, problems=tuple(dict.fromkeys(problems)))


_Check = Callable[[Registry, dict[str, str]], Iterator[str]]


def _counts(registry: Registry, facts: dict[str, str]) -> Iterator[str]:
    with registry.database.reading() as connection:
        for name, table in (("versions", t.version), ("runs", t.run), ("bases", t.base)):
            facts[name] = f"{connection.scalar(sa.select(sa.func.count()).select_from(table)):,}"
        points: Any = connection.scalar(sa.select(sa.func.sum(t.metric_summary.c.count)))
        facts["metric points"] = f"{points or 0:,}"
    yield from ()


def _database(registry: Registry, facts: dict[str, str]) -> Iterator[str]:
    for problem in registry.database.problems():
        yield f"{registry.database.label}: {problem}"


def _writable(registry: Registry, facts: dict[str, str]) -> Iterator[str]:
    registry.check_writable()
    yield from ()


def _files(registry: Registry, facts: dict[str, str]) -> Iterator[str]:
    """Files that are missing, or of another size."""
    f = t.version_file.c
    with registry.database.reading() as connection:
        needed = dict(connection.execute(sa.select(f.sha256, sa.func.max(f.size)).group_by(f.sha256)).all())
    there = {file.digest: file.size for file in registry.store.files()}
    facts["files"] = f"{len(needed):,} ({sum(needed.values()) / 1e6:.1f} MB)"
    wrong = [digest for digest, size in needed.items() if there.get(digest) != size]
    if wrong:
        yield f"files missing or of the wrong size in {registry.store.label}: {len(wrong)}; run 'registry verify'"


def _garbage(registry: Registry, facts: dict[str, str]) -> Iterator[str]:
    garbage = collect_garbage(registry)
    facts["garbage"] = f"{len(garbage.files):,} files ({garbage.size / 1e6:.1f} MB): 'registry gc' removes them"
    yield from ()


def _runs(registry: Registry, facts: dict[str, str]) -> Iterator[str]:
    """Runs that were cut short are no fault of the registry's, but good to know."""
    with registry.database.reading() as connection:
        found = listing.records(connection, where=[t.run.c.status == RunStatus.RUNNING])
    running = sum(run.status == RunStatus.RUNNING for run in found)
    facts["unfinished runs"] = f"{running} running, {len(found) - running} cut short"
    yield from ()


def _without_password(text: str) -> str:
    try:
        return sa.make_url(text).render_as_string(hide_password=True)
    except (sa.exc.ArgumentError, ValueError):  # a path, or nothing that has a password
        return text


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
