"""Adapters and heads inside a model: added, filled, read and removed under slot names.

Inside a model an adapter has a slot name (``slot000000``), never its own name: no slot name is a prefix of another, an
attribute of a torch module, or the name of another version of the same adapter. Files are written by pointsman, since
the writer of adapters 1.3.0 fails if a module is reachable under several names (prefix tuning).
"""

from collections.abc import Mapping
from typing import Any

import torch
from adapters.configuration.model_adapters_config import build_full_config
from adapters.loading import AdapterLoader

from pointsman.registry.errors import SettingsError, WeightsError

from ..core.memory import is_out_of_memory
from ..formats.native import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    HEAD_CONFIG,
    HEAD_WEIGHTS,
    ModuleState,
    check_tensors,
    config_file,
    read_adapter,
    read_head,
    rename_key,
    tensor_file,
)
from ..methods.configure import full_config
from ..methods.support import check_supported
from ..patches.configurations import copy_of, forget_adapter, keep_adapter


def slot_name(index: int) -> str:
    """The name of a slot, of fixed width, so that none is a prefix of another: ``slot000007``."""
    return f"slot{index:06d}"


def add_slot(model: Any, slot: str, config: Mapping[str, Any]) -> None:
    """Add an adapter with fresh weights. On any error the model is left unchanged.

    Args:
        model: An adapters model.
        slot: The adapter's name inside the model.
        config: A method's full configuration.

    Raises:
        SettingsError: The configuration cannot be built on this base.
    """
    check_supported(model.config, config)
    try:
        model.add_adapter(slot, config=copy_of(config))
        keep_adapter(model, slot, config)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RuntimeError,
        ImportError,  # some fields need optional packages
    ) as error:
        if is_out_of_memory(error):
            raise
        remove_slot(model, slot)
        raise SettingsError(
            f"this configuration cannot be built on a {model.config.model_type} base: {type(error).__name__}: {error}"
        ) from error


def add_head(model: Any, slot: str, *, labels: tuple[str, ...]) -> None:
    """Add a fresh prediction head: a dense layer with tanh, dropout, and one output per label (no labels: one)."""
    id2label = dict(enumerate(labels)) or None
    model.add_classification_head(slot, num_labels=len(labels) or 1, layers=2, id2label=id2label, use_pooler=False)
    model.active_head = None


def remove_slot(model: Any, slot: str) -> None:
    """Remove an adapter and its head from a model."""
    model.delete_adapter(slot)
    forget_adapter(model, slot)
    if slot in model.heads:
        model.delete_head(slot)


def extract_adapter(model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
    """The files of the adapter and head in ``slot``, as bytes by file name.

    Args:
        model: An adapters model.
        slot: Their name inside the model.
        name: Their name in the files.
        base: The base's name in the files; information only.
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
    """The files of the head in ``slot``, as ``extract_adapter`` gives them."""
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
    """Add the adapter and head of ``files`` to a model, under ``slot``. On any error the model is left unchanged.

    Raises:
        WeightsError: A file is missing or damaged, or its tensors are not exactly those of its
            configuration.
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


def fill_slot(model: Any, slot: str, adapter: ModuleState) -> None:
    """Add an adapter with these weights to a model, under ``slot``. On any error the model is left unchanged.

    Raises:
        WeightsError: The configuration cannot be built on the base, or the tensors are not exactly
            those of the configuration.
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
    filled = {_memory(target[key]) for key in source.keys() & target.keys()}
    check_tensors(source, target, file, optional={key for key, tensor in target.items() if _memory(tensor) in filled})
    with torch.no_grad():
        for key, tensor in source.items():
            target[key].copy_(tensor)


def _unique(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor under one name, the shortest of its names."""
    names: dict[tuple[int, torch.Size], str] = {}
    for key in sorted(tensors, key=lambda key: (len(key), key)):
        names.setdefault(_memory(tensors[key]), key)
    return {key: tensors[key] for key in sorted(names.values())}


def _memory(tensor: torch.Tensor) -> tuple[int, torch.Size]:
    """What identifies a tensor that has several names."""
    return tensor.data_ptr(), tensor.shape
