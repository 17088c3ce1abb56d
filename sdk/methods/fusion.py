"""What a version that fuses others is made of, as its configuration says it: the members, and the fusion layer.

AdapterFusion (Pfeiffer et al. 2021, arXiv:2005.00247): where ``z_n`` is what the up-projection of member ``n`` gives
for a token, ``h`` what the members take, and ``Q``, ``K``, ``V`` are learned for each place in the base, its output is
``sum_n softmax_n(hQ · z_n K) z_n V``. The members stay as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pointsman.registry import Ref, Version, VersionKind
from pointsman.registry.errors import SettingsError, unknown

from ..core.arguments import as_float, short_repr

FUSE: Final = "fuse"
"""The method of a version that fuses others."""

DEFAULTS: Final[Mapping[str, Any]] = {
    "key": True,
    "query": True,
    "value": True,
    "query_before_ln": False,
    "regularization": True,
    "residual_before": False,
    "temperature": False,
    "value_before_softmax": True,
    "value_initialized": True,
    "dropout_prob": None,
}
"""The paper's fusion layer, in the fields of the adapters library, which calls it ``dynamic``."""

_REFUSED: Final = {
    "temperature": "the temperature falls with every forward pass and is stored nowhere, so no score could be repeated",
    "residual_before": "the adapters library would add the residual to the keys as well, which no formula says",
}


def fuse_config(members: Sequence[str], overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The full configuration of a fusion as JSON.

    Args:
        members: Their refs, ``name@number``, in order.
        overrides: Fields of the fusion layer to set otherwise.

    Raises:
        SettingsError: No such field, or a value that cannot work.
    """
    return {"composition": {FUSE: list(members)}, "fusion": configure_fusion(overrides)}


def member_refs(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The members' refs in a fusion's configuration, in order."""
    return tuple(config["composition"][FUSE])


def is_fusion(version: Version) -> bool:
    """Whether a version is a fusion layer over others."""
    return version.kind is VersionKind.FUSION


def fusion_members(version: Version) -> tuple[Ref, ...]:
    """The members of a fusion layer, in order; of any other version none."""
    return tuple(Ref.parse(ref) for ref in member_refs(version.config)) if is_fusion(version) else ()


def configure_fusion(
    overrides: Mapping[str, Any] | None = None, *, start: Mapping[str, Any] = DEFAULTS
) -> dict[str, Any]:
    """The configuration of a fusion layer, with some fields set otherwise.

    Raises:
        SettingsError: No such field, or a value that cannot work.
    """
    if not isinstance(overrides, Mapping | None):
        raise SettingsError(f'overrides are values by field, as {{"value": False}}; found {short_repr(overrides)}')
    config = dict(start)
    for field, value in (overrides or {}).items():
        if field not in DEFAULTS:
            raise unknown(SettingsError, "field of the fusion layer", str(field), DEFAULTS)
        if field == "dropout_prob":
            if value is not None and not 0 <= as_float(value) < 1:
                raise SettingsError(
                    f"dropout_prob has to be a number from 0 to below 1, or null for the base's; found {value!r}"
                )
        elif not isinstance(value, bool):
            raise SettingsError(f"{field} of the fusion layer has to be true or false; found {value!r}")
        if field in _REFUSED and value:
            raise SettingsError(f"{field} has to be false: {_REFUSED[field]}")
        config[field] = value
    if not any(config[field] for field in ("key", "query", "value")):
        raise SettingsError("key, query and value are all false: nothing of the fusion layer would be left to learn")
    return config
