"""Files written whole or not at all."""

import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")


def is_temporary(path: str) -> bool:
    """Whether a file below a store's root is one that ``put`` had not finished."""
    return _TEMPORARY.fullmatch(path.rpartition("/")[2]) is not None


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Make ``path`` hold the chunks, or leave it as it was: whoever reads it never sees a part."""
    # Without the file's own name in it: that may be as long as a name can be.
    temporary = path.with_name(f".{secrets.token_hex(16)}.tmp")
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
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
