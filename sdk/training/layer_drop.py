"""AdapterDrop in training (Rücklé et al. 2021, arXiv:2010.11918), for a fixed number of layers or for any number.

The specialised form leaves out the adapters of the lowest layers. The robust form skips those of the lowest ``n``
layers, another ``n`` for every batch, so that one version works at any number: ``predict(…, drop_layers=n)``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pointsman.registry.errors import SettingsError

from ..methods import parts_of
from ..patches.forward_context import ForwardContext, forward_context
from ..patches.layer_drop import count_layers
from .settings import layers_to_drop


def without_layers(config: Mapping[str, Any], drop_layers: int | str, base: Any) -> Mapping[str, Any]:
    """The configuration of a method without the adapters of the lowest layers, where ``drop_layers`` is a number.

    Args:
        config: A method's full configuration.
        drop_layers: The setting; a range leaves the configuration unchanged.
        base: The base's configuration, as transformers has it.

    Raises:
        SettingsError: The base has fewer layers, no part of the method is in a layer, or the configuration already
            leaves layers out.
    """
    dropped, layers = layers_to_drop(drop_layers), count_layers(base)
    if dropped == 0:
        return config
    parts = [part for part in parts_of(config) if _layer_field(part) is not None]
    if not parts:
        raise SettingsError(f"drop_layers is {drop_layers}, but the method has no adapters in layers; leave it out")
    if isinstance(dropped, range):
        if dropped[-1] > layers:
            raise SettingsError(f"drop_layers must be within 0-{layers}, all layers of the base; found {drop_layers}")
        return config
    if dropped >= layers:
        raise SettingsError(f"drop_layers must be under {layers}, the layers of the base; found {drop_layers}")
    if base.model_type == "albert" and base.num_hidden_groups < base.num_hidden_layers:
        raise SettingsError(
            f"the layers of this base share their adapters; train with a range of drop_layers, as 0-{dropped}, and "
            "predict with the number"
        )
    for part in parts:
        field = _layer_field(part)
        if field is not None and part[field] not in ([], "all"):
            raise SettingsError(
                f"drop_layers {dropped} leaves out the lowest layers, and {field}={part[field]} is set as well; "
                "give one of them"
            )
    values = {"leave_out": list(range(dropped)), "layers": list(range(dropped, layers))}
    changed = [
        part if (field := _layer_field(part)) is None else {**part, field: values[field]} for part in parts_of(config)
    ]
    return {**config, "configs": changed} if config.get("architecture") == "union" else changed[0]


def with_random_drop(
    forward: Callable[[Mapping[str, Tensor]], Tensor], counts: range
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """A forward pass that skips the adapters of the lowest layers, another number of them for every batch.

    Args:
        forward: Model inputs to outputs.
        counts: The numbers of layers to draw from, uniformly.
    """

    def dropping(inputs: Mapping[str, Tensor]) -> Tensor:
        with forward_context(ForwardContext(dropped=counts[int(torch.randint(len(counts), ()))])):
            return forward(inputs)

    return dropping


def _layer_field(part: Mapping[str, Any]) -> str | None:
    """The field that selects the layers of a part; None: the part is in no layer."""
    return next((field for field in ("leave_out", "layers") if field in part), None)
