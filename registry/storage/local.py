"""An object store in a directory."""

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ..errors import Action, Advice, DiskFullError, ObjectCorruptError, StoreError
from .files import NotAFileError, create_atomically, measure_file, open_regular, sync_directory, write_atomically
from .objects import CHUNK, Stored, checked, digest_of, missing, path_of
from .owner import LARGEST, OWNER_FILE


class LocalStore:
    """Objects under a directory: ``ab/cdef…`` for the digest ``abcdef…``.

    A file gets its name only when all of it is on the disk: it is written to a temporary name, fsynced and renamed, and
    then its directory is fsynced.

    Args:
        root: The directory; made with the first file.

    Examples:
        >>> store = LocalStore(Path("objects"))
        >>> store.read(store.put(b"weights"))
        b'weights'
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.label = str(root)

    def put(self, content: bytes) -> str:
        """Store ``content`` durably and return its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        self.put_stream([content], digest)
        return digest

    def put_stream(self, chunks: Iterable[bytes], digest: str) -> None:
        """Store content that comes in chunks and must have the sha256 ``digest``."""
        path = self.path(digest)
        try:
            with suppress(StoreError):  # a missing or unreadable file is written
                if self.measure(digest)[0] == digest:
                    return
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                path.rmdir()  # nothing else that has the name holds up a rename
            write_atomically(path, checked(chunks, digest, f"the content for {path}"))
            # The entry of a new directory must survive a power cut, too.
            sync_directory(self.root)
        except OSError as error:
            raise self._unwritable(error) from error

    def read(self, digest: str) -> bytes:
        """Return the content of ``digest``, its sha256 checked."""
        return b"".join(self.stream(digest))

    def fetch(self, digest: str) -> None:
        """Nothing: the objects are here."""

    def stream(self, digest: str) -> Iterator[bytes]:
        """The content of ``digest`` in chunks, its sha256 checked before the last one."""
        path = self.path(digest)
        try:
            with open_regular(path) as file:
                yield from checked(iter(lambda: file.read(CHUNK), b""), digest, f"object {digest} of {self.root}")
        except OSError as error:
            raise self._unreadable(digest, error) from error

    def has(self, digest: str) -> bool:
        """Whether a file is stored under ``digest``; its content is not checked."""
        return self.path(digest).is_file()

    def measure(self, digest: str) -> tuple[str, int]:
        """The real sha256 and the size in bytes of the file that is stored under ``digest``."""
        try:
            return measure_file(self.path(digest))
        except OSError as error:
            raise self._unreadable(digest, error) from error

    def files(self) -> Iterator[Stored]:
        """Every file below the directory."""
        for directory, _, names in os.walk(self.root):
            for name in sorted(names):
                path = Path(directory, name)
                try:
                    status = path.lstat()
                except FileNotFoundError:  # removed since its directory was read
                    continue
                relative = path.relative_to(self.root).as_posix()
                modified = datetime.fromtimestamp(status.st_mtime, UTC)
                yield Stored(relative, digest_of(relative), status.st_size, modified)

    def remove(self, file: Stored) -> None:
        """Remove a file; a missing file is no error."""
        try:
            (self.root / file.path).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self.root / file.path} cannot be removed: {error.strerror}") from error

    def read_owner(self) -> bytes | None:
        """Return the file that names the store's owner, as it is now; None if there is none."""
        try:
            with open_regular(self.root / OWNER_FILE) as file:
                return file.read(LARGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{OWNER_FILE} in {self.root} cannot be read: {error.strerror}") from error

    def write_owner(self, content: bytes, *, replace: bool = False) -> None:
        """Write the file that names the store's owner; unless ``replace``, one that is there stays."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if replace:
                write_atomically(self.root / OWNER_FILE, [content])
            else:
                create_atomically(self.root / OWNER_FILE, content)
        except OSError as error:
            raise self._unwritable(error) from error

    def path(self, digest: str) -> Path:
        """The path of the file of ``digest``, which need not exist.

        Raises:
            StoreError: ``digest`` is not 64 lower-case hexadecimal digits.
        """
        return self.root / path_of(digest)

    def _unwritable(self, error: OSError) -> StoreError | DiskFullError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFullError(f"no space is left for {self.root}; free some and try again")
        if error.errno == errno.ENOTEMPTY:
            return StoreError(
                f"{error.filename} is a directory with something in it, where a file belongs; move it away"
            )
        return StoreError(f"the object store {self.root} cannot be written: {error.strerror}")

    def _unreadable(self, digest: str, error: OSError) -> StoreError:
        if isinstance(error, FileNotFoundError):
            return missing(digest, self.label)
        if isinstance(error, NotAFileError):
            return ObjectCorruptError(
                f"object {digest} of {self.root} is damaged: {error.strerror}", advice=Advice(Action.REPAIR)
            )
        return StoreError(f"object {digest} of {self.root} cannot be read: {error.strerror}")
