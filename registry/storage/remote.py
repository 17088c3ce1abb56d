"""An object store behind a URL that fsspec knows (filesystem-spec.readthedocs.io), read through a local cache."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import Action, Advice, ObjectCorruptError, ObjectMissingError, SettingsError, StoreError
from .local import LocalStore
from .objects import CHUNK, Store, Stored, checked, digest_of, missing, path_of


def open_store(place: str, cache: Path) -> Store:
    """Open the object store at a directory or a URL.

    Args:
        place: A directory, or a URL: ``file://``, ``s3://``, ``memory://`` or another scheme that fsspec knows.
        cache: The local directory for objects that were read from a URL.

    Raises:
        SettingsError: The URL's scheme is unknown, or its driver is not installed.
    """
    if "://" not in place:
        return LocalStore(Path(place).absolute())
    if place.startswith("file://"):
        return LocalStore(Path(unquote(urlsplit(place).path)))
    return RemoteStore(place, LocalStore(cache))


class RemoteStore:
    """Objects below a URL. An object is read once and then comes from the cache, its sha256 checked each time.

    An upload that was interrupted may leave a partial object: it fails its check, and the next ``put`` replaces it.

    Args:
        url: The root of the objects.
        cache: The store for objects that were read.

    Raises:
        SettingsError: The URL cannot be used, or its driver is not installed.

    Examples:
        >>> store = RemoteStore("s3://team/adapters", LocalStore(Path("cache")))
        >>> store.read(store.put(b"weights"))
        b'weights'
    """

    def __init__(self, url: str, cache: LocalStore) -> None:
        import fsspec  # noqa: PLC0415 - most registries never need it

        self.label = url
        self._cache = cache
        try:
            # Other machines write to the same store, so a listing from a moment ago is out of date.
            self._fs, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            advice = Advice(Action.INSTALL_EXTRA, {"extra": "s3"}) if url.startswith("s3") else None
            raise SettingsError(f"the object store {url} needs a driver: {error}", advice=advice) from error
        except ValueError as error:
            raise SettingsError(f"the object store {url} cannot be used: {error}") from error

    def put(self, content: bytes) -> str:
        """Store ``content`` durably and return its sha256."""
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
        """Store content that comes in chunks and must have the sha256 ``digest``."""
        # An object is uploaded in one piece: the cache collects it and checks its sha256 first.
        self._cache.put_stream(chunks, digest)
        self.put(self._cache.read(digest))

    def read(self, digest: str) -> bytes:
        """Return the content of ``digest``, its sha256 checked; from the cache if it has a sound copy."""
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
        """The content of ``digest`` in chunks, its sha256 checked before the last one."""
        self.read(digest)
        return self._cache.stream(digest)

    def has(self, digest: str) -> bool:
        """Whether an object is stored under ``digest``; its content is not checked."""
        with self._translated("read"):
            return bool(self._fs.exists(self._path(digest)))

    def measure(self, digest: str) -> tuple[str, int]:
        """The real sha256 and the size in bytes of the object at the URL; the cache is not read."""
        hashed = hashlib.sha256()
        size = 0
        with self._translated("read", digest), self._fs.open(self._path(digest), "rb") as file:
            while chunk := file.read(CHUNK):
                hashed.update(chunk)
                size += len(chunk)
        return hashed.hexdigest(), size

    def files(self) -> Iterator[Stored]:
        """Every file below the URL."""
        with self._translated("listed"):
            entries: dict[str, dict[str, Any]] = {}
            if self._fs.exists(self._root):
                entries = self._fs.find(self._root, detail=True)
        for path, info in sorted(entries.items()):
            relative = path.removeprefix(self._root).strip("/")
            yield Stored(relative, digest_of(relative), int(info["size"]), _modified(info))

    def remove(self, file: Stored) -> None:
        """Remove a file, also from the cache; a missing file is no error."""
        with self._translated("written"):
            try:
                self._fs.rm_file(f"{self._root}/{file.path}")
            except FileNotFoundError:
                return
        if file.digest is not None and self._cache.has(file.digest):
            self._cache.remove(file)

    def _path(self, digest: str) -> str:
        return f"{self._root}/{path_of(digest)}"

    @contextmanager
    def _translated(self, verb: str, digest: str | None = None) -> Iterator[None]:
        """Raise an error of the driver's as one of ours; ``digest`` is the object that is missing if a file is."""
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
    """When a file was last written, under the key that its driver uses; now where none does."""
    for key in ("LastModified", "mtime", "created", "last_modified"):
        value = info.get(key)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    # A file of unknown age counts as new, so that garbage collection never removes it for its age.
    return datetime.now(UTC)
