"""Atomic writes: a reader sees the old file or all of the new one, never a part."""

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


def temporary_beside(path: Path) -> Path:
    """A new name in the same directory, for a file that is renamed to ``path`` when it is complete."""
    # Without the name of path: that may be as long as the file system allows.
    return path.with_name(f".{secrets.token_hex(16)}.tmp")


def is_temporary(path: str) -> bool:
    """Whether a path names a file of ``temporary_beside``; one that is old was left by a crash."""
    return _TEMPORARY.fullmatch(path.rpartition("/")[2]) is not None


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Write the chunks to ``path``, fsynced; after any error ``path`` is as it was before.

    Args:
        path: The file; replaced if it exists.
        chunks: The content, in pieces.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def create_atomically(path: Path, content: bytes) -> bool:
    """Write ``content`` to ``path`` if nothing has that name, fsynced; of several processes that try, one succeeds.

    Returns:
        Whether it was written.

    Raises:
        OSError: The file cannot be written.
    """
    temporary = temporary_beside(path)
    write_atomically(temporary, [content])
    try:
        # Unlike a rename, a link fails where the name is taken.
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems have no links. There is a moment between the look and the rename.
        if path.exists():
            return False
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def sync_directory(path: Path) -> None:
    """Fsync a directory; without it, a power cut can undo a rename in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class NotAFileError(OSError):
    """What has a file's name is a directory, a pipe, a socket or a device."""

    def __init__(self, path: Path, mode: int) -> None:
        kind = next((word for is_one, word in _KINDS if is_one(mode)), "device")
        super().__init__(errno.EINVAL, f"it is a {kind}, not a file", str(path))


_KINDS = ((stat.S_ISDIR, "directory"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read it; anything else that has its name is refused at once, while a pipe would be waited for.

    Raises:
        NotAFileError: It is no file, nor a link to one.
        OSError: It cannot be read.
    """
    # The look before, since to open a device can do something; the look after, since it may have changed meanwhile.
    check_regular(path, path.stat())
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: Path, status: os.stat_result) -> None:
    """Refuse what is no file.

    Raises:
        NotAFileError: It is a directory, a pipe, a socket or a device.
    """
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(path, status.st_mode)


def measure_file(path: Path) -> tuple[str, int]:
    """The sha256 of a file, as hexadecimal digits, and its size in bytes.

    Raises:
        OSError: The file cannot be read.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
