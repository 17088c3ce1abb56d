"""The fingerprint of a base: what identifies it, under any name and in any place."""

import hashlib
import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import torch

from pointsman.registry import Base

from .architecture import architecture
from .former import former_identity

_SCHEME: Final = "pointsman base 2"
"""Stands at the head of what is hashed; a change to it, or to the tables in ``architecture``, orphans every version."""


def describe(model: Any, *, name: str, absent: Collection[str] = ()) -> Base:
    """Describe a base that has no adapters yet, with its fingerprint and the one that earlier releases gave it.

    A fingerprint is the sha256 over the fields of ``architecture`` and over names, types, shapes and bytes of all
    weights.

    Args:
        model: An adapters model without heads and adapters, on the CPU unless its weights are to be copied there.
        name: The base's name in the record.
        absent: Weights that the checkpoint lacks: random, so no part of the fingerprint.
    """
    prefix = f"{model.base_model_prefix}."
    # Parameters, not the state dictionary: adapters lists the embeddings in that a second time.
    weights = {
        key: tensor
        for key, tensor in sorted(model.base_model.named_parameters())
        if key not in absent and prefix + key not in absent
    }
    config = model.config
    values = _values(config)
    fields = {"model_type": config.model_type, "fields": architecture(config.model_type, values)}
    now = hashlib.sha256(f"{_SCHEME}\n{_as_json(fields)}".encode())
    former = hashlib.sha256(_as_json(former_identity(config, values)).encode())
    # Side by side, since sha256 releases the lock of Python: two fingerprints take the time of one.
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda digest: _update(digest, weights), (now, former)))
    return Base(
        fingerprint=now.hexdigest(),
        former_fingerprint=former.hexdigest(),
        name=name,
        model_type=config.model_type,
        hidden_size=int(config.hidden_size),
        layers=int(config.num_hidden_layers),
        parameters=sum(tensor.numel() for tensor in weights.values()),
        size=sum(tensor.numel() * tensor.element_size() for tensor in weights.values()),
    )


def _values(config: Any) -> dict[str, Any]:
    """A configuration as a dictionary, in the field names of transformers 4."""
    values: dict[str, Any] = config.to_dict()
    # transformers 5 moves ModernBERT's two frequencies into one field.
    rope = values.get("rope_parameters") or {}
    for name, kind in (("global_rope_theta", "full_attention"), ("local_rope_theta", "sliding_attention")):
        if name not in values and "rope_theta" in rope.get(kind, {}):
            values[name] = rope[kind]["rope_theta"]
    return values


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _update(digest: "hashlib._Hash", weights: Mapping[str, torch.Tensor]) -> None:
    """Feed weights into a digest, from where they lie in memory."""
    for key, tensor in weights.items():
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
