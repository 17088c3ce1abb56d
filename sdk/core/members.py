"""The members of fusions and compositions, under the refs that they have in this registry.

A configuration names its members by the refs that they had where the version was made. Where it came in with a bundle,
its members may have other numbers, and those refs may be other versions. What a version was made from is kept by digest
in its lineage, so that is what decides. A version's digest covers those of its members: none can be its own member.
"""

from dataclasses import replace as changed

from pointsman.registry import Ref, Registry, Version, VersionKind
from pointsman.registry.errors import Action, Advice, CompositionError, VersionNotFoundError

from .composition import Block, Composition, from_dict, replace


def with_local_members(version: Version, registry: Registry) -> Version:
    """A version whose configuration names its members by their refs in this registry.

    Args:
        version: Any version; one that is no fusion or composition is returned as it is.
        registry: Where it is.

    Raises:
        VersionNotFoundError: A member is not in this registry.
        CompositionError: The configuration is no composition, names a version that it was not made from, or one that is
            itself a composition or, in a fusion, no adapter.
    """
    if version.kind is VersionKind.ADAPTER:
        return version
    block = _block(version)
    made_from = dict(zip(version.parents, registry.parents(version.ref), strict=True))

    def local(ref: Ref) -> Composition:
        parent = made_from.get(str(ref))
        if parent is None:
            raise CompositionError(f"{version.ref} names {ref} as a member, which it was not made from")
        if not parent.present:
            raise VersionNotFoundError(
                f"{version.ref} needs {ref} (sha256 {parent.digest[:12]}…), which is not in this registry: import it, "
                "or train it again",
                advice=Advice(Action.SHOW_VERSION, {"ref": version.ref}),
            )
        kind = registry.version(parent.ref).kind
        if kind is VersionKind.COMPOSITION or (version.kind is VersionKind.FUSION and kind is VersionKind.FUSION):
            raise CompositionError(f"{version.ref} names {ref} as a member, which is a {kind.value} itself")
        return Ref.parse(parent.ref)

    members = replace(block, local)
    assert isinstance(members, Block)  # a block's members are replaced, and the block stays
    return changed(version, config={**version.config, "composition": members.to_dict()})


def _block(version: Version) -> Block:
    try:
        block = from_dict(version.config.get("composition"))
    except CompositionError as error:
        raise CompositionError(f"the configuration of {version.ref} is no composition: {error}") from error
    if version.kind is VersionKind.FUSION and block.name != "fuse":
        raise CompositionError(f"the configuration of the fusion {version.ref} has no 'fuse': found '{block.name}'")
    return block
