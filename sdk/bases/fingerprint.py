"""The fingerprint of a base: what identifies it, whatever it is called."""

import hashlib
import json
from collections.abc import Collection
from typing import Any, Final

import torch

from pointsman.registry import Base

# What a configuration file says of where it was saved and by what, and of heads: none of it changes an encoding.
_NO_PART_OF_IDENTITY: Final = frozenset(
    {
        "_name_or_path",
        "adapters",
        "architectures",
        "custom_heads",
        "dtype",
        "finetuning_task",
        "id2label",
        "label2id",
        "prediction_heads",
        "problem_type",
        "reference_compile",
        "torch_dtype",
        "transformers_version",
    }
)


def describe(model: Any, *, name: str, absent: Collection[str] = ()) -> Base:
    """What the registry keeps of a base that has no adapters yet.

    Args:
        model: An adapters model without heads and adapters.
        name: What to call it.
        absent: Weights that the checkpoint does not have: random, so no part of the fingerprint.
    """
    prefix = f"{model.base_model_prefix}."
    # Parameters, not the state dictionary: adapters lists the embeddings in that a second time.
    weights = {
        key: tensor
        for key, tensor in sorted(model.base_model.named_parameters())
        if key not in absent and prefix + key not in absent
    }
    config = model.config.to_diff_dict()
    identity = {key: value for key, value in config.items() if key not in _NO_PART_OF_IDENTITY}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode())
    for key, tensor in weights.items():
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return Base(
        fingerprint=digest.hexdigest(),
        name=name,
        model_type=model.config.model_type,
        hidden_size=int(model.config.hidden_size),
        layers=int(model.config.num_hidden_layers),
        parameters=sum(tensor.numel() for tensor in weights.values()),
        size=sum(tensor.numel() * tensor.element_size() for tensor in weights.values()),
    )
