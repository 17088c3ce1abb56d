"""The files of a version: adapters' own names and layout, read strictly.

``adapter.safetensors``, ``adapter_config.json``, ``model_head.safetensors`` and ``head_config.json``.
``model.load_adapter(directory, use_safetensors=True)`` opens them, though it makes NoReFT of a DiReFT.
Reading is ours, since the library's loader only logs missing and unexpected tensors, and falls back to pickles.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError

from pointsman.registry.errors import WeightsError

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


def read_adapter(files: Mapping[str, bytes]) -> Stored:
    """What the files of a version hold of its adapter, its tensors by their names in a model, in the slot ``ANY_SLOT``.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    return Stored(
        config=read_config(files, ADAPTER_CONFIG)["config"],
        tensors={rename_key(key, ANY_SLOT): tensor for key, tensor in read_tensors(files, ADAPTER_WEIGHTS).items()},
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


def rename_key(key: str, slot: str) -> str:
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
