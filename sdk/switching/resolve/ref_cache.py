"""What refs mean to one Switcher: what they meant at their first use, until they are looked up anew."""

import threading
from collections.abc import Collection, Sequence

from pointsman.registry import Base, Registry
from pointsman.registry.errors import PointsmanError

from ...core.composition import Composition
from ..memory.adapter_cache import AdapterCache
from .resolved_ref import Leaf, ResolvedRef, leaves, look_up, resolve_with


class RefCache:
    """What refs mean, kept by ref: compositions of any number leave nothing behind.

    Args:
        registry: Where they are looked up.
        base: What the versions have to be of.
        library: Where they are loaded.
    """

    def __init__(self, registry: Registry, base: Base, library: AdapterCache) -> None:
        self._registry = registry
        self._base = base
        self._library = library
        self._known: dict[Leaf, ResolvedRef] = {}
        self._outdated = 0  # times that what was looked up until then no longer counts
        self._lock = threading.Lock()  # over both
        self._refreshing = threading.Lock()  # of two that look up the same ref, the later one counts

    def of(self, composition: Composition) -> ResolvedRef:
        """What a ref or composition means: each ref in it what it meant at its first use.

        Raises:
            NotFoundError, BaseMismatchError, CompositionError: As ``look_up`` and ``settle``.
        """
        return resolve_with(composition, self._first)

    def forget(self, versions: Collection[str]) -> None:
        """Look up anew what means one of these versions, when it is used next."""
        with self._lock:
            self._outdated += 1
            self._known = {
                leaf: meaning for leaf, meaning in self._known.items() if not meaning.versions.keys() & set(versions)
            }

    def refresh(self, compositions: Sequence[Composition]) -> dict[str, str]:
        """Look up anew what the refs in these mean, or all that are known.

        What a ref means now is loaded first, if what it meant was, and then takes its place.

        Returns:
            What has changed: what it means now, by ref.

        Raises:
            PointsmanError: One of them cannot be looked up or loaded: the first, after all others are refreshed. What
                failed means what it meant.
        """
        changed: dict[str, str] = {}
        failed: list[PointsmanError] = []
        with self._refreshing:
            with self._lock:
                self._outdated += 1
            asked = dict.fromkeys(leaf for composition in compositions for leaf in leaves(composition))
            for leaf in asked or list(self._known):
                try:
                    changed |= self._refresh(leaf)
                except PointsmanError as error:
                    failed.append(error)
        if failed:
            raise failed[0]
        return changed

    def _first(self, leaf: Leaf) -> ResolvedRef:
        while (meaning := self._known.get(leaf)) is None:
            outdated = self._outdated
            found = look_up(leaf, self._registry, self._base)
            with self._lock:
                if outdated == self._outdated:
                    self._known.setdefault(leaf, found)
        return meaning

    def _refresh(self, leaf: Leaf) -> dict[str, str]:
        before = self._known.get(leaf)
        now = look_up(leaf, self._registry, self._base)
        if before is not None and before.composition == now.composition:
            return {}
        loaded = {loaded.version.ref for loaded in self._library.loaded}
        if before is None or loaded & before.versions.keys():
            with self._library.lease(list(now.versions.values())):
                pass
        with self._lock:
            self._known[leaf] = now
        return {str(leaf): str(now.composition)}
