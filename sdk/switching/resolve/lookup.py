"""Look refs and compositions up in the registry: once, or for a Switcher, which remembers them until a refresh."""

import threading
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pointsman.registry import Base, Ref, Registry, Version, VersionKind
from pointsman.registry.errors import (
    Action,
    Advice,
    CompositionError,
    DamagedRowError,
    PointsmanError,
    VersionNotFoundError,
)

from ...core.composition import Composition, Fuse, from_dict, refs, replace
from ...core.members import with_local_members
from ...core.same_base import check_base
from ...methods.fusion import FUSE, fusion_members
from .resolved_ref import Lookup, ResolvedRef, combine, lookups, resolved_version

if TYPE_CHECKING:
    from ..memory.adapter_cache import AdapterCache


class RefCache:
    """What refs resolve to for one Switcher: each to the version that it meant at its first use, until a refresh.

    Only refs and fusions are remembered, so any number of compositions of them takes no memory.

    Args:
        registry: Where refs are looked up.
        base: The base that versions must be trained on.
        adapters: Where versions are loaded.

    Examples:
        >>> refs = RefCache(registry, base, adapters)
        >>> refs.resolve(parse("average(sst2, imdb)")).composition
        Average('sst2@3', 'imdb@1')
    """

    def __init__(self, registry: Registry, base: Base, adapters: "AdapterCache") -> None:
        self._registry = registry
        self._base = base
        self._adapters = adapters
        self._resolved: dict[Lookup, ResolvedRef] = {}
        self._outdated = 0  # counts the events after which a look-up that began before them is no longer valid
        self._lock = threading.Lock()  # over both
        self._refreshing = threading.Lock()  # one refresh at a time, so that the result of the later one stays

    def resolve(self, composition: Composition) -> ResolvedRef:
        """Resolve a ref or a composition, looking up only what has not been used before.

        Raises:
            NotFoundError, BaseMismatchError: As for ``look_up``.
            CompositionError: As for ``look_up`` and ``combine``.
        """
        if isinstance(composition, Ref | Fuse):  # a switch between single refs takes microseconds
            return self._resolve(composition)
        return combine(composition, {lookup: self._resolve(lookup) for lookup in lookups(composition)})

    def forget(self, versions: Collection[str]) -> None:
        """Look up anew, at its next use, what resolves to one of these versions."""
        with self._lock:
            self._outdated += 1
            self._resolved = {
                lookup: resolved
                for lookup, resolved in self._resolved.items()
                if not resolved.versions.keys() & set(versions)
            }

    def refresh(self, compositions: Sequence[Composition]) -> dict[str, str]:
        """Look up anew the refs in some compositions; without any, all refs that have been used.

        If the version that a ref resolved to is loaded, the new one is loaded before it takes its place.

        Returns:
            The changes: the new version by ref.

        Raises:
            PointsmanError: One of them cannot be looked up or loaded: the first such error, after all others are
                refreshed. A ref that failed resolves to what it did before.
        """
        changes: dict[str, str] = {}
        errors: list[PointsmanError] = []
        with self._refreshing:
            with self._lock:
                self._outdated += 1
            named = dict.fromkeys(lookup for composition in compositions for lookup in lookups(composition))
            for lookup in named or list(self._resolved):
                try:
                    changes |= self._refresh(lookup)
                except PointsmanError as error:
                    errors.append(error)
        if errors:
            raise errors[0]
        return changes

    def _resolve(self, lookup: Lookup) -> ResolvedRef:
        while (resolved := self._resolved.get(lookup)) is None:
            outdated = self._outdated
            looked_up = look_up(lookup, self._registry, self._base)
            with self._lock:
                if outdated == self._outdated:
                    self._resolved.setdefault(lookup, looked_up)
        return resolved

    def _refresh(self, lookup: Lookup) -> dict[str, str]:
        before = self._resolved.get(lookup)
        now = look_up(lookup, self._registry, self._base)
        if before is not None and before.composition == now.composition:
            return {}
        loaded = {adapter.version.ref for adapter in self._adapters.loaded}
        if before is None or loaded & before.versions.keys():
            with self._adapters.lease(list(now.versions.values())):
                pass
        with self._lock:
            self._resolved[lookup] = now
        return {str(lookup): str(now.composition)}


def resolve(composition: Composition, registry: Registry, base: Base) -> ResolvedRef:
    """Look up everything in a composition, and resolve it.

    Args:
        composition: A ref or a composition.
        registry: Where its refs are looked up.
        base: The base that the versions must be trained on.

    Raises:
        NotFoundError: A version is not found.
        BaseMismatchError: A version was trained on another base.
        CompositionError: As for ``look_up`` and ``combine``.
    """
    return combine(composition, {lookup: look_up(lookup, registry, base) for lookup in lookups(composition)})


def look_up(lookup: Lookup, registry: Registry, base: Base) -> ResolvedRef:
    """Look up a ref, or the fusion layer of a fusion.

    Raises:
        NotFoundError: The version is not found, or a member of it.
        BaseMismatchError: It was trained on another base.
        CompositionError: No fusion layer was trained over these members, or several for different tasks; or the
            version's members are not those that it was made from.
    """
    version = registry.version(lookup) if isinstance(lookup, Ref) else _fusion_layer(lookup, registry)
    check_base(version, base)
    version = with_local_members(version, registry)
    if version.kind is VersionKind.COMPOSITION:
        return resolve(from_dict(version.config["composition"]), registry, base)
    return resolved_version(version, {str(ref): registry.version(ref) for ref in fusion_members(version)})


def _fusion_layer(block: Fuse, registry: Registry) -> Version:
    """The newest fusion layer that was trained over these members.

    Raises:
        CompositionError: There is none, or there are several for different tasks.
    """
    versions = {ref: registry.version(ref) for ref in refs(block)}
    numbered = replace(block, lambda ref: Ref.parse(versions[ref].ref))
    assert isinstance(numbered, Fuse)
    digests = {version.digest for version in versions.values()}
    layers = [
        version
        for version in registry.versions(method=FUSE, sort="created").items
        # One statement for each layer; most are over other members.
        if {parent.digest for parent in registry.parents(version.ref)} == digests
        and _is_over(version, numbered, registry)
    ]
    if not layers:
        members = [str(member) for member in numbered.members]
        raise CompositionError(
            f"no fusion layer was trained over {','.join(members)}", advice=Advice(Action.FUSE, {"members": members})
        )
    if len({version.task["name"] for version in layers}) > 1:
        names = ", ".join(f"{version.ref} ({version.task['name']})" for version in layers)
        raise CompositionError(f"{numbered} was trained for several tasks: {names}; name one of them")
    return layers[0]


def _is_over(version: Version, block: Fuse, registry: Registry) -> bool:
    """Whether a fusion layer is over these members, whatever they were called where it was trained."""
    if version.kind is not VersionKind.FUSION or len(version.parents) != len(block.members):
        return False
    try:
        return bool(with_local_members(version, registry).config["composition"] == block.to_dict())
    except (CompositionError, VersionNotFoundError, DamagedRowError):
        return False
