"""Repair: restore missing and damaged files from a backup, a bundle or another store."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..errors import ObjectCorruptError, ObjectMissingError, PointsmanError, SettingsError
from ..registry import Registry
from ..storage.local import LocalStore
from ..storage.objects import Store
from ..storage.remote import open_store
from ..versions import ownership
from .bundle import Bundle
from .problems import Problem


@dataclass(frozen=True, kw_only=True)
class Repair:
    """The result of ``repair``."""

    repaired: tuple[str, ...]
    """Digests of the files that were restored."""
    remaining: tuple[Problem, ...]
    """Problems that no source could repair."""


def repair(registry: Registry, problems: Iterable[Problem], sources: Sequence[str | Path]) -> Repair:
    """Restore missing and damaged files.

    Args:
        registry: The registry.
        problems: The problems of a report of ``verify``.
        sources: Where good copies may be, best first: a backup or another home, a bundle, or an object store's
            directory or URL. A copy is taken only if its sha256 is right.

    Raises:
        SettingsError: A source does not exist.
        BundleError: A source is a bundle that cannot be read.
        StoreError: The registry's own store cannot be written, or belongs to another registry.

    Examples:
        >>> repair(registry, verify(registry).problems, ["backup"]).remaining
        ()
    """
    ownership.own_store(registry.database, registry.store)
    repaired, remaining = [], []
    with ExitStack() as opened:
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        stores = [_open_source(str(source), directory, opened) for source in sources]
        for problem in problems:
            if problem.digest is not None and _restore(registry.store, problem.digest, stores):
                repaired.append(problem.digest)
            else:
                remaining.append(problem)
    return Repair(repaired=tuple(repaired), remaining=tuple(remaining))


def _restore(store: Store, digest: str, sources: Iterable[Store]) -> bool:
    """Copy an object from the first source that has a good copy; return whether one has."""
    for source in sources:
        try:
            store.put_stream(source.stream(digest), digest)
        except (ObjectMissingError, ObjectCorruptError):
            continue
        return True
    return False


def _open_source(place: str, directory: Path, opened: ExitStack) -> Store:
    """Open a source as a store; a bundle is unpacked below ``directory`` first, as far as it is sound."""
    if "://" in place:
        return open_store(place, directory / "cache")
    path = Path(place)
    if path.is_dir():
        return LocalStore(path / "objects" if (path / "objects").is_dir() else path)
    if not path.is_file():
        raise SettingsError(f"'{place}' does not exist; name a backup, a home, a bundle or an object store")
    unpacked = LocalStore(Path(tempfile.mkdtemp(dir=directory)))
    with Bundle(path) as bundle:
        for digest in bundle.objects:
            try:
                unpacked.put_stream(bundle.stream(f"objects/{digest}"), digest)
            except PointsmanError:
                continue
    opened.callback(shutil.rmtree, unpacked.root, ignore_errors=True)
    return unpacked
