"""Content-addressed files: each lies under its own sha256, so identical content is stored once and damage shows.

Whoever commits a row that names a digest does so after ``put`` returned.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from ..errors import Action, Advice, DiskFullError, ObjectCorruptError, ObjectMissingError, StoreError
from .files import _sync_directory, write_atomically

CHUNK: Final = 1 << 20


_DIGEST = re.compile(r"[0-9a-f]{64}")


class Stored(NamedTuple):
    """A file in a store."""

    path: str
    """Where it lies, below the store's root."""
    digest: str | None
    """The sha256 that it is stored under; None of a file that was never finished, or is none of the store's."""
    size: int
    modified: datetime


class Store(Protocol):
    """Where the files of versions lie."""

    label: str
    """What messages call it."""

    def put(self, content: bytes) -> str:
        """Store ``content`` for good and return its sha256 as 64 hexadecimal digits.

        Raises:
            DiskFullError: No space is left; nothing was stored.
            StoreError: It cannot be written.
        """

    def put_stream(self, chunks: Iterable[bytes], digest: str) -> None:
        """Store content that is read piece by piece, whose sha256 has to be ``digest``.

        Raises:
            ObjectCorruptError: It has another; nothing was stored.
            DiskFullError, StoreError: As ``put``.
        """

    def read(self, digest: str) -> bytes:
        """Return the content of ``digest``, checked.

        Raises:
            ObjectMissingError: No such file is stored.
            ObjectCorruptError: What is stored there has another sha256.
        """

    def stream(self, digest: str) -> Iterator[bytes]:
        """The content of ``digest``, piece by piece; the last piece comes only if the sha256 of all is right.

        Raises:
            ObjectMissingError, ObjectCorruptError: As ``read``.
        """

    def has(self, digest: str) -> bool:
        """Whether something lies under ``digest``."""

    def measure(self, digest: str) -> tuple[str, int]:
        """The sha256 and the size in bytes of what really lies under ``digest``.

        Raises:
            ObjectMissingError: Nothing does.
        """

    def files(self) -> Iterator[Stored]:
        """Everything that lies in the store."""

    def remove(self, file: Stored) -> None:
        """Remove a file; nothing happens if it has gone already."""


class LocalStore:
    """Files by sha256 under a directory: ``ab/cdef…`` for the digest ``abcdef…``.

    A file appears under its final name only when all of it is on the disk: it is written to a temporary name, fsynced,
    and renamed, and the directory is fsynced after.

    Args:
        root: The directory; made with the first file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.label = str(root)

    def put(self, content: bytes) -> str:
        """Store ``content`` for good and return its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        self.put_stream([content], digest)
        return digest

    def put_stream(self, chunks: Iterable[bytes], digest: str) -> None:
        """Store content that is read piece by piece, whose sha256 has to be ``digest``."""
        path = self.path(digest)
        try:
            # What is not there, or cannot be read, is written.
            with suppress(StoreError):
                if self.measure(digest)[0] == digest:
                    return
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, checked(chunks, digest, f"the content for {path}"))
            # The new directory's own entry has to survive a power cut as well.
            _sync_directory(self.root)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError(f"no space is left for {self.root}: free some and try again") from error
            raise StoreError(f"the object store {self.root} cannot be written: {error.strerror}") from error

    def read(self, digest: str) -> bytes:
        """Return the content of ``digest``, checked."""
        return b"".join(self.stream(digest))

    def stream(self, digest: str) -> Iterator[bytes]:
        """The content of ``digest``, piece by piece, checked."""
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                yield from checked(iter(lambda: file.read(CHUNK), b""), digest, f"object {digest} of {self.root}")
        except OSError as error:
            raise self._unreadable(digest, error) from error

    def has(self, digest: str) -> bool:
        """Whether something lies under ``digest``."""
        return self.path(digest).is_file()

    def measure(self, digest: str) -> tuple[str, int]:
        """The sha256 and the size of what really lies under ``digest``."""
        try:
            with self.path(digest).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                return found, file.tell()
        except OSError as error:
            raise self._unreadable(digest, error) from error

    def files(self) -> Iterator[Stored]:
        """Everything that lies in the store."""
        for directory, _, names in os.walk(self.root):
            for name in sorted(names):
                path = Path(directory, name)
                try:
                    found = path.lstat()
                except FileNotFoundError:
                    continue
                relative = path.relative_to(self.root).as_posix()
                yield Stored(relative, digest_of(relative), found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def remove(self, file: Stored) -> None:
        """Remove a file; nothing happens if it has gone already."""
        try:
            (self.root / file.path).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self.root / file.path} cannot be removed: {error.strerror}") from error

    def path(self, digest: str) -> Path:
        """Where the file of ``digest`` lies, or would lie.

        Raises:
            StoreError: ``digest`` is not 64 lower-case hexadecimal digits.
        """
        check_digest(digest)
        return self.root / digest[:2] / digest[2:]

    def _unreadable(self, digest: str, error: OSError) -> StoreError:
        if isinstance(error, FileNotFoundError):
            return missing(digest, self.label)
        return StoreError(f"object {digest} of {self.root} cannot be read: {error.strerror}")


def check_digest(text: str) -> str:
    """Return ``text`` if it is a sha256.

    Raises:
        StoreError: It is not 64 lower-case hexadecimal digits.
    """
    if not _DIGEST.fullmatch(text):
        raise StoreError(f"digest {text[:80]!a} is not valid: it has to be 64 lower-case hexadecimal digits")
    return text


def digest_of(path: str) -> str | None:
    """The digest that a file below a store's root is stored under, if it is one of the store's."""
    head, _, tail = path.partition("/")
    return head + tail if _DIGEST.fullmatch(head + tail) and len(head) == 2 else None


def missing(digest: str, label: str) -> ObjectMissingError:
    """The error for an object that is not there."""
    return ObjectMissingError(f"object {digest} is missing from {label}", advice=Advice(Action.REPAIR))


def checked(chunks: Iterable[bytes], digest: str, what: str) -> Iterator[bytes]:
    """The same chunks; the last is held back until all of them have the right sha256.

    Raises:
        ObjectCorruptError: They have another.
    """
    hashed = hashlib.sha256()
    size = 0
    held = b""
    for chunk in chunks:
        hashed.update(chunk)
        size += len(chunk)
        if held:
            yield held
        held = chunk
    if hashed.hexdigest() != digest:
        raise ObjectCorruptError(
            f"{what} is damaged: its {size} bytes have the sha256 {hashed.hexdigest()}, not {digest}",
            advice=Advice(Action.REPAIR),
        )
    yield held
