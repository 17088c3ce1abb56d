"""Garbage: files that no version needs."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from ..database import events
from ..database import tables as t
from ..errors import RunNotFoundError
from ..records import RunStatus
from ..registry import Registry
from ..storage.files import is_temporary
from ..storage.objects import Stored

YOUNG: Final = timedelta(hours=1)
"""A file that was written within this time may belong to a version that is just being added."""

_BATCH: Final = 200


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """Files that no version needs, and that are old enough to go."""

    files: tuple[Stored, ...]
    young: int
    """How many more no version needs, but are too young to tell."""
    removed: bool
    """Whether they are gone."""
    checkpoints: tuple[str, ...] = ()
    """The runs whose checkpoints nobody can go on from, as they have finished."""

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(file.size for file in self.files)


def collect_garbage(registry: Registry, *, apply: bool = False) -> Garbage:
    """Find files that no version needs and, if told so, remove them.

    Such are the files of versions that were removed or never finished, and what a crash left half-written. What is not
    the store's own is left alone, and so is whatever was written within the last hour, or by a clock that was ahead.
    Checkpoints go as well, of runs that have finished.

    Args:
        registry: The registry.
        apply: Remove them, and not only say which they are.
    """
    needed = _needed(registry)
    since = events.now() - YOUNG
    unneeded = [
        file
        for file in registry.store.files()
        if (file.digest is not None and file.digest not in needed) or is_temporary(file.path)
    ]
    old = [file for file in unneeded if file.modified < since]
    found = old
    if apply:
        found = [file for batch in _batches(old) for file in _removed(registry, batch)]
        if found:
            details = {"files": len(found), "size": sum(file.size for file in found)}
            with registry.database.writing() as connection:
                events.record(connection, "gc", registry.store.label[:200], details)
    checkpoints = _ended(registry)
    for uid in checkpoints if apply else ():
        shutil.rmtree(registry.run_directory(uid), ignore_errors=True)
    return Garbage(files=tuple(found), young=len(unneeded) - len(old), removed=apply, checkpoints=checkpoints)


def _ended(registry: Registry) -> tuple[str, ...]:
    """The runs that have a directory of checkpoints, and will never be taken up."""
    folder = registry.home / "runs"
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    finished = []
    for uid in there:
        with suppress(RunNotFoundError):  # another database's, where two share a home
            if registry.run(uid).status is RunStatus.FINISHED:
                finished.append(uid)
    return tuple(finished)


def _needed(registry: Registry) -> set[str]:
    with registry.database.reading() as connection:
        return set(connection.scalars(sa.select(t.version_file.c.sha256).distinct()))


def _removed(registry: Registry, files: Sequence[Stored]) -> Iterator[Stored]:
    """Remove some files, those that a version needs by now excepted.

    Under the write lock: whoever adds a version looks under the same lock whether its files are still there.
    """
    with registry.database.writing() as connection:
        query = sa.select(t.version_file.c.sha256).where(t.version_file.c.sha256.in_([file.digest for file in files]))
        needed = set(connection.scalars(query))
        for file in files:
            if file.digest is None or file.digest not in needed:
                registry.store.remove(file)
                yield file


def _batches(files: Sequence[Stored]) -> Iterator[Sequence[Stored]]:
    for start in range(0, len(files), _BATCH):
        yield files[start : start + _BATCH]
