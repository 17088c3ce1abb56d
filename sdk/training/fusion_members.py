"""Check which versions can be fused, since the adapters library fuses some into wrong numbers without an error.

The library's fusion reads the output of each member's up-projection. Everything around it (the members' input, the
residual and the layer normalisation) comes from the last member alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pointsman.registry import Ref, Registry, Version
from pointsman.registry.errors import SettingsError

from ..core.same_base import check_same_base
from ..methods import METHODS, configure

_SHARED: Final = (
    "mh_adapter",
    "output_adapter",
    "cross_adapter",
    "leave_out",
    "original_ln_before",
    "original_ln_after",
    "residual_before_ln",
)
"""The fields of a bottleneck for its places and its surroundings, equal in all members."""


def find_members(registry: Registry, refs: Sequence[str | Ref]) -> tuple[Version, ...]:
    """Resolve refs to the members of a fusion, in order.

    Raises:
        NotFoundError: A version is unknown.
        SettingsError: There are fewer than two members, one comes twice, one cannot be fused, or they are not at the
            same places.
        BaseMismatchError: They were trained on several bases.
    """
    members = tuple(registry.version(ref) for ref in refs)
    names = [member.ref for member in members]
    if len(names) < 2:
        raise SettingsError(f"a fusion takes at least two members; found {', '.join(names) or 'none'}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(f"{twice[0]} is a member twice; attention between equal members learns nothing")
    first = members[0]
    for member in members:
        reason = _reason(member.config)
        if reason is not None:
            fitting = [name for name in METHODS if _reason(configure(name)) is None]
            raise SettingsError(
                f"{member.ref} ({member.method}) {reason}; methods that can be fused: {', '.join(fitting)}"
            )
        check_same_base(first, member, "fused")
        differing = [field for field in _SHARED if _field(member.config, field) != _field(first.config, field)]
        if differing:
            raise SettingsError(
                f"{first.ref} ({first.method}) and {member.ref} ({member.method}) cannot be fused: they differ in "
                f"{', '.join(differing)}; fuse adapters at the same places"
            )
    return members


def _reason(config: Mapping[str, Any]) -> str | None:
    """Why a configuration cannot be a member's; None if it can."""
    if "reduction_factor" not in config or "architecture" in config:  # a field of bottlenecks alone
        return "is not a bottleneck adapter, and AdapterFusion reads the outputs of bottlenecks"
    if config["is_parallel"]:
        return "is parallel to its block, and the adapters library would count the block's input twice"
    if config["use_gating"]:
        return "has a gate, which the adapters library ignores in a fusion"
    if config["ln_after"]:
        return "has its own layer normalisation, which the adapters library ignores in a fusion"
    if config["inv_adapter"]:
        return "also changes the embeddings, which only one of several members could do"
    return None


def _field(config: Mapping[str, Any], field: str) -> Any:
    return sorted(set(config[field])) if field == "leave_out" else config[field]
