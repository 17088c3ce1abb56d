"""An adapter's weights and their files: out of a model, and strictly back into one.

The files are adapters' own (adapter.safetensors, adapter_config.json, model_head.safetensors, head_config.json), and
``model.load_adapter(directory, use_safetensors=True)`` opens what we export, though it makes NoReFT of a DiReFT.
Reading and writing are ours, since the library's loader only logs missing and unexpected tensors and falls back to
pickles, and its writer fails where a module is reachable under several names (prefix tuning).

Inside a model an adapter sits under a *slot* name of ours, never under its own: slot names cannot collide with each
other's prefixes, with attributes of torch modules, or with another version of the same adapter.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import safetensors.torch
import torch
from adapters import AdapterConfig
from adapters.configuration.model_adapters_config import build_full_config
from adapters.loading import AdapterLoader
from adapters.methods.reft import ReftLayer
from safetensors import SafetensorError

from pointsman.registry.errors import SettingsError, WeightsError

from .memory import is_out_of_memory
from .methods import OF_REFT, full_config, parts_of
from .support import check_supported

ADAPTER_WEIGHTS: Final = "adapter.safetensors"
ADAPTER_CONFIG: Final = "adapter_config.json"
HEAD_WEIGHTS: Final = "model_head.safetensors"
HEAD_CONFIG: Final = "head_config.json"

ANY_SLOT: Final = "*"
"""What the slot is called in names of tensors that are in none."""

_CONTAINERS: Final = (
    "adapters|invertible_adapters|prefix_tunings|prefix_gates|loras|refts|prompt_tunings|shared_parameters"
)
_OWNER: Final = re.compile(rf"(?<=\.)({_CONTAINERS})\.([^.]+)\.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """An adapter or a head as its files have it."""

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]


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
        _know(model, slot, config)
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


def _know(model: Any, slot: str, config: Mapping[str, Any]) -> None:
    """Let the model know an adapter's configuration as it is.

    The library keeps configurations by a hash that is the same for several, and has lost what makes DiReFT of NoReFT.
    """
    known = model.adapters_config
    known.config_map.pop(known.adapters[slot], None)
    known.config_map[slot] = AdapterConfig._get_config_class(config).from_dict(_rebuilt(config))
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


def extract(model: Any, slot: str, *, name: str, base: str) -> dict[str, bytes]:
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
            {rename(key, name): value for key, value in _unique(adapter_tensors(model, slot)).items()}
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


def insert(model: Any, slot: str, files: Mapping[str, bytes]) -> None:
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


def read_adapter(files: Mapping[str, bytes]) -> Stored:
    """What the files of a version hold of its adapter, its tensors by their names in a model, in the slot ``ANY_SLOT``.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    return Stored(
        config=read_config(files, ADAPTER_CONFIG)["config"],
        tensors={rename(key, ANY_SLOT): tensor for key, tensor in read_tensors(files, ADAPTER_WEIGHTS).items()},
    )


def read_head(files: Mapping[str, bytes]) -> Stored:
    """What the files of a version hold of its head, its tensors by their names in it.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    config = read_config(files, HEAD_CONFIG)
    prefix = f"heads.{config['name']}."
    tensors = {key.removeprefix(prefix): tensor for key, tensor in read_tensors(files, HEAD_WEIGHTS).items()}
    return Stored(config=config["config"], tensors=tensors)


def fill_slot(model: Any, slot: str, adapter: Stored) -> None:
    """Add an adapter with these weights to a model, under ``slot``. On any error the model is as it was.

    Raises:
        WeightsError: The configuration cannot be built on the base, or the tensors are not exactly those of it.
    """
    try:
        add_slot(model, slot, adapter.config)
        model.adapter_to(slot, device=model.device)
        tensors = {rename(key, slot): tensor for key, tensor in adapter.tensors.items()}
        _copy(tensors, adapter_tensors(model, slot), ADAPTER_WEIGHTS)
    except BaseException as error:
        remove_slot(model, slot)
        if isinstance(error, SettingsError | TypeError | AttributeError):
            raise WeightsError(f"{ADAPTER_CONFIG} does not fit this base: {error}") from error
        raise


def rename(key: str, slot: str) -> str:
    """The name that a tensor of an adapter has in a model where the adapter is in ``slot``."""
    return _OWNER.sub(rf"\1.{slot}.", key)


def check_tensors(
    source: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], file: str, *, given: Collection[str] = ()
) -> None:
    """Refuse tensors that are not those asked for, in name, type and shape.

    Args:
        source: What a file holds.
        target: What its configuration asks for.
        file: What to call it in the error.
        given: Names in ``target`` that need not be in ``source``: other names of what is there.

    Raises:
        WeightsError: They differ.
    """
    unexpected = sorted(source.keys() - target.keys())
    missing = sorted(target.keys() - source.keys() - set(given))
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


def same_weights(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> bool:
    """Whether the files of two versions hold the same tensors, bit for bit, whatever the adapters are called."""
    stored, others = ({name for name in files if name.endswith(".safetensors")} for files in (one, other))
    if stored != others:
        return False
    for file in stored:
        mine, its = (
            [
                (key.split(".", 2)[-1] if file == HEAD_WEIGHTS else _OWNER.sub(r"\1.", key), tensor)
                for key, tensor in read_tensors(files, file).items()
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


def tensor_file(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Tensors as the content of a safetensors file."""
    copies = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}
    return safetensors.torch.save(copies, metadata={"format": "pt"})


def read_tensors(files: Mapping[str, bytes], name: str) -> dict[str, torch.Tensor]:
    """The tensors of the safetensors file ``name`` among a version's files.

    Raises:
        WeightsError: It is missing or damaged.
    """
    if name not in files:
        raise WeightsError(f"the version lacks {name}; it has: {', '.join(sorted(files))}")
    try:
        return safetensors.torch.load(files[name])
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{name} is no safetensors file: {error}") from error


def read_config(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """What the configuration file ``name`` among a version's files says, under ``config`` and beside it.

    Raises:
        WeightsError: It is missing or damaged.
    """
    if name not in files:
        raise WeightsError(f"the version lacks {name}; it has: {', '.join(sorted(files))}")
    try:
        config = json.loads(files[name])
    except ValueError as error:
        raise WeightsError(f"{name} is not JSON: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict) or "name" not in config:
        raise WeightsError(f"{name} lacks 'config' or 'name'")
    return config


def config_file(config: Mapping[str, Any]) -> bytes:
    """A configuration as the content of a file."""
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _rebuilt(config: Mapping[str, Any]) -> Any:
    # adapters reads a plain dict by its "architecture"; a deep copy, since it keeps and changes what it is given.
    return json.loads(json.dumps(config))
