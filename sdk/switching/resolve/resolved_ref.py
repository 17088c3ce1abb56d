"""What refs and compositions mean: versions of this base, and for a named composition what it is made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pointsman.registry import Base, Ref, Registry, Version, VersionKind
from pointsman.registry.errors import BaseMismatchError, CompositionError

from ...core.composition import Composition, Fuse, Stack, from_dict, refs, replace
from ...methods.fusion import FUSE, fusion_members
from ...tasks import Task
from .routes import all_routes, head_refs
from .rules import check_route

Leaf = Ref | Fuse
"""What is looked up: a ref, or the fusion layer over some."""


@dataclass(frozen=True, kw_only=True)
class ResolvedRef:
    """What a ref or a composition means."""

    composition: Composition
    """Its refs are ``name@number``, none of them a named composition's."""
    versions: Mapping[str, Version]
    """Of its refs, and of the members of fusion layers among them."""
    tasks: Mapping[Composition, Task]
    """Of the heads that answer, by way through it: all ways that rows take, those of the first row first."""

    def max_length(self, way: Composition) -> int:
        """Tokens that a row on a way through it is cut to."""
        return max(self.versions[str(ref)].max_length for ref, _ in head_refs(way))

    def needed(self, way: Composition) -> list[Version]:
        """The versions that a way through it takes, members before the fusion layers over them."""
        found: dict[str, Version] = {}
        for ref in refs(way):
            version = self.versions[str(ref)]
            for member in fusion_members(version):
                found[str(member)] = self.versions[str(member)]
            found[version.ref] = version
        return list(found.values())


def resolve(composition: Composition, registry: Registry, base: Base) -> ResolvedRef:
    """Look up what a composition means now.

    Raises:
        NotFoundError: There is no such version.
        BaseMismatchError: One was trained on another base.
        CompositionError: As ``settle``.
    """
    return resolve_with(composition, lambda leaf: look_up(leaf, registry, base))


def look_up(leaf: Leaf, registry: Registry, base: Base) -> ResolvedRef:
    """What a ref means now, or a fusion of refs.

    Raises:
        NotFoundError: There is no such version.
        BaseMismatchError: It was trained on another base.
        CompositionError: No fusion layer was trained over these members, or several for different tasks.
    """
    version = registry.version(leaf) if isinstance(leaf, Ref) else _trained(leaf, registry)
    if version.base.fingerprint != base.fingerprint:
        raise BaseMismatchError(
            f"{version.ref} was trained on the base '{version.base.name}' ({version.base.fingerprint[:12]}), "
            f"not on '{base.name}' ({base.fingerprint[:12]}): an adapter runs on its own base only"
        )
    if version.kind is VersionKind.COMPOSITION:
        return resolve(from_dict(version.config["composition"]), registry, base)
    versions = {str(ref): registry.version(ref) for ref in fusion_members(version)} | {version.ref: version}
    ref = Ref(version.name, version.number)
    return ResolvedRef(composition=ref, versions=versions, tasks={ref: Task.from_dict(version.task)})


def leaves(composition: Composition) -> Iterator[Leaf]:
    """What is looked up in a composition."""
    if isinstance(composition, Ref | Fuse):
        yield composition
    else:
        for member in composition.members:
            yield from leaves(member)


def resolve_with(composition: Composition, mean: Callable[[Leaf], ResolvedRef]) -> ResolvedRef:
    """What a composition means where ``mean`` says what the refs and fusions in it do.

    Raises:
        CompositionError: A named composition stands where what it is made of may not, adapters do not go together, or
            answers are to be averaged that are not of one kind.
    """
    if isinstance(composition, Ref | Fuse):
        return mean(composition)
    versions: dict[str, Version] = {}

    def settled(part: Composition) -> Composition:
        match part:
            case Ref() | Fuse():
                found = mean(part)
                versions.update(found.versions)
                return found.composition
            case Stack(members=members):  # the one block that holds fusions
                return Stack(*(settled(member) for member in members))
        return replace(part, settled)

    whole = settled(composition)
    return ResolvedRef(
        composition=whole, versions=versions, tasks={way: _task_of(way, versions) for way in all_routes(whole)}
    )


def _task_of(way: Composition, versions: Mapping[str, Version]) -> Task:
    """The task of the heads that answer on a way.

    Raises:
        CompositionError: Adapters that do not go together, or answers to be averaged that are not of one kind.
    """
    check_route(way, versions)
    first, *others = (Task.from_dict(versions[str(ref)].task) for ref, _ in head_refs(way))
    for other in others:
        if (other.labels, len(other.text)) != (first.labels, len(first.text)):
            raise CompositionError(
                f"{way} cannot average the answers of its heads: '{first.name}' {_kind(first)}, "
                f"and '{other.name}' {_kind(other)}"
            )
    return first


def _trained(block: Fuse, registry: Registry) -> Version:
    """The newest fusion layer that was trained over these members.

    Raises:
        CompositionError: There is none, or they are for several tasks.
    """
    asked = replace(block, lambda ref: Ref.parse(registry.version(ref).ref))
    assert isinstance(asked, Fuse)
    found = [
        version
        for version in registry.versions(method=FUSE, sort="created").items
        if version.config["composition"] == asked.to_dict()
    ]
    if not found:
        members = ",".join(str(member) for member in asked.members)
        raise CompositionError(
            f"no fusion layer was trained over {members}: 'registry fuse NAME --of {members} --task …'"
        )
    if len({version.task["name"] for version in found}) > 1:
        layers = ", ".join(f"{version.ref} ({version.task['name']})" for version in found)
        raise CompositionError(f"{asked} is trained for several tasks, so name the one that is meant: {layers}")
    return found[0]


def _kind(task: Task) -> str:
    labels = "a score" if task.is_regression else ", ".join(task.labels)
    return f"answers {labels} to {len(task.text)} text{'s' if task.is_pair else ''}"
