"""Content-addressed files: each lies under its own sha256, so identical content is stored once and damage shows.

A file appears under its final name only when all of it is on the disk: it is written to a temporary name, fsynced, and
renamed, and the directory is fsynced after. Whoever commits a row that names a digest does so after ``put`` returned.
"""

import errno
import hashlib
import os
import re
import secrets
from pathlib import Path

from .errors import DiskFullError, ObjectCorruptError, ObjectMissingError, StoreError

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Store:
    """Files by sha256 under a directory: ``ab/cdef…`` for the digest ``abcdef…``.

    Args:
        root: The directory; made with the first file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, content: bytes) -> str:
        """Store ``content`` for good and return its sha256 as 64 hexadecimal digits.

        Raises:
            DiskFullError: No space is left; nothing was stored.
            StoreError: The directory cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self.path(digest)
        try:
            if path.exists() and _sha256(path.read_bytes()) == digest:
                return digest
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
            # The new directory's own entry has to survive a power cut as well.
            _sync_directory(self.root)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError(f"no space is left for {self.root}: free some and try again") from error
            raise StoreError(f"the object store {self.root} cannot be written: {error.strerror}") from error
        return digest

    def read(self, digest: str) -> bytes:
        """Return the content of ``digest``, checked.

        Raises:
            ObjectMissingError: No such file is stored.
            ObjectCorruptError: What is stored there has another sha256.
        """
        path = self.path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ObjectMissingError(f"object {digest} is missing from {self.root}: restore it from a backup") from None
        except OSError as error:
            raise StoreError(f"object {digest} of {self.root} cannot be read: {error.strerror}") from error
        found = _sha256(content)
        if found != digest:
            raise ObjectCorruptError(
                f"object {digest} of {self.root} is damaged: its {len(content)} bytes have the sha256 {found}; "
                "restore it from a backup"
            )
        return content

    def path(self, digest: str) -> Path:
        """Where the file of ``digest`` lies, or would lie.

        Raises:
            StoreError: ``digest`` is not 64 lower-case hexadecimal digits.
        """
        if not _DIGEST.fullmatch(digest):
            raise StoreError(f"digest {digest[:80]!a} is not valid: it has to be 64 lower-case hexadecimal digits")
        return self.root / digest[:2] / digest[2:]


def write_atomically(path: Path, content: bytes) -> None:
    """Make ``path`` hold ``content``, or leave it as it was: whoever reads it never sees a part."""
    # Without the file's own name in it: that may be as long as a name can be.
    temporary = path.with_name(f".{secrets.token_hex(16)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
