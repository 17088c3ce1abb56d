"""An object store behind a URL that fsspec knows (filesystem-spec.readthedocs.io), read through a local cache."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ..errors import Action, Advice, ObjectCorruptError, ObjectMissingError, SettingsError, StoreError
from .bounded import LONGEST_REMOVAL, TIMEOUT_VARIABLE, BoundedCalls, timeout_seconds
from .local import LocalStore
from .objects import Store, Stored, checked, digest_of, missing, path_of
from .owner import LARGEST, OWNER_FILE

_BLOCK: Final = 4 << 20
"""Bytes that are read in one request, or that each add one limit to the time of an upload."""

_LISTING: Final = 20
"""Limits that the listing of a whole store may take, once the server has answered."""


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
    No request waits longer than ``POINTSMAN_STORE_TIMEOUT`` says, 30 s by default.

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
        self._call = BoundedCalls(self._fs, timeout_seconds())

    def put(self, content: bytes) -> str:
        """Store ``content`` durably and return its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        with suppress(ObjectMissingError):
            if self.measure(digest)[0] == digest:
                return digest
        with self._translated("written"):
            self._call("makedirs", path.rpartition("/")[0], exist_ok=True)
            self._call("pipe_file", path, content, limit=self._call.seconds * (1 + len(content) // _BLOCK))
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
        content = b"".join(checked(self._blocks(digest), digest, f"object {digest} of {self.label}"))
        self._cache.put(content)
        return content

    def fetch(self, digest: str) -> None:
        """Bring the content of ``digest`` into the cache."""
        if not self._cache.has(digest):
            self.read(digest)

    def stream(self, digest: str) -> Iterator[bytes]:
        """The content of ``digest`` in chunks, its sha256 checked before the last one."""
        self.read(digest)
        return self._cache.stream(digest)

    def has(self, digest: str) -> bool:
        """Whether an object is stored under ``digest``; its content is not checked."""
        with self._translated("read"):
            return bool(self._call("exists", self._path(digest)))

    def measure(self, digest: str) -> tuple[str, int]:
        """The real sha256 and the size in bytes of the object at the URL; the cache is not read."""
        hashed = hashlib.sha256()
        size = 0
        for block in self._blocks(digest):
            hashed.update(block)
            size += len(block)
        return hashed.hexdigest(), size

    def files(self) -> Iterator[Stored]:
        """Every file below the URL."""
        with self._translated("listed"):
            entries: dict[str, dict[str, Any]] = {}
            if self._call("exists", self._root):
                entries = self._call("find", self._root, detail=True, limit=_LISTING * self._call.seconds)
        for path, info in sorted(entries.items()):
            relative = path.removeprefix(self._root).strip("/")
            yield Stored(relative, digest_of(relative), int(info["size"]), _modified(info))

    def remove(self, file: Stored) -> None:
        """Remove a file, also from the cache; a missing file is no error."""
        with self._translated("written"):
            try:
                limit = min(self._call.seconds, LONGEST_REMOVAL)
                self._call("rm_file", f"{self._root}/{file.path}", limit=limit)
            except FileNotFoundError:
                return
        if file.digest is not None and self._cache.has(file.digest):
            self._cache.remove(file)

    def read_owner(self) -> bytes | None:
        """Return the file that names the store's owner, as it is now; None if there is none."""
        with self._translated("read"):
            try:
                content: bytes = self._call("cat_file", f"{self._root}/{OWNER_FILE}")
            except FileNotFoundError:
                return None
        return content[:LARGEST]

    def write_owner(self, content: bytes, *, replace: bool = False) -> None:
        """Write the file that names the store's owner; unless ``replace``, one that is there stays."""
        path, mode = f"{self._root}/{OWNER_FILE}", "overwrite" if replace else "create"
        with self._translated("written"):
            try:
                try:
                    self._call("pipe_file", path, content, mode=mode)
                except FileNotFoundError:
                    # Made only where it is missing: a bucket is there before this program may write into it.
                    self._call("makedirs", self._root, exist_ok=True)
                    self._call("pipe_file", path, content, mode=mode)
            except Exception:
                # Drivers have errors of their own for a file that is there, such as boto's for a failed condition.
                if replace or not self._call("exists", path):
                    raise

    def _blocks(self, digest: str) -> Iterator[bytes]:
        """The object as it is at the URL, in blocks, each of which is one request."""
        path = self._path(digest)
        with self._translated("read", digest):
            size = self._call("info", path)["size"]
            if size is None:  # a web server need not tell
                yield self._call("cat_file", path)
                return
            for start in range(0, size, _BLOCK):
                yield self._call("cat_file", path, start=start, end=min(start + _BLOCK, size))

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
        except TimeoutError as error:
            raise StoreError(
                f"the object store {self.label} cannot be {verb}: no answer within {self._call.seconds:g} s "
                f"({TIMEOUT_VARIABLE} sets another limit)"
            ) from error
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
