"""Garbage collection: find and remove files that no version needs."""

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
from .batches import batched

YOUNG: Final = timedelta(hours=1)
"""The age below which a file is never removed: it may belong to a version that is being added."""

_BATCH: Final = 200
"""Files removed under one write lock, so that writers do not wait long."""


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """Files that no version needs and that are old enough to remove."""

    files: tuple[Stored, ...]
    young: int
    """How many other files no version needs, but are too young to remove."""
    removed: bool
    """Whether ``files`` and ``checkpoints`` were removed."""
    checkpoints: tuple[str, ...] = ()
    """The uids of finished runs that have checkpoints; no training resumes from these."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def collect_garbage(registry: Registry, *, apply: bool = False) -> Garbage:
    """Find files that no version needs, and remove them if told so.

    Garbage is: objects of versions that were removed or never completed, temporary files that a crash left, and the
    checkpoints of finished runs. Other files in the store stay, and so does every file that was written within the last
    hour, or whose time lies in the future.

    Args:
        registry: The registry.
        apply: Remove them; by default nothing changes.

    Raises:
        StoreError, DatabaseError: The store or the database cannot be read or written.
    """
    needed = _needed(registry)
    written_before = events.now() - YOUNG
    unneeded = [
        file
        for file in registry.store.files()
        if (file.digest is not None and file.digest not in needed) or is_temporary(file.path)
    ]
    old = [file for file in unneeded if file.modified < written_before]
    garbage = old
    if apply:
        garbage = [file for batch in batched(old, _BATCH) for file in _remove(registry, batch)]
        if garbage:
            details = {"files": len(garbage), "size": sum(file.size for file in garbage)}
            with registry.database.writing() as connection:
                events.record(connection, "gc", registry.store.label[:200], details)
    checkpoints = _finished_with_checkpoints(registry)
    for uid in checkpoints if apply else ():
        shutil.rmtree(registry.run_directory(uid), ignore_errors=True)
    return Garbage(files=tuple(garbage), young=len(unneeded) - len(old), removed=apply, checkpoints=checkpoints)


def _finished_with_checkpoints(registry: Registry) -> tuple[str, ...]:
    """The uids of finished runs that have a directory of checkpoints."""
    folder = registry.home / "runs"
    uids = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    finished = []
    for uid in uids:
        with suppress(RunNotFoundError):  # a run of another database that uses the same home
            if registry.run(uid).status is RunStatus.FINISHED:
                finished.append(uid)
    return tuple(finished)


def _needed(registry: Registry) -> set[str]:
    with registry.database.reading() as connection:
        return set(connection.scalars(sa.select(t.version_file.c.sha256).distinct()))


def _remove(registry: Registry, files: Sequence[Stored]) -> Iterator[Stored]:
    """Remove files, except those that a version needs by now, and yield those removed.

    The write lock is held: whoever adds a version checks under the same lock that its files are still stored.
    """
    with registry.database.writing() as connection:
        query = sa.select(t.version_file.c.sha256).where(t.version_file.c.sha256.in_([file.digest for file in files]))
        needed = set(connection.scalars(query))
        for file in files:
            if file.digest is None or file.digest not in needed:
                registry.store.remove(file)
                yield file
