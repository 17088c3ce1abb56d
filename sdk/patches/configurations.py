"""A model knows the configuration of every adapter and fusion layer exactly.

adapters 1.3.0 keeps configurations by a hash that drops falsy fields and is cut to 16 digits, so that several
configurations share one entry, and what is added last decides for all. It loses ``subtract_projection``, which
distinguishes DiReFT from NoReFT, and makes the next VeRA under a deleted adapter's name in that adapter's shapes. For a
fusion layer, a dropout of 0 means "the base's".

The functions keep configurations under the slot's own name. They are applied when an adapter or a fusion layer is added
to the model or removed from it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from adapters import AdapterConfig, AdapterFusionConfig
from adapters.methods.reft import ReftLayer

from ..methods.configure import OF_REFT, parts_of


def copy_of(config: Mapping[str, Any]) -> Any:
    """A plain copy of a configuration for adapters, which keeps and changes the dict that it gets."""
    return json.loads(json.dumps(config))


def keep_adapter(model: Any, slot: str, config: Mapping[str, Any]) -> None:
    """Record an adapter's exact configuration in the model.

    Args:
        model: An adapters model, to which the adapter has just been added.
        slot: The adapter's name in it.
        config: A method's full configuration.
    """
    known = model.adapters_config
    known.config_map.pop(known.adapters[slot], None)
    known.config_map[slot] = AdapterConfig._get_config_class(config).from_dict(copy_of(config))
    known.adapters[slot] = slot
    for part in parts_of(config):
        for layer in model.modules() if OF_REFT in part else ():
            if isinstance(layer, ReftLayer) and slot in layer.refts:
                for unit in layer.refts[slot].units:
                    unit.subtract_projection = part[OF_REFT]


def forget_adapter(model: Any, slot: str) -> None:
    """Remove what the model still knows of an adapter that was deleted."""
    model.adapters_config.config_map.pop(slot, None)
    model.adapters_config._vera_init_shapes.pop(slot, None)


def keep_fusion(model: Any, slot: str, members: Sequence[str], config: Mapping[str, Any]) -> AdapterFusionConfig:
    """Record a fusion layer's exact configuration in the model.

    Args:
        model: An adapters model.
        slot: The fusion's name in it.
        members: The members' names in it, in order.
        config: The fusion layer's full configuration.

    Returns:
        The configuration as adapters has it.
    """
    known = model.adapters_config
    built = AdapterFusionConfig.from_dict(dict(config))
    known.fusions[slot], known.fusion_config_map[slot] = slot, built
    known.fusion_name_map[slot] = list(members)
    return built


def forget_fusion(model: Any, slot: str) -> None:
    """Remove what the model knows of a fusion layer."""
    known = model.adapters_config
    for names in (known.fusions, known.fusion_config_map, known.fusion_name_map):
        names.pop(slot, None)
