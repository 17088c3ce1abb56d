"""An object store behind any URL that fsspec knows (filesystem-spec.readthedocs.io), read through a local cache."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import Action, Advice, ObjectCorruptError, ObjectMissingError, SettingsError, StoreError
from .objects import CHUNK, LocalStore, Store, Stored, check_digest, checked, digest_of, missing


def open_store(place: str, cache: Path) -> Store:
    """The object store of a directory's name or a URL.

    Args:
        place: A directory, or a URL: ``file://``, ``s3://``, ``memory://`` or another that fsspec knows.
        cache: The local directory that objects from elsewhere are kept in once they were read.

    Raises:
        SettingsError: The URL is of an unknown kind, or what it needs is not installed.
    """
    if "://" not in place:
        return LocalStore(Path(place).absolute())
    if place.startswith("file://"):
        return LocalStore(Path(unquote(urlsplit(place).path)))
    return RemoteStore(place, LocalStore(cache))


class RemoteStore:
    """Files by sha256 below a URL. What was read once is in the cache, and is checked there as well.

    An upload that broke off may leave a part of a file: it is not taken for the object, and written again.

    Args:
        url: Where the files lie.
        cache: Keeps what was read.
    """

    def __init__(self, url: str, cache: LocalStore) -> None:
        import fsspec  # noqa: PLC0415 - most registries never need it

        self.label = url
        self._cache = cache
        try:
            # Others write there as well: what was listed a moment ago is no answer.
            self._fs, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            advice = Advice(Action.INSTALL_EXTRA, {"extra": "s3"}) if url.startswith("s3") else None
            raise SettingsError(f"the object store {url} needs a driver: {error}", advice=advice) from error
        except ValueError as error:
            raise SettingsError(f"the object store {url} cannot be used: {error}") from error

    def put(self, content: bytes) -> str:
        """Store ``content`` for good and return its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        with suppress(ObjectMissingError):
            if self.measure(digest)[0] == digest:
                return digest
        with self._translated("written"):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, content)
        return digest

    def put_stream(self, chunks: Iterable[bytes], digest: str) -> None:
        """Store content that is read piece by piece, whose sha256 has to be ``digest``."""
        # Uploads are whole objects: so it is checked before it goes.
        self._cache.put_stream(chunks, digest)
        self.put(self._cache.read(digest))

    def read(self, digest: str) -> bytes:
        """Return the content of ``digest``, checked; from the cache if it is there."""
        try:
            return self._cache.read(digest)
        except (ObjectMissingError, ObjectCorruptError):
            pass
        with self._translated("read", digest):
            content: bytes = self._fs.cat_file(self._path(digest))
        list(checked([content], digest, f"object {digest} of {self.label}"))
        self._cache.put(content)
        return content

    def stream(self, digest: str) -> Iterator[bytes]:
        """The content of ``digest``, piece by piece, checked."""
        self.read(digest)
        return self._cache.stream(digest)

    def has(self, digest: str) -> bool:
        """Whether something lies under ``digest``."""
        with self._translated("read"):
            return bool(self._fs.exists(self._path(digest)))

    def measure(self, digest: str) -> tuple[str, int]:
        """The sha256 and the size of what really lies under ``digest``, the cache left aside."""
        hashed = hashlib.sha256()
        size = 0
        with self._translated("read", digest), self._fs.open(self._path(digest), "rb") as file:
            while chunk := file.read(CHUNK):
                hashed.update(chunk)
                size += len(chunk)
        return hashed.hexdigest(), size

    def files(self) -> Iterator[Stored]:
        """Everything that lies below the URL."""
        with self._translated("listed"):
            found: dict[str, dict[str, Any]] = {}
            if self._fs.exists(self._root):
                found = self._fs.find(self._root, detail=True)
        for path, info in sorted(found.items()):
            relative = path.removeprefix(self._root).strip("/")
            yield Stored(relative, digest_of(relative), int(info["size"]), _modified(info))

    def remove(self, file: Stored) -> None:
        """Remove a file; nothing happens if it has gone already."""
        with self._translated("written"):
            try:
                self._fs.rm_file(f"{self._root}/{file.path}")
            except FileNotFoundError:
                return
        if file.digest is not None and self._cache.has(file.digest):
            self._cache.remove(file)

    def _path(self, digest: str) -> str:
        check_digest(digest)
        return f"{self._root}/{digest[:2]}/{digest[2:]}"

    @contextmanager
    def _translated(self, verb: str, digest: str | None = None) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if digest is not None:
                raise missing(digest, self.label) from error
            raise StoreError(f"the object store {self.label} cannot be {verb}: {error}") from error
        except (ObjectMissingError, ObjectCorruptError, StoreError):
            raise
        except Exception as error:  # every driver has errors of its own
            raise StoreError(f"the object store {self.label} cannot be {verb}: {error}") from error


def _modified(info: dict[str, Any]) -> datetime:
    """When a file was last written: each driver calls it something else."""
    for key in ("LastModified", "mtime", "created", "last_modified"):
        value = info.get(key)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    # Unknown is taken for new: nothing is removed for its age.
    return datetime.now(UTC)
