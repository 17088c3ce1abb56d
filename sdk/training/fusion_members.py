"""Which versions can be fused: what the adapters library would fuse into wrong numbers is refused at once.

The library's fusion takes of each member the output of its up-projection, and everything around it (what the members
take, where residual and layer normalisation come in) from the last one alone.
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
"""The fields of a bottleneck that say where it is and what is around it."""


def find_members(registry: Registry, refs: Sequence[str | Ref]) -> tuple[Version, ...]:
    """The versions that refs mean now, in order, if they can be fused.

    Raises:
        NotFoundError: There is no such version.
        SettingsError: There are fewer than two, one comes twice, one is no bottleneck or one that cannot be fused, or
            they do not sit at the same places.
        BaseMismatchError: They were trained on several bases.
    """
    members = tuple(registry.version(ref) for ref in refs)
    names = [member.ref for member in members]
    if len(names) < 2:
        raise SettingsError(f"a fusion takes two members or more; found {', '.join(names) or 'none'}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(f"{twice[0]} is a member twice: attention between equals says nothing; name it once")
    first = members[0]
    for member in members:
        reason = _reason(member.config)
        if reason is not None:
            fitting = [name for name in METHODS if _reason(configure(name)) is None]
            raise SettingsError(f"{member.ref} ({member.method}) {reason}; what can be fused: {', '.join(fitting)}")
        check_same_base(first, member, "fused")
        differing = [field for field in _SHARED if _field(member.config, field) != _field(first.config, field)]
        if differing:
            raise SettingsError(
                f"{first.ref} ({first.method}) and {member.ref} ({member.method}) cannot be fused, they do not have "
                f"the same {', '.join(differing)}: fuse adapters that sit at the same places"
            )
    return members


def _reason(config: Mapping[str, Any]) -> str | None:
    """Why a configuration cannot be that of a member, or None if it can."""
    if "reduction_factor" not in config or "architecture" in config:  # of bottlenecks, and of no other method's
        return "is no bottleneck adapter, and AdapterFusion works on the outputs of bottlenecks"
    if config["is_parallel"]:
        return "works beside its block, and the adapters library would count the block's input twice"
    if config["use_gating"]:
        return "has a gate, which the adapters library leaves out of a fusion"
    if config["ln_after"]:
        return "has a layer normalisation of its own, which the adapters library leaves out of a fusion"
    if config["inv_adapter"]:
        return "changes the embeddings as well, which only one of several members could do"
    return None


def _field(config: Mapping[str, Any], field: str) -> Any:
    return sorted(set(config[field])) if field == "leave_out" else config[field]
