"""Every method's default configuration, frozen as JSON, so that reading it does not import the adapters library.

``defaults.json`` beside this module is written from the library: ``python -m pointsman.sdk.methods.defaults`` prints
it. A test compares the two.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from .catalogue import METHODS, find_method, part_names
from .configure import full_config


def default_config(name: str) -> dict[str, Any]:
    """The configuration of a method in which no field is set, as JSON.

    Args:
        name: A method, or a union of several.

    Raises:
        MethodNotFoundError: No such method.
        SettingsError: A union that is not possible.

    Examples:
        >>> default_config("seq_bn")["reduction_factor"]
        16
    """
    method = find_method(name).name
    stored = json.loads(_stored())
    if method in METHODS:
        return dict(stored[method])
    return {"architecture": "union", "configs": [stored[part] for part in part_names(method)]}


def flat_config(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a configuration by the name that sets them: ``r``, or ``lora.r`` in a part of a union.

    Args:
        name: The method that the configuration is of.
        config: Its configuration. A union whose parts are not those of the method is returned unchanged.

    Raises:
        MethodNotFoundError: No such method.

    Examples:
        >>> flat_config("mam", default_config("mam"))["prefix_tuning.prefix_length"]
        30
    """
    names, parts = part_names(name), config.get("configs")
    if config.get("architecture") != "union" or not isinstance(parts, Sequence) or len(parts) != len(names):
        return dict(config)
    return {
        f"{part}.{field}": value for part, fields in zip(names, parts, strict=True) for field, value in fields.items()
    }


def library_defaults() -> dict[str, dict[str, Any]]:
    """Every method's default configuration by method, read from the adapters library, whose import takes seconds."""
    from adapters import ADAPTER_CONFIG_MAP  # noqa: PLC0415 - the reason for this module

    return {name: full_config(ADAPTER_CONFIG_MAP[name]) for name in METHODS}


@cache
def _stored() -> str:
    return files(__package__).joinpath("defaults.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    print(json.dumps(library_defaults(), indent=2))
