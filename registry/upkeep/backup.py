"""Backup: copy a registry, as it is at one moment, into a home of its own."""

import contextlib
import errno
import fcntl
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..database import events
from ..database.damaged import read_text
from ..database.database import DATABASE_NAME
from ..errors import ConflictError, StoreError
from ..registry import Registry
from ..storage.files import (
    NotAFileError,
    check_regular,
    is_temporary,
    measure_file,
    open_regular,
    temporary_beside,
    write_atomically,
)
from ..storage.local import LocalStore
from ..versions.ownership import owner_of_copy

MARK: Final = "backup.json"
"""The file that tells a backup from any other directory. It names the source and the sha256 of the database."""

_NO_LOCKS: Final = (errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EBADF)
"""What a file system says that cannot lock a directory, as NFS: nothing tells two backups apart there."""


@dataclass(frozen=True, kw_only=True)
class Backup:
    """The result of ``back_up``."""

    path: Path
    files: int
    copied: int
    """How many of the files were not in the directory before."""
    size: int
    """Bytes of all files."""


def back_up(registry: Registry, directory: str | Path) -> Backup:
    """Copy the registry into a directory, as it is at one moment, also while others write.

    The copy is a home: ``Registry(directory)`` opens it, whichever database and store it was copied from. An earlier
    backup in the directory is updated, and stays valid until the new one is complete. Its database is replaced: a
    process that has it open meanwhile goes on with the file that was replaced, and what it writes is lost.

    Args:
        registry: The registry.
        directory: An empty directory, a new one, or an earlier backup.

    Raises:
        ConflictError: The directory holds something else, or a backup that was written to since, or another backup is
            being written into it.
        ObjectMissingError, ObjectCorruptError: A file is lost or damaged; see ``repair``. An earlier backup is kept.
        StoreError, DiskFullError: The directory cannot be written.

    Examples:
        >>> with Registry(back_up(registry, "backup").path) as copy:
        ...     copy.versions()
    """
    directory = Path(directory).absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _alone_in(directory):
            return _back_up(registry, directory)
    except OSError as error:
        raise StoreError(f"the backup {directory} cannot be written: {_reason(error)}") from error


@contextlib.contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Refuse a directory into which another thread or process backs up; if that is killed, the lock goes with it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"another backup is being written into {directory}; try again when it has ended, or name another "
                "directory"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    """What the system said, with the path where that is not the backup's own directory."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, NotAFileError) else f"{error.strerror}"


def _back_up(registry: Registry, directory: Path) -> Backup:
    """Copy the registry into a directory that is there and into which nobody else backs up."""
    database, mark = directory / DATABASE_NAME, directory / MARK
    existing = list(directory.iterdir())
    if existing and not mark.exists() and not all(is_temporary(path.name) for path in existing):
        raise ConflictError(f"{directory} is neither empty nor an earlier backup; name another directory")
    # A database with another sha256 has been used as a home since: its rows may exist nowhere else.
    earlier = _read_mark(mark)
    if database.exists() and _sha256_elsewhere(database) not in earlier:
        raise ConflictError(f"{directory} was written to since it was made; name another directory")
    temporary = temporary_beside(database)
    try:
        for path in existing:
            if is_temporary(path.name):  # of a backup that was killed
                path.unlink(missing_ok=True)
        # The mark comes first: if this process is killed, the next backup recognises the directory.
        _write_mark(registry, mark, earlier)
        registry.database.copy(temporary)
        with contextlib.closing(sqlite3.connect(temporary)) as copy:
            generation = copy.execute("SELECT token FROM generation ORDER BY id DESC LIMIT 1").fetchone()
            copy.text_factory = read_text
            # Whatever a damaged row holds: its digest names no object, which says so below.
            query = (
                "SELECT coalesce(CAST(sha256 AS TEXT), ''), max(coalesce(CAST(size AS INTEGER), 0)) "
                "FROM version_file GROUP BY sha256"
            )
            files = copy.execute(query).fetchall()
        store = LocalStore(directory / "objects")
        copied = 0
        for digest, _ in files:
            copied += not store.has(digest)
            store.put_stream(registry.store.stream(digest), digest)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        new = measure_file(temporary)[0]  # nobody else has it open
        # The mark names both databases while one replaces the other, so a kill in between leaves a valid backup.
        _write_mark(registry, mark, [*earlier, new])
        temporary.replace(database)
        _write_mark(registry, mark, [new])
        # Last of all: an earlier database would not know the generation of a newer one.
        owner = owner_of_copy(registry.database, registry.store, generation and generation[0]).content()
        if store.read_owner() != owner:
            store.write_owner(owner, replace=True)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Backup(path=directory, files=len(files), copied=copied, size=sum(size for _, size in files))


def _read_mark(mark: Path) -> list[str]:
    """The sha256 of each database that the backup may have; none if there is no mark."""
    try:
        with open_regular(mark) as file:
            return [str(digest) for digest in json.load(file)["databases"]]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ConflictError(f"{mark} was not written by a backup; name another directory") from error


def _write_mark(registry: Registry, path: Path, databases: list[str]) -> None:
    source = {"database": registry.database.label, "files": registry.store.label, "at": events.now().isoformat()}
    write_atomically(path, [json.dumps({"of": source, "databases": databases}, indent=2).encode()])


_HASH: Final = """\
import hashlib, sys
with open(sys.argv[1], "rb") as file:
    print(hashlib.file_digest(file, "sha256").hexdigest())
"""


def _sha256_elsewhere(path: Path) -> str:
    """The sha256 of a database, which another process computes.

    This process may have it open: to close a second descriptor of the file would release the locks that SQLite holds on
    it (sqlite.org/howtocorrupt.html, 2.2).
    """
    check_regular(path, path.stat())
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _HASH, str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StoreError(f"{path} cannot be read: {(done.stderr.strip().splitlines() or ['its reader was ended'])[-1]}")
    return done.stdout.strip()
