"""Adapters and heads inside a model: added, filled, read and removed under slot names.

Inside a model an adapter has a *slot* name of ours, never its own: slot names cannot collide with each other's
prefixes, with attributes of torch modules, or with another version of the same adapter. Writing is ours as well, since
the library's writer fails where a module is reachable under several names (prefix tuning).
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from adapters import AdapterConfig
from adapters.configuration.model_adapters_config import build_full_config
from adapters.loading import AdapterLoader
from adapters.methods.reft import ReftLayer

from pointsman.registry.errors import SettingsError, WeightsError

from ..core.memory import is_out_of_memory
from ..formats.native import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    HEAD_CONFIG,
    HEAD_WEIGHTS,
    Stored,
    check_tensors,
    config_file,
    read_adapter,
    read_head,
    rename_key,
    tensor_file,
)
from ..methods.configure import OF_REFT, full_config, parts_of
from ..methods.support import check_supported


def slot_name(index: int) -> str:
    """The name of a slot: of fixed width, so that none is a prefix of another."""
    return f"slot{index:06d}"


def add_slot(model: Any, slot: str, config: Mapping[str, Any]) -> None:
    """Add an adapter with fresh weights. On any error the model is as it was.

    Args:
        model: An adapters model.
        slot: The name it gets inside the model.
        config: A method's full configuration.

    Raises:
        SettingsError: The configuration cannot be built on this model.
    """
    check_supported(model.config, config)
    try:
        model.add_adapter(slot, config=_copy_of(config))
        keep_configuration(model, slot, config)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RuntimeError,
        ImportError,  # some fields need packages that others do not
    ) as error:
        if is_out_of_memory(error):
            raise
        remove_slot(model, slot)
        raise SettingsError(
            f"this configuration cannot be built on a {model.config.model_type} base: {type(error).__name__}: {error}"
        ) from error


def keep_configuration(model: Any, slot: str, config: Mapping[str, Any]) -> None:
    """Let the model know an adapter's configuration as it is.

    The library keeps configurations by a hash that is the same for several, and has lost what makes DiReFT of NoReFT.
    """
    known = model.adapters_config
    known.config_map.pop(known.adapters[slot], None)
    known.config_map[slot] = AdapterConfig._get_config_class(config).from_dict(_copy_of(config))
    known.adapters[slot] = slot
    for part in parts_of(config):
        for layer in model.modules() if OF_REFT in part else ():
            if isinstance(layer, ReftLayer) and slot in layer.refts:
                for unit in layer.refts[slot].units:
                    unit.subtract_projection = part[OF_REFT]


def add_head(model: Any, slot: str, *, labels: tuple[str, ...]) -> None:
    """Add a fresh prediction head: a dense layer with tanh, dropout, and one output a label (one in all if none)."""
    id2label = dict(enumerate(labels)) or None
    model.add_classification_head(slot, num_labels=len(labels) or 1, layers=2, id2label=id2label, use_pooler=False)
    model.active_head = None


def remove_slot(model: Any, slot: str) -> None:
    """Take an adapter and its head out of a model."""
    model.delete_adapter(slot)
    model.adapters_config.config_map.pop(slot, None)
    # The library would make the next VeRA of that name in the shapes of this one.
    model.adapters_config._vera_init_shapes.pop(slot, None)
    if slot in model.heads:
        model.delete_head(slot)


def extract_adapter(model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
    """The files of the adapter in ``slot``, as content by file name.

    Args:
        model: An adapters model.
        slot: Where the adapter and its head are.
        name: What to call them in the files.
        base: What to call the base in them; information only.
    """
    built = model.adapters_config.get(slot)
    adapter_config = build_full_config(
        built, model.config, model_name=base, name=name, model_class=type(model).__name__
    )
    return {
        ADAPTER_WEIGHTS: tensor_file(
            {rename_key(key, name): value for key, value in _unique(adapter_tensors(model, slot)).items()}
        ),
        ADAPTER_CONFIG: config_file({**adapter_config, "config": full_config(built)}),
        **extract_head(model, slot, name=name, base=base),
    }


def extract_head(model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
    """The files of the head in ``slot``, as ``extract`` has them."""
    config = build_full_config(
        model.heads[slot].config, model.config, model_name=base, name=name, model_class=type(model).__name__
    )
    return {
        HEAD_WEIGHTS: tensor_file(
            {key.replace(f"heads.{slot}.", f"heads.{name}.", 1): v for key, v in head_tensors(model, slot).items()}
        ),
        HEAD_CONFIG: config_file(config),
    }


def insert_adapter(model: Any, slot: str, files: Mapping[str, bytes]) -> None:
    """Add the adapter and head of ``files`` to a model, under ``slot``. On any error the model is as it was.

    Raises:
        WeightsError: A file is missing or damaged, or its tensors are not exactly those of its configuration.
    """
    adapter, head = read_adapter(files), read_head(files)
    try:
        fill_slot(model, slot, adapter)
        model.add_prediction_head_from_config(slot, dict(head.config), set_active=False)
        model.heads[slot].to(model.device)
        _copy({f"heads.{slot}.{key}": v for key, v in head.tensors.items()}, head_tensors(model, slot), HEAD_WEIGHTS)
    except BaseException as error:
        remove_slot(model, slot)
        if isinstance(error, TypeError | AttributeError):
            raise WeightsError(f"{HEAD_CONFIG} does not fit this base: {error}") from error
        raise


def fill_slot(model: Any, slot: str, adapter: Stored) -> None:
    """Add an adapter with these weights to a model, under ``slot``. On any error the model is as it was.

    Raises:
        WeightsError: The configuration cannot be built on the base, or the tensors are not exactly those of it.
    """
    try:
        add_slot(model, slot, adapter.config)
        model.adapter_to(slot, device=model.device)
        tensors = {rename_key(key, slot): tensor for key, tensor in adapter.tensors.items()}
        _copy(tensors, adapter_tensors(model, slot), ADAPTER_WEIGHTS)
    except BaseException as error:
        remove_slot(model, slot)
        if isinstance(error, SettingsError | TypeError | AttributeError):
            raise WeightsError(f"{ADAPTER_CONFIG} does not fit this base: {error}") from error
        raise


def adapter_tensors(model: Any, slot: str) -> dict[str, torch.Tensor]:
    """All tensors of the adapter in ``slot``, by their names in the model; some may be one tensor under two names."""
    model.apply_to_adapter_layers(lambda _, layer: layer.pre_save_adapters())
    tensors, _ = AdapterLoader(model).save_to_state_dict(slot)
    return dict(tensors)


def head_tensors(model: Any, slot: str) -> dict[str, torch.Tensor]:
    """All tensors of the head in ``slot``, by their names in the model."""
    return {f"heads.{slot}.{key}": value for key, value in model.heads[slot].state_dict().items()}


def _copy(source: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], file: str) -> None:
    places = {_place(target[key]) for key in source.keys() & target.keys()}
    check_tensors(source, target, file, given={key for key, tensor in target.items() if _place(tensor) in places})
    with torch.no_grad():
        for key, tensor in source.items():
            target[key].copy_(tensor)


def _unique(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One name a tensor, the shortest of its names."""
    names: dict[tuple[int, torch.Size], str] = {}
    for key in sorted(tensors, key=lambda key: (len(key), key)):
        names.setdefault(_place(tensors[key]), key)
    return {key: tensors[key] for key in sorted(names.values())}


def _place(tensor: torch.Tensor) -> tuple[int, torch.Size]:
    return tensor.data_ptr(), tensor.shape


def _copy_of(config: Mapping[str, Any]) -> Any:
    # adapters reads a plain dict by its "architecture"; a deep copy, since it keeps and changes what it is given.
    return json.loads(json.dumps(config))
