"""The files of a version: adapters' own names and layout, read strictly.

``adapter.safetensors``, ``adapter_config.json``, ``model_head.safetensors`` and ``head_config.json``.
``model.load_adapter(directory, use_safetensors=True)`` opens them, though it turns a DiReFT into a NoReFT. Pointsman
reads them itself, since the loader of adapters 1.3.0 only logs missing and unexpected tensors, and falls back to
pickles.
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
"""The slot in names of tensors outside a model."""


_CONTAINERS: Final = (
    "adapters|invertible_adapters|prefix_tunings|prefix_gates|loras|refts|prompt_tunings|shared_parameters"
)


_OWNER: Final = re.compile(rf"(?<=\.)({_CONTAINERS})\.([^.]+)\.")


@dataclass(frozen=True, kw_only=True, eq=False)
class ModuleState:
    """The in-memory form of all formats: the configuration and tensors of an adapter, a head or a fusion layer.

    Examples:
        >>> adapter = read_adapter(files)
        >>> adapter.config["reduction_factor"]
        16
    """

    config: Mapping[str, Any]
    """The full configuration."""
    tensors: Mapping[str, torch.Tensor]
    """By their names in a model: an adapter's in the slot ``ANY_SLOT``, a head's without its prefix, a fusion layer's
    by their places in the base."""


def read_adapter(files: Mapping[str, bytes]) -> ModuleState:
    """The adapter in the files of a version.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    return ModuleState(
        config=read_config(files, ADAPTER_CONFIG)["config"],
        tensors={rename_key(key, ANY_SLOT): tensor for key, tensor in read_tensors(files, ADAPTER_WEIGHTS).items()},
    )


def read_head(files: Mapping[str, bytes]) -> ModuleState:
    """The head in the files of a version.

    Raises:
        WeightsError: A file is missing or damaged.
    """
    config = read_config(files, HEAD_CONFIG)
    prefix = f"heads.{config['name']}."
    tensors = {key.removeprefix(prefix): tensor for key, tensor in read_tensors(files, HEAD_WEIGHTS).items()}
    return ModuleState(config=config["config"], tensors=tensors)


def rename_key(key: str, slot: str) -> str:
    """The name of an adapter's tensor in a model that has the adapter in ``slot``."""
    return _OWNER.sub(rf"\1.{slot}.", key)


def check_tensors(
    source: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    file: str,
    *,
    optional: Collection[str] = (),
) -> None:
    """Refuse tensors that differ from the expected ones in name, type or shape.

    Args:
        source: The tensors of a file.
        expected: The tensors of its configuration.
        file: The file's name in the error.
        optional: Names in ``expected`` that may be absent in ``source``: other names of tensors that it has.

    Raises:
        WeightsError: They differ.
    """
    unexpected = sorted(source.keys() - expected.keys())
    missing = sorted(expected.keys() - source.keys() - set(optional))
    if unexpected or missing:
        raise WeightsError(
            f"{file} does not hold the tensors of its configuration: {len(missing)} missing "
            f"({', '.join(missing[:2])}), {len(unexpected)} unexpected ({', '.join(unexpected[:2])})"
        )
    for key, tensor in source.items():
        if tensor.shape != expected[key].shape or tensor.dtype != expected[key].dtype:
            raise WeightsError(
                f"{file}: tensor {key} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"and its configuration needs {expected[key].dtype} {tuple(expected[key].shape)}"
            )


def same_weights(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> bool:
    """Whether the files of two versions hold the same tensors, bit for bit, under any names of adapter and head."""
    names, other_names = ({name for name in files if name.endswith(".safetensors")} for files in (one, other))
    if names != other_names:
        return False
    return all(_same_tensors(_nameless_tensors(one, name), _nameless_tensors(other, name)) for name in names)


def tensor_file(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a safetensors file with these tensors."""
    copies = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in tensors.items()}
    return safetensors.torch.save(copies, metadata={"format": "pt"})


def read_tensors(files: Mapping[str, bytes], name: str) -> dict[str, torch.Tensor]:
    """The tensors of the safetensors file ``name`` among a version's files.

    Raises:
        WeightsError: The file is missing or damaged.
    """
    if name not in files:
        raise WeightsError(f"the version lacks {name}; it has: {', '.join(sorted(files))}")
    try:
        return safetensors.torch.load(files[name])
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(f"{name} is not a safetensors file: {error}") from error


def read_config(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """The content of the configuration file ``name`` among a version's files, with the keys ``config`` and ``name``.

    Raises:
        WeightsError: The file is missing or damaged.
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
    """The bytes of a configuration file."""
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()


def _nameless_tensors(files: Mapping[str, bytes], file: str) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a file, sorted by their names without that of the adapter or head."""
    tensors = read_tensors(files, file).items()
    if file == HEAD_WEIGHTS:
        return sorted(((key.split(".", 2)[-1], tensor) for key, tensor in tensors), key=lambda item: item[0])
    return sorted(((_OWNER.sub(r"\1.", key), tensor) for key, tensor in tensors), key=lambda item: item[0])


def _same_tensors(one: list[tuple[str, torch.Tensor]], other: list[tuple[str, torch.Tensor]]) -> bool:
    if [key for key, _ in one] != [key for key, _ in other]:
        return False
    return all(torch.equal(tensor, same) for (_, tensor), (_, same) in zip(one, other, strict=True))
