"""Which adapters may work together in one forward pass: what adapters 1.3 would compute wrongly is refused.

``Parallel`` and ``BatchSplit`` are no concern of this: every row goes its own way there, whatever the methods are.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pointsman.registry import Ref, Version
from pointsman.registry.errors import CompositionError

from ...core.composition import Average, Composition, Stack
from ...methods import ONLY_TRAINING, is_vera, parts_of
from ...methods.fusion import is_fusion

_FREE: Final = ONLY_TRAINING | {"reduction_factor", "r", "alpha", "scaling", "non_linearity"}
"""Fields that may differ between members of an average: the others say where adapters are and how they are joined."""


def check_route(way: Composition, versions: Mapping[str, Version]) -> None:
    """Refuse what cannot be computed as it is defined.

    Args:
        way: A composition without ``Parallel`` and ``BatchSplit``.
        versions: Of its refs.

    Raises:
        CompositionError: Methods that do not go together; the message says which and why.
    """
    for stack in _inside(way, Stack):
        _check_stack(stack, _leaves(stack, versions))
    for average in _inside(way, Average):
        assert isinstance(average, Average)
        _check_average(average, [_leaves(member, versions) for member in average.members])


def _check_stack(stack: Composition, versions: Sequence[Version]) -> None:
    for place, version in enumerate(versions):
        if reason := _why_not(version) or _why_not_stacked(version.config, first=place == 0):
            raise CompositionError(f"{version.ref} ({version.method}) cannot be in {stack}: {reason}")
    places = [_lora_shapes_differ(version.config) for version in versions if _has_lora(version.config)]
    if len(places) > 1 and any(places):
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
            mine, its = (
                {key: value for key, value in one.config.items() if key not in _FREE} for one in (first, version)
            )
            if mine != its:
                fields = sorted(key for key in mine.keys() | its.keys() if mine.get(key) != its.get(key))
                raise CompositionError(
                    f"{average} cannot average {first.ref} ({first.method}) and {version.ref} ({version.method}): "
                    f"they differ in {', '.join(fields[:5])}, so that they are not at the same places"
                )


def _why_not(version: Version) -> str | None:
    """Why a method cannot be joined with others in one forward pass at all."""
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
            return "an adapter beside the feed-forward block does not see what the others in a stack give"
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
    return any(part.get("architecture") == "lora" and part["composition_mode"] == "add" for part in parts_of(config))


def _lora_shapes_differ(config: Mapping[str, Any]) -> bool:
    return any(part.get("intermediate_lora") or part.get("output_lora") for part in parts_of(config))


def _leaves(way: Composition, versions: Mapping[str, Version]) -> list[Version]:
    """The version of every ref, in the order they are written, also where it is there twice."""
    return [versions[str(ref)] for ref in _inside(way, Ref)]


def _inside(way: Composition, kind: type[Composition]) -> Iterator[Composition]:
    if isinstance(way, kind):
        yield way
    if not isinstance(way, Ref):
        for member in way.members:
            yield from _inside(member, kind)
