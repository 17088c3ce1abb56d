"""Which adapters may work together in one forward pass: refuses what adapters 1.3 would compute wrongly.

``Parallel`` and ``BatchSplit`` need no rules: each row takes a route of its own through them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pointsman.registry import Ref, Version
from pointsman.registry.errors import CompositionError

from ...core.composition import Average, Composition, Stack
from ...methods import ONLY_TRAINING, is_vera, parts_of
from ...methods.fusion import is_fusion

_FREE: Final = ONLY_TRAINING | {"reduction_factor", "r", "alpha", "scaling", "non_linearity"}
"""Fields that may differ between members of an average: they change neither the places of adapters nor how their
outputs are added."""


def check_route(route: Composition, versions: Mapping[str, Version]) -> None:
    """Refuse a route that would not be computed as it is defined.

    Args:
        route: A composition without ``Parallel`` and ``BatchSplit``.
        versions: The versions of its refs.

    Raises:
        CompositionError: Methods that do not work together; the message says which and why.
    """
    for stack in _parts(route, Stack):
        _check_stack(stack, _versions_of(stack, versions))
    for average in _parts(route, Average):
        assert isinstance(average, Average)
        _check_average(average, [_versions_of(member, versions) for member in average.members])


def _check_stack(stack: Composition, versions: Sequence[Version]) -> None:
    for index, version in enumerate(versions):
        if reason := _why_not(version) or _why_not_stacked(version.config, first=index == 0):
            raise CompositionError(f"{version.ref} ({version.method}) cannot be in {stack}: {reason}")
    shapes_differ = [_lora_shapes_differ(version.config) for version in versions if _has_lora(version.config)]
    if len(shapes_differ) > 1 and any(shapes_differ):
        raise CompositionError(
            f"{stack} stacks LoRAs at layers whose inputs and outputs differ in size (intermediate_lora, output_lora): "
            "only those of the attention can be stacked"
        )


def _check_average(average: Composition, members: Sequence[Sequence[Version]]) -> None:
    """Of stacks, the first member of one is averaged with the first of the others, and so on."""
    for member in members:
        for version in member:
            if reason := _why_not(version) or _why_not_averaged(version):
                raise CompositionError(f"{version.ref} ({version.method}) cannot be in {average}: {reason}")
        if len(member) != len(members[0]):
            raise CompositionError(f"{average} averages stacks of {len(members[0])} and of {len(member)} adapters")
        for first, version in zip(members[0], member, strict=True):
            one, other = (
                {key: value for key, value in config.items() if key not in _FREE}
                for config in (first.config, version.config)
            )
            if one != other:
                fields = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
                raise CompositionError(
                    f"{average} cannot average {first.ref} ({first.method}) and {version.ref} ({version.method}): "
                    f"they differ in {', '.join(fields[:5])}, so that they are not at the same places"
                )


def _why_not(version: Version) -> str | None:
    """Why a method cannot work with others in one forward pass at all; None if it can."""
    if is_fusion(version):
        return None
    for part in parts_of(version.config):
        kind = part.get("architecture")
        if kind not in (None, "lora"):
            return f"{kind} works alone only; run it in parallel or in a mixed batch"
        if part.get("use_dora"):
            return "DoRA rescales the base's weights, which only one adapter can do"
        if is_vera(part):
            return "VeRA works alone only; run it in parallel or in a mixed batch"
        if part.get("use_gating"):
            return "adapters with a gate work alone only"
    return None


def _why_not_stacked(config: Mapping[str, Any], *, first: bool) -> str | None:
    for part in parts_of(config):
        if part.get("is_parallel"):
            return "an adapter beside the feed-forward block does not get the outputs of the others in a stack"
        if part.get("inv_adapter") and not first:
            return "the invertible adapter at the embeddings only works in the first member of a stack"
    return None


def _why_not_averaged(version: Version) -> str | None:
    if is_fusion(version):
        return "a fusion layer cannot be averaged"
    parts = parts_of(version.config)
    if len(parts) > 1:
        return "a union of methods cannot be averaged"
    return "invertible adapters cannot be averaged" if parts[0].get("inv_adapter") else None


def _has_lora(config: Mapping[str, Any]) -> bool:
    loras = [part for part in parts_of(config) if part.get("architecture") == "lora"]
    return any(part.get("composition_mode", "add") == "add" for part in loras)


def _lora_shapes_differ(config: Mapping[str, Any]) -> bool:
    return any(part.get("intermediate_lora") or part.get("output_lora") for part in parts_of(config))


def _versions_of(composition: Composition, versions: Mapping[str, Version]) -> list[Version]:
    """The version of every ref, in the order they are written, twice if it is written twice."""
    return [versions[str(ref)] for ref in _parts(composition, Ref)]


def _parts(composition: Composition, kind: type[Composition]) -> Iterator[Composition]:
    """All parts of one kind in a composition, itself included."""
    if isinstance(composition, kind):
        yield composition
    if not isinstance(composition, Ref):
        for member in composition.members:
            yield from _parts(member, kind)
