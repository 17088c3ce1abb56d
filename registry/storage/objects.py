"""Objects: files that are stored under their own sha256, and what every store of them does.

Identical content is stored once, and damage shows. A row that names a digest is committed after ``put`` has returned,
so no row is ever without its file.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from ..errors import Action, Advice, ObjectCorruptError, ObjectMissingError, StoreError

CHUNK: Final = 1 << 20
"""Bytes that are read or written at a time."""

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
"""A sha256 as it is written everywhere."""


class Stored(NamedTuple):
    """A file in a store."""

    path: str
    """Its path below the store's root."""
    digest: str | None
    """The sha256 that it is stored under; None for a temporary file, and for a file of somebody else's."""
    size: int
    """Bytes."""
    modified: datetime


class Store(Protocol):
    """A store of the files of versions, by sha256.

    Examples:
        >>> store = open_store("s3://team/adapters", cache=Path("cache"))
        >>> store.read(store.put(b"weights"))
        b'weights'
    """

    label: str
    """Its name in messages: a directory or a URL."""

    def put(self, content: bytes) -> str:
        """Store ``content`` durably and return its sha256 as 64 hexadecimal digits.

        Raises:
            DiskFullError: No space is left; nothing was stored.
            StoreError: The store cannot be written.
        """

    def put_stream(self, chunks: Iterable[bytes], digest: str) -> None:
        """Store content that comes in chunks.

        Args:
            chunks: The content.
            digest: The sha256 that it must have.

        Raises:
            ObjectCorruptError: It has another sha256; nothing was stored.
            DiskFullError, StoreError: As ``put``.
        """

    def read(self, digest: str) -> bytes:
        """Return the content of ``digest``, its sha256 checked.

        Raises:
            ObjectMissingError: No such object is stored.
            ObjectCorruptError: The stored content has another sha256.
        """

    def fetch(self, digest: str) -> None:
        """Bring the content of ``digest`` onto this machine, where the store is elsewhere, so that ``read`` is quick.

        Raises:
            ObjectMissingError, ObjectCorruptError: As ``read``.
        """

    def stream(self, digest: str) -> Iterator[bytes]:
        """The content of ``digest`` in chunks; the last chunk comes only if the sha256 of all of them is right.

        Raises:
            ObjectMissingError, ObjectCorruptError: As ``read``.
        """

    def has(self, digest: str) -> bool:
        """Whether an object is stored under ``digest``; its content is not checked."""

    def measure(self, digest: str) -> tuple[str, int]:
        """The real sha256 and the size in bytes of the object that is stored under ``digest``.

        Raises:
            ObjectMissingError: No such object is stored.
        """

    def files(self) -> Iterator[Stored]:
        """Every file below the store's root, in any order."""

    def remove(self, file: Stored) -> None:
        """Remove a file; a missing file is no error."""

    def read_owner(self) -> bytes | None:
        """Return the file that names the store's owner (``storage.owner``), as it is now; None if there is none."""

    def write_owner(self, content: bytes, *, replace: bool = False) -> None:
        """Write the file that names the store's owner.

        Args:
            content: The content.
            replace: Replace the file that is there; else that stays, also where several write at once.
        """


def check_digest(text: str) -> str:
    """Return ``text`` if it is a sha256.

    Raises:
        StoreError: It is not 64 lower-case hexadecimal digits.
    """
    if not isinstance(text, str) or not DIGEST.fullmatch(text):
        raise StoreError(f"digest {str(text)[:80]!a} is not valid: it must be 64 lower-case hexadecimal digits")
    return text


def digest_of(path: str) -> str | None:
    """The digest of the object at a path below a store's root; None for a file that is no object."""
    head, _, tail = path.partition("/")
    return head + tail if DIGEST.fullmatch(head + tail) and len(head) == 2 else None


def path_of(digest: str) -> str:
    """The path of an object below a store's root: ``ab/cdef…`` for the digest ``abcdef…``.

    Raises:
        StoreError: ``digest`` is not 64 lower-case hexadecimal digits.
    """
    check_digest(digest)
    return f"{digest[:2]}/{digest[2:]}"


def missing(digest: str, label: str) -> ObjectMissingError:
    """The error for an object that is not in the store called ``label``."""
    return ObjectMissingError(f"object {digest} is missing from {label}", advice=Advice(Action.REPAIR))


def checked(chunks: Iterable[bytes], digest: str, subject: str) -> Iterator[bytes]:
    """Pass chunks on, and hold the last one back until the sha256 of all of them is known to be right.

    Args:
        chunks: The content.
        digest: The sha256 that it must have.
        subject: What it is, for the message.

    Raises:
        ObjectCorruptError: It has another sha256.
    """
    hashed = hashlib.sha256()
    size = 0
    last = b""
    for chunk in chunks:
        hashed.update(chunk)
        size += len(chunk)
        if last:
            yield last
        last = chunk
    if hashed.hexdigest() != digest:
        raise ObjectCorruptError(
            f"{subject} is damaged: its {size} bytes have the sha256 {hashed.hexdigest()}, not {digest}",
            advice=Advice(Action.REPAIR),
        )
    yield last
