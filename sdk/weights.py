"""An adapter's weights and their files: out of a model, and strictly back into one.

The files are adapters' own (adapter.safetensors, adapter_config.json, model_head.safetensors, head_config.json), and
``model.load_adapter(directory, use_safetensors=True)`` opens what we export. Reading and writing are ours, since the
library's loader only logs missing and unexpected tensors and falls back to pickles, and its writer fails where a module
is reachable under several names (prefix tuning).

Inside a model an adapter sits under a *slot* name of ours, never under its own: slot names cannot collide with each
other's prefixes, with attributes of torch modules, or with another version of the same adapter.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import safetensors.torch
import torch
from adapters.configuration.model_adapters_config import build_full_config
from adapters.loading import AdapterLoader
from safetensors import SafetensorError

from pointsman.registry.errors import SettingsError, WeightsError

from .memory import is_out_of_memory
from .support import check_supported

ADAPTER_WEIGHTS: Final = "adapter.safetensors"
ADAPTER_CONFIG: Final = "adapter_config.json"
HEAD_WEIGHTS: Final = "model_head.safetensors"
HEAD_CONFIG: Final = "head_config.json"

_CONTAINERS: Final = (
    "adapters|invertible_adapters|prefix_tunings|prefix_gates|loras|refts|prompt_tunings|shared_parameters"
)
_OWNER: Final = re.compile(rf"(?<=\.)({_CONTAINERS})\.([^.]+)\.")


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
        model.add_adapter(slot, config=_rebuilt(config))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, AssertionError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        remove_slot(model, slot)
        raise SettingsError(
            f"this configuration cannot be built on a {model.config.model_type} base: {type(error).__name__}: {error}"
        ) from error


def add_head(model: Any, slot: str, *, labels: tuple[str, ...]) -> None:
    """Add a fresh prediction head: a dense layer with tanh, dropout, and one output a label (one in all if none)."""
    id2label = dict(enumerate(labels)) or None
    model.add_classification_head(slot, num_labels=len(labels) or 1, layers=2, id2label=id2label, use_pooler=False)
    model.active_head = None


def remove_slot(model: Any, slot: str) -> None:
    """Take an adapter and its head out of a model."""
    model.delete_adapter(slot)
    # The library would make the next VeRA of that name in the shapes of this one.
    model.adapters_config._vera_init_shapes.pop(slot, None)
    if slot in model.heads:
        model.delete_head(slot)


def extract(model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
    """The files of the adapter in ``slot``, as content by file name.

    Args:
        model: An adapters model.
        slot: Where the adapter and its head are.
        name: What to call them in the files.
        base: What to call the base in them; information only.
    """
    adapter_config = build_full_config(
        model.adapters_config.get(slot),
        model.config,
        model_name=base,
        name=name,
        model_class=type(model).__name__,
    )
    head_config = build_full_config(
        model.heads[slot].config, model.config, model_name=base, name=name, model_class=type(model).__name__
    )
    return {
        ADAPTER_WEIGHTS: _saved(
            {_OWNER.sub(rf"\1.{name}.", key): value for key, value in _unique(adapter_tensors(model, slot)).items()}
        ),
        ADAPTER_CONFIG: _json(adapter_config),
        HEAD_WEIGHTS: _saved(
            {key.replace(f"heads.{slot}.", f"heads.{name}.", 1): v for key, v in head_tensors(model, slot).items()}
        ),
        HEAD_CONFIG: _json(head_config),
    }


def insert(model: Any, slot: str, files: Mapping[str, bytes]) -> None:
    """Add the adapter and head of ``files`` to a model, under ``slot``. On any error the model is as it was.

    Raises:
        WeightsError: A file is missing or damaged, or its tensors are not exactly those of its configuration.
    """
    missing = {ADAPTER_WEIGHTS, ADAPTER_CONFIG, HEAD_WEIGHTS, HEAD_CONFIG} - files.keys()
    if missing:
        raise WeightsError(f"the version lacks {', '.join(sorted(missing))}; it has: {', '.join(sorted(files))}")
    adapter_config, head_config = _config(files, ADAPTER_CONFIG), _config(files, HEAD_CONFIG)
    adapter = {_OWNER.sub(rf"\1.{slot}.", key): value for key, value in _loaded(files, ADAPTER_WEIGHTS).items()}
    prefix = f"heads.{head_config['name']}."
    head = {
        f"heads.{slot}.{key.removeprefix(prefix)}" if key.startswith(prefix) else key: value
        for key, value in _loaded(files, HEAD_WEIGHTS).items()
    }
    try:
        add_slot(model, slot, adapter_config["config"])
        model.add_prediction_head_from_config(slot, dict(head_config["config"]), set_active=False)
        model.heads[slot].to(model.device)
        model.adapter_to(slot, device=model.device)
        _copy(adapter, adapter_tensors(model, slot), ADAPTER_WEIGHTS)
        _copy(head, head_tensors(model, slot), HEAD_WEIGHTS)
    except BaseException as error:
        remove_slot(model, slot)
        if isinstance(error, SettingsError | TypeError | AttributeError):
            raise WeightsError(f"{ADAPTER_CONFIG} or {HEAD_CONFIG} does not fit this base: {error}") from error
        raise


def same_weights(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> bool:
    """Whether the files of two versions hold the same tensors, bit for bit, whatever the adapters are called."""
    for file in (ADAPTER_WEIGHTS, HEAD_WEIGHTS):
        mine, its = (
            [
                (_OWNER.sub(r"\1.", key) if file == ADAPTER_WEIGHTS else key.split(".", 2)[-1], tensor)
                for key, tensor in _loaded(files, file).items()
            ]
            for files in (one, other)
        )
        mine.sort(key=lambda item: item[0])
        its.sort(key=lambda item: item[0])
        if [key for key, _ in mine] != [key for key, _ in its]:
            return False
        if not all(torch.equal(tensor, same) for (_, tensor), (_, same) in zip(mine, its, strict=True)):
            return False
    return True


def adapter_tensors(model: Any, slot: str) -> dict[str, torch.Tensor]:
    """All tensors of the adapter in ``slot``, by their names in the model; some may be one tensor under two names."""
    model.apply_to_adapter_layers(lambda _, layer: layer.pre_save_adapters())
    tensors, _ = AdapterLoader(model).save_to_state_dict(slot)
    return dict(tensors)


def head_tensors(model: Any, slot: str) -> dict[str, torch.Tensor]:
    """All tensors of the head in ``slot``, by their names in the model."""
    return {f"heads.{slot}.{key}": value for key, value in model.heads[slot].state_dict().items()}


def _copy(source: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], file: str) -> None:
    unexpected = sorted(source.keys() - target.keys())
    given = {_place(target[key]) for key in source.keys() & target.keys()}
    missing = sorted(key for key, tensor in target.items() if key not in source and _place(tensor) not in given)
    if unexpected or missing:
        raise WeightsError(
            f"{file} does not hold the tensors that its configuration asks for: {len(missing)} missing "
            f"({', '.join(missing[:2])}), {len(unexpected)} unexpected ({', '.join(unexpected[:2])})"
        )
    for key, tensor in source.items():
        if tensor.shape != target[key].shape or tensor.dtype != target[key].dtype:
            raise WeightsError(
                f"{file}: tensor {key} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"and its configuration asks for {target[key].dtype} {tuple(target[key].shape)}"
            )
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


def _saved(tensors: Mapping[str, torch.Tensor]) -> bytes:
    copies = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}
    return safetensors.torch.save(copies, metadata={"format": "pt"})


def _loaded(files: Mapping[str, bytes], name: str) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(files[name])
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{name} is no safetensors file: {error}") from error


def _config(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        config = json.loads(files[name])
    except ValueError as error:
        raise WeightsError(f"{name} is not JSON: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict) or "name" not in config:
        raise WeightsError(f"{name} lacks 'config' or 'name'")
    return config


def _json(config: Mapping[str, Any]) -> bytes:
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _rebuilt(config: Mapping[str, Any]) -> Any:
    # adapters reads a plain dict by its "architecture"; a deep copy, since it keeps and changes what it is given.
    return json.loads(json.dumps(config))
