"""Backup: a home of its own that holds everything, as it was at one moment."""

import contextlib
import hashlib
import json
import os
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..database import events
from ..errors import ConflictError, StoreError
from ..registry import Registry
from ..storage.files import is_temporary, write_atomically
from ..storage.local import LocalStore

MARK: Final = "backup.json"


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What ``back_up`` made."""

    path: Path
    files: int
    copied: int
    """How many of the files were not there from an earlier backup."""
    size: int
    """Bytes of all files."""


def back_up(registry: Registry, directory: str | Path) -> Backup:
    """Copy the registry, as it is at one moment and while others write, into a directory.

    The copy is a home like any other: ``registry --home DIRECTORY list`` reads it, whichever database and store it was
    copied from. An earlier backup there is brought up to date, and stays whole until the new one is complete.

    Args:
        registry: The registry.
        directory: An empty directory, one that is not there yet, or an earlier backup.

    Raises:
        ConflictError: The directory holds something else.
        ObjectMissingError, ObjectCorruptError: A file is lost or damaged; see ``repair``. An earlier backup is kept.
        StoreError, DiskFullError: It cannot be written.
    """
    directory = Path(directory).absolute()
    database, mark = directory / "registry.db", directory / MARK
    left = list(directory.iterdir()) if directory.is_dir() else []
    if left and not mark.exists() and not all(is_temporary(path.name) for path in left):
        raise ConflictError(f"{directory} is no earlier backup, and not empty: name another directory")
    # What the database was when it was copied; as another it has been used as a home, and its rows are somebody's.
    earlier = _earlier(mark)
    if database.exists() and _sha256(database) not in earlier:
        raise ConflictError(f"{directory} was written to since it was made: name another directory")
    temporary = directory / f".{secrets.token_hex(16)}.tmp"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in left:
            if is_temporary(path.name):  # an earlier backup was killed
                path.unlink(missing_ok=True)
        # Before anything else: so that what a kill leaves here is known for a backup.
        _write_mark(registry, mark, earlier)
        registry.database.copy(temporary)
        with contextlib.closing(sqlite3.connect(temporary)) as copy:
            files = copy.execute("SELECT sha256, max(size) FROM version_file GROUP BY sha256").fetchall()
        store = LocalStore(directory / "objects")
        copied = 0
        for digest, _ in files:
            copied += not store.has(digest)
            store.put_stream(registry.store.stream(digest), digest)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        new = _sha256(temporary)
        _write_mark(registry, mark, [*earlier, new])
        temporary.replace(database)
        _write_mark(registry, mark, [new])
    except OSError as error:
        raise StoreError(f"the backup {directory} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Backup(path=directory, files=len(files), copied=copied, size=sum(size for _, size in files))


def _earlier(mark: Path) -> list[str]:
    try:
        return [str(digest) for digest in json.loads(mark.read_bytes())["databases"]]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ConflictError(f"{mark} is not what a backup writes there: name another directory") from error


def _write_mark(registry: Registry, path: Path, databases: list[str]) -> None:
    of = {"database": registry.database.label, "files": registry.store.label, "at": events.now().isoformat()}
    write_atomically(path, [json.dumps({"of": of, "databases": databases}, indent=2).encode()])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
