"""Garbage collection: find and remove files that no version needs."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from ..database import events
from ..database import tables as t
from ..errors import RunNotFoundError
from ..records import RunStatus
from ..registry import Registry
from ..storage.files import is_temporary
from ..storage.objects import DIGEST, Stored
from ..versions import ownership
from ..versions.contents import REMOVING, end_removals, name_removals

YOUNG: Final = timedelta(hours=1)
"""The age below which a file is never removed: it may belong to a version that is being added."""

_BATCH: Final = 200
"""Files that are named before they are removed."""


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """Files that no version needs and that are old enough to remove."""

    files: tuple[Stored, ...]
    young: int
    """How many other files no version needs, but are too young to remove."""
    preexisting: int = 0
    """How many other files no version needs, but are older than this registry's hold on the store."""
    removed: bool
    """Whether ``files`` and ``checkpoints`` were removed."""
    checkpoints: tuple[str, ...] = ()
    """The uids of finished runs that have checkpoints; no training resumes from these."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def collect_garbage(registry: Registry, *, apply: bool = False, preexisting: bool = False) -> Garbage:
    """Find files that no version needs, and remove them if told so.

    Garbage is: objects of versions that were removed or never completed, which no row and no manifest names, temporary
    files that a crash left, and the checkpoints of finished runs. Other files in the store stay, and so does every file
    that was written within the last hour, or whose time lies in the future. Where the store held unknown objects when
    this registry took it, those stay too: they may be those of another registry that uses an older release.

    Args:
        registry: The registry.
        apply: Remove them; by default nothing changes.
        preexisting: Also the objects that were there, unknown, when this registry took the store.

    Raises:
        ForeignStoreError: The store belongs to another registry; nothing was removed.
        StoreError, DatabaseError: The store or the database cannot be read or written.
    """
    own = ownership.own_store if apply else ownership.check_store
    owner = own(registry.database, registry.store)
    needed = _needed(registry)
    written_before = events.now() - YOUNG
    unneeded = [
        file
        for file in registry.store.files()
        if (file.digest is not None and file.digest not in needed) or is_temporary(file.path)
    ]
    # Only where something looks unneeded: to read all manifests takes longer than to read the rows of files.
    named = _named_by_manifests(registry) if any(file.digest is not None for file in unneeded) else set()
    unneeded = [file for file in unneeded if file.digest not in named]
    old = [file for file in unneeded if file.modified < written_before]
    foreign = owner.preexisting and not preexisting
    ours = [file for file in old if not (foreign and file.digest is not None and file.modified < owner.claimed)]
    garbage = ours
    if apply:
        garbage = list(_remove_all(registry, ours))
        if garbage:
            details = {"files": len(garbage), "size": sum(file.size for file in garbage)}
            with registry.database.writing() as connection:
                events.record(connection, "gc", registry.store.label[:200], details)
    checkpoints = _finished_with_checkpoints(registry)
    for uid in checkpoints if apply else ():
        shutil.rmtree(registry.run_directory(uid), ignore_errors=True)
    return Garbage(
        files=tuple(garbage),
        young=len(unneeded) - len(old),
        preexisting=len(old) - len(ours),
        removed=apply,
        checkpoints=checkpoints,
    )


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


def _named_by_manifests(registry: Registry) -> set[str]:
    """Every digest in a version's manifest, readable or not: a bad disk may have changed the row that names a file."""
    named: set[str] = set()
    with registry.database.reading() as connection:
        for manifest in connection.scalars(sa.select(t.version.c.manifest).execution_options(yield_per=1000)):
            named.update(DIGEST.findall(str(manifest)))
    return named


def _remove_all(registry: Registry, files: Sequence[Stored]) -> Iterator[Stored]:
    """Remove files, except those that a version needs by now, and yield those removed."""
    pending = list(files)
    while pending:
        batch = _remove(registry, pending[:_BATCH])
        yield from batch.removed
        pending = pending[batch.seen :]


class _Batch(NamedTuple):
    seen: int
    """How many files, from the first on, were removed or left for good."""
    removed: list[Stored]


def _remove(registry: Registry, files: Sequence[Stored]) -> _Batch:
    """Remove files as long as it may last; whoever needs one of these meanwhile waits (``versions.contents``)."""
    named = name_removals(registry.database, {file.digest for file in files if file.digest is not None})
    until = time.monotonic() + REMOVING
    seen, removed = 0, []
    unsure: set[str | None] = set()
    try:
        for file in files:
            # The first one in any case, so that each batch makes progress.
            if seen and time.monotonic() > until:
                break
            if file.digest is None or file.digest in named:
                unsure = {file.digest}  # if it fails or is interrupted, the server may still remove it
                registry.store.remove(file)
                unsure = set()
                removed.append(file)
            seen += 1
    finally:
        with registry.database.writing() as connection:
            end_removals(connection, named - unsure)
    return _Batch(seen, removed)
