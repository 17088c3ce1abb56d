"""What refs and compositions mean: versions of this base, and for a named composition what it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass

from pointsman.registry import Base, Ref, Registry, Version
from pointsman.registry.errors import BaseMismatchError, CompositionError

from ..composition import Composition, Fuse, Stack, from_dict, refs, replace
from ..fusion.config import FUSE, fused
from ..tasks import Task
from .rules import check_way
from .ways import head_refs


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a ref or a composition means."""

    composition: Composition
    """Its refs are ``name@number``, none of them a named composition's."""
    versions: Mapping[str, Version]
    """Of its refs."""

    def check(self, way: Composition) -> Task:
        """The task of the heads that answer on a way through it.

        Raises:
            CompositionError: Adapters that do not go together, or answers to be averaged that are not of one kind.
        """
        check_way(way, self.versions)
        first, *others = (Task.from_dict(self.versions[str(ref)].task) for ref, _ in head_refs(way))
        for other in others:
            if (other.labels, len(other.text)) != (first.labels, len(first.text)):
                raise CompositionError(
                    f"{way} cannot average the answers of its heads: '{first.name}' {_kind(first)}, "
                    f"and '{other.name}' {_kind(other)}"
                )
        return first

    def max_length(self, way: Composition) -> int:
        """Tokens that a row on a way through it is cut to."""
        return max(self.versions[str(ref)].max_length for ref, _ in head_refs(way))

    def needed(self, way: Composition) -> list[Version]:
        """The versions that a way through it takes, members before the fusion layers over them."""
        found: dict[str, Version] = {}
        for ref in refs(way):
            version = self.versions[str(ref)]
            for member in fused(version):
                found[str(member)] = self.versions[str(member)]
            found[version.ref] = version
        return list(found.values())


def resolve(composition: Composition, registry: Registry, base: Base) -> Meaning:
    """Look up what a composition means now.

    Raises:
        NotFoundError: There is no such version.
        BaseMismatchError: One was trained on another base.
        CompositionError: A named composition stands where what it is made of may not.
    """
    versions: dict[str, Version] = {}

    def pinned(ref: Ref) -> Composition:
        version = registry.version(ref)
        if version.base.fingerprint != base.fingerprint:
            raise BaseMismatchError(
                f"{version.ref} was trained on the base '{version.base.name}' ({version.base.fingerprint[:12]}), "
                f"not on '{base.name}' ({base.fingerprint[:12]}): open a Switcher on that base"
            )
        if set(version.config) == {"composition"}:
            return settled(from_dict(version.config["composition"]))
        for member in fused(version):
            pinned(member)
        versions[version.ref] = version
        return Ref(version.name, version.number)

    def settled(part: Composition) -> Composition:
        match part:
            case Fuse():
                return pinned(_trained(part, registry))
            case Stack(members=members):
                return Stack(*(settled(member) for member in members))
        return replace(part, pinned)

    return Meaning(composition=settled(composition), versions=versions)


def _trained(block: Fuse, registry: Registry) -> Ref:
    """The newest fusion layer that was trained over these members.

    Raises:
        CompositionError: There is none.
    """
    asked = replace(block, lambda ref: Ref.parse(registry.version(ref).ref))
    assert isinstance(asked, Fuse)
    for version in registry.versions(method=FUSE, sort="created").items:
        if version.config["composition"] == asked.to_dict():
            return Ref.parse(version.ref)
    members = ",".join(str(member) for member in asked.members)
    raise CompositionError(f"no fusion layer was trained over {members}: 'registry fuse NAME --of {members} --task …'")


def _kind(task: Task) -> str:
    labels = "a score" if task.is_regression else ", ".join(task.labels)
    return f"answers {labels} to {len(task.text)} text{'s' if task.is_pair else ''}"
