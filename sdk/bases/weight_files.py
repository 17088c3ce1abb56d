"""The files of a base's weights: safetensors only, inside the directory, as large as the configuration says."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from .architecture import architecture
from .plain_files import MEGABYTE, Refuse, plain_file, read_object

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"

_MOST_SHARDS: Final = 1_000

_SIZES: Final = ("hidden_size", "intermediate_size", "num_hidden_layers")

_FLOATS: Final = ("F64", "F32", "F16", "BF16")


def check_weights(directory: Path, model_type: str, fields: Mapping[str, Any], refuse: Refuse) -> None:
    """Check the files of the weights, without reading a weight.

    Args:
        directory: The base's directory.
        model_type: The architecture.
        fields: The fields of its configuration, checked.
        refuse: Makes the error.

    Raises:
        UnusableBaseError: There are none in safetensors, an index leads out of the directory or to another format, a
            header is damaged, or the configuration describes a larger encoder.
    """
    names = [SINGLE] if plain_file(directory, SINGLE, None, refuse) else shards(directory, refuse)
    numbers = 0
    for name in names:
        path = plain_file(directory, name, None, refuse)
        if path is None:
            raise refuse(f"its weights lack '{name}', which {INDEX} names")
        numbers += _numbers(path, refuse)
    _check_size(model_type, fields, numbers, refuse)


def shards(directory: Path, refuse: Refuse) -> list[str]:
    """The names of the files that an index has, in order.

    Raises:
        UnusableBaseError: There is no index, or it names something else than safetensors files beside it.
    """
    index = read_object(directory, INDEX, 64 * MEGABYTE, refuse)
    if index is None:
        raise refuse(
            "it has no weights in safetensors, the only format that is read: save it with save_pretrained() of a "
            f"current transformers (neither '{SINGLE}' nor '{INDEX}' was found)"
        )
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise refuse(f"the field 'weight_map' of {INDEX} must be an object that names the file of each weight")
    found: dict[str, None] = {}
    for name in places.values():
        if not isinstance(name, str) or not name.endswith(".safetensors") or {*name} & {*"/\\\0"} or name[0] == ".":
            raise refuse(
                f"the field 'weight_map' of {INDEX} names {str(name)[:80]!a}; a file of weights has a plain name that "
                "ends in '.safetensors', and is beside it"
            )
        found[name] = None
    if len(found) > _MOST_SHARDS:
        raise refuse(f"{INDEX} names {len(found):,} files; at most {_MOST_SHARDS:,} are read")
    return sorted(found)


def _numbers(path: Path, refuse: Refuse) -> int:
    """The number of all elements in a file of safetensors."""
    try:
        with safe_open(path, framework="pt") as file:
            saved_by = (file.metadata() or {}).get("format", "pt")
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            types = {key: part.get_dtype() for key, part in slices.items()}
            sizes = [math.prod(part.get_shape()) for part in slices.values()]
    except (SafetensorError, OSError, ValueError) as error:
        raise refuse(f"'{path.name}' is damaged: {error}") from error
    if saved_by != "pt":
        raise refuse(f"'{path.name}' was saved by another framework than PyTorch: {saved_by[:40]!a}")
    for key, kind in types.items():
        if kind not in _FLOATS and key.endswith((".weight", ".bias")):
            raise refuse(f"'{path.name}' has the weight '{key[:120]}' as {kind}; known: {', '.join(_FLOATS)}")
    return sum(sizes)


def _check_size(model_type: str, fields: Mapping[str, Any], numbers: int, refuse: Refuse) -> None:
    """Refuse a configuration with matrices that cannot be in the files: the library would make them, of any size."""
    values = architecture(model_type, fields)
    size, inner, depth = ("dim", "hidden_dim", "n_layers") if model_type == "distilbert" else _SIZES
    hidden = values[size]
    width = values.get("embedding_size", hidden)
    layers = 1 if model_type == "albert" else values[depth]
    needed = {
        "vocab_size": values["vocab_size"] * width,
        size: hidden * hidden,
        depth: layers * hidden * hidden,
        inner: hidden * values[inner],
        "type_vocab_size": values.get("type_vocab_size", 0) * width,
    }
    if model_type != "modernbert" and values.get("position_biased_input", True):
        needed["max_position_embeddings"] = values["max_position_embeddings"] * width
    for field, least in needed.items():
        if least > numbers:
            raise refuse(
                f"the field '{field}' of config.json needs at least {least:,} weights, and its files have {numbers:,}"
            )
