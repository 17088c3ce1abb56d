"""The configuration of a fusion: its members, and its fusion layer.

AdapterFusion (Pfeiffer et al. 2021, arXiv:2005.00247): with ``z_n`` the output of member ``n``'s up-projection for a
token, ``h`` the input of the members, and ``Q``, ``K``, ``V`` learned for each place in the base, the output is
``sum_n softmax_n(hQ · z_n K) z_n V``. The members are not changed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pointsman.registry import Ref, Version, VersionKind
from pointsman.registry.errors import SettingsError, unknown

from ..core.arguments import as_float, short_repr

FUSE: Final = "fuse"
"""The method of a version that is a fusion."""

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
"""The fusion layer of the paper, in the fields of the adapters library, which calls it ``dynamic``."""

_REFUSED: Final = {
    "temperature": "the temperature falls with every forward pass and is not stored, so no score could be repeated",
    "residual_before": "the adapters library would also add the residual to the keys, unlike the formula",
}


def fuse_config(members: Sequence[str], overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make the full configuration of a fusion, as JSON.

    Args:
        members: Their refs, ``name@number``, in order.
        overrides: Values by field of the fusion layer.

    Raises:
        SettingsError: A field is unknown, or a value cannot work.
    """
    return {"composition": {FUSE: list(members)}, "fusion": configure_fusion(overrides)}


def member_refs(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The members' refs in a fusion's configuration, in order."""
    return tuple(config["composition"][FUSE])


def is_fusion(version: Version) -> bool:
    """Whether a version is a fusion layer over other versions."""
    return version.kind is VersionKind.FUSION


def fusion_members(version: Version) -> tuple[Ref, ...]:
    """The members of a fusion, in order; none for any other version."""
    return tuple(Ref.parse(ref) for ref in member_refs(version.config)) if is_fusion(version) else ()


def configure_fusion(
    overrides: Mapping[str, Any] | None = None, *, start: Mapping[str, Any] = DEFAULTS
) -> dict[str, Any]:
    """Make the configuration of a fusion layer.

    Args:
        overrides: Values by field.
        start: A stored configuration to set them in; fields that it lacks get their defaults.

    Raises:
        SettingsError: A field is unknown, or a value cannot work.
    """
    if not isinstance(overrides, Mapping | None):
        raise SettingsError(f'overrides must be values by field, as {{"value": False}}; found {short_repr(overrides)}')
    config = {**DEFAULTS, **start}
    for field, value in (overrides or {}).items():
        if field not in DEFAULTS:
            raise unknown(SettingsError, "field of the fusion layer", str(field), DEFAULTS)
        if field == "dropout_prob":
            if value is not None and not 0 <= as_float(value) < 1:
                raise SettingsError(
                    f"dropout_prob must be a number from 0 to below 1, or null for the base's; found {value!r}"
                )
        elif not isinstance(value, bool):
            raise SettingsError(f"{field} of the fusion layer must be true or false; found {value!r}")
        if field in _REFUSED and value:
            raise SettingsError(f"{field} must be false: {_REFUSED[field]}")
        config[field] = value
    if not any(config[field] for field in ("key", "query", "value")):
        raise SettingsError("key, query and value are all false: the fusion layer would have nothing to learn")
    return config
