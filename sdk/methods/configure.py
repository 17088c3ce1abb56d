"""The full configurations of adapter methods, as JSON."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from pointsman.registry.errors import SettingsError, unknown

from .catalogue import FORMER_NAMES, METHODS, find_method, part_names
from .fields import union_parts

OF_REFT: Final = "subtract_projection"
"""The field that distinguishes DiReFT from NoReFT; the library's classes do not declare it."""


ONLY_TRAINING: Final = frozenset({"dropout", "stochastic_depth", "init_weights", "init_weights_seed"})
"""Fields of a configuration that do not change what a trained adapter computes."""


def configure(
    name: str, overrides: Mapping[str, Any] | None = None, *, start: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Make the full configuration of a method, as JSON.

    Args:
        name: A method, or a union of several.
        overrides: Values by field: ``r`` is set in every part of a union that has it, ``lora.r`` in the part ``lora``
            only, where it takes precedence over ``r``.
        start: A stored configuration of the method to set them in; by default the method's own. Fields that it lacks
            get the method's own values, and unknown fields are kept.

    Raises:
        MethodNotFoundError: The method is unknown.
        SettingsError: The method has no such field or part, a value has the wrong type, or parts exclude each other.

    Examples:
        >>> configure("lora", {"r": 16})["r"]
        16
    """
    from adapters import ADAPTER_CONFIG_MAP  # noqa: PLC0415 - takes seconds, and listing methods needs none of it

    method = find_method(name)
    names = part_names(method.name)
    if method.name in METHODS:
        config = full_config(ADAPTER_CONFIG_MAP[method.name])
    else:
        config = {"architecture": "union", "configs": [configure(part) for part in names]}
    if start is not None:
        config = _completed(json.loads(json.dumps(start)), config)
    parts: Sequence[dict[str, Any]] = config["configs"] if config.get("architecture") == "union" else [config]
    named = dict(zip(names, parts, strict=True))
    # A value for one part takes precedence over a value for all.
    for key, value in sorted((overrides or {}).items(), key=lambda item: "." in item[0]):
        part, dot, field = key.rpartition(".")
        part = FORMER_NAMES.get(part, part)
        if dot and part not in named:
            raise unknown(SettingsError, f"part of {method.name}", part, named)
        _set(method.name if not dot else part, [named[part]] if dot else list(named.values()), field, value)
    if method.name not in METHODS:
        _check_union(named)
    return config


def full_config(config: Any) -> dict[str, Any]:
    """Write a configuration of the adapters library as JSON, with every field.

    The library's own ``to_dict`` drops the field that distinguishes DiReFT from NoReFT, so that a DiReFT that it has
    saved comes back as a NoReFT.
    """
    if config.architecture == "union":
        return {"architecture": "union", "configs": [full_config(part) for part in config.configs]}
    fields: dict[str, Any] = json.loads(json.dumps(config.to_dict()))
    return {**fields, OF_REFT: config.subtract_projection} if config.architecture == "reft" else fields


def parts_of(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The parts of a configuration: those of a union, or itself.

    Raises:
        SettingsError: A union has no parts, or something else in their place.
    """
    return union_parts(config) if config.get("architecture") == "union" else [config]


def is_vera(part: Mapping[str, Any]) -> bool:
    """Whether a LoRA's matrices are random, and shared by all layers."""
    return part.get("vera_d") is not None or part.get("vera_b") is not None


def _completed(stored: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the fields that a stored configuration lacks, since an earlier release of adapters did not have them."""
    if stored.get("architecture") == "union":
        pairs = zip(stored["configs"], parts_of(own), strict=True)
        return {**own, **stored, "configs": [_completed(part, default) for part, default in pairs]}
    return {**own, **stored}


def _check_union(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse parts that exclude each other: those that the library refuses, and those that it should refuse."""
    from adapters import AdapterConfig, ConfigUnion  # noqa: PLC0415

    for (one, a), (other, b) in combinations(parts.items(), 2):
        if _shares(a) and _shares(b):
            raise SettingsError(
                f"{one} and {other} cannot be in one union: each has parameters that all layers share, "
                "and the adapters library holds one set of them"
            )
        classes = [AdapterConfig._get_config_class(part).from_dict(dict(part)) for part in (a, b)]
        try:
            ConfigUnion.validate(classes)
        except ValueError as error:
            advice = "set mh_adapter and output_adapter so that no module has both" if "mh_adapter" in a else "use one"
            raise SettingsError(
                f"{one} and {other} cannot be in one union, both change the same modules: {advice}"
            ) from error


def _shares(part: Mapping[str, Any]) -> bool:
    """Whether all layers share parameters of a part."""
    phm = part.get("phm_layer") and (part.get("shared_phm_rule") or part.get("shared_W_phm"))
    return bool(phm) or is_vera(part)


def _set(method: str, parts: Sequence[dict[str, Any]], field: str, value: Any) -> None:
    """Set a field in every part that has it."""
    having = [part for part in parts if field in part]
    if not having or field == "architecture":
        fields = sorted({key for part in parts for key in part} - {"architecture"})
        raise unknown(SettingsError, f"field of {method}", field, fields)
    for part in having:
        _check_type(method, field, part[field], value)
        part[field] = value


def _check_type(method: str, field: str, now: Any, value: Any) -> None:
    """Refuse a value of another type than the field's default; a field whose default is None accepts every type."""
    kinds: tuple[type, ...]
    if field == "residual_before_ln":  # or "post_add"
        kinds = (bool, str)
    elif isinstance(now, bool):
        kinds = (bool,)
    elif field == "reduction_factor":
        kinds = (int, float, dict)
    elif field == "layers":  # a list of layers, or "all"
        kinds = (list, str)
    elif isinstance(now, int | float):
        # scaling may also be a word: "learned".
        kinds = (int, float, str) if field == "scaling" else (int, float)
    elif now is None:
        return
    else:
        kinds = (type(now),)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise SettingsError(f"{method}: {field} must be {wanted}, as in {now!r}; found {value!r}")
    if field in _POSITIVE and isinstance(value, int | float) and value <= 0:
        raise SettingsError(f"{method}: {field} must be greater than 0; found {value!r}")


_POSITIVE: Final = frozenset({"reduction_factor", "r", "prefix_length", "prompt_length", "bottleneck_size", "phm_dim"})
