"""AdapterDrop in training (Rücklé et al. 2021, arXiv:2010.11918): for so many lower layers, or for any number of them.

The specialised form leaves the adapters of the lowest layers out for good. The robust form skips those of the lowest
``n``, another ``n`` for every batch, so that one version does at any number: ``predict(…, drop_layers=n)``.
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
    """The configuration of what is trained: without the adapters of the lowest layers, where they are dropped for good.

    Args:
        config: A method's full configuration.
        drop_layers: What the settings say.
        base: The base's configuration, as transformers has it.

    Raises:
        SettingsError: The base has fewer layers; nothing of the method is in a layer; or other layers are left out.
    """
    dropped, layers = layers_to_drop(drop_layers), count_layers(base)
    if dropped == 0:
        return config
    parts = [part for part in parts_of(config) if _places(part) is not None]
    if not parts:
        raise SettingsError(
            f"drop_layers is {drop_layers}, and there are no adapters in layers that it could drop: leave it out"
        )
    if isinstance(dropped, range):
        if dropped[-1] > layers:
            raise SettingsError(f"drop_layers has to be within 0-{layers}, all layers of the base; found {drop_layers}")
        return config
    if dropped >= layers:
        raise SettingsError(f"drop_layers has to be under {layers}, the layers of the base; found {drop_layers}")
    if base.model_type == "albert" and base.num_hidden_groups < base.num_hidden_layers:
        raise SettingsError(
            f"the layers of this base share their adapters: train with a range of drop_layers, as 0-{dropped}, and "
            "predict with the number"
        )
    for part in parts:
        field = _places(part)
        if field is not None and part[field] not in ([], "all"):
            raise SettingsError(
                f"drop_layers {dropped} leaves out the lowest layers, and {field}={part[field]} is set as well: "
                "give one of them"
            )
    said = {"leave_out": list(range(dropped)), "layers": list(range(dropped, layers))}
    changed = [part if (field := _places(part)) is None else {**part, field: said[field]} for part in parts_of(config)]
    return {**config, "configs": changed} if config.get("architecture") == "union" else changed[0]


def with_random_drop(
    forward: Callable[[Mapping[str, Tensor]], Tensor], counts: range
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """The forward pass of a training, each time without the adapters of another number of the lowest layers.

    Args:
        forward: A batch to outputs.
        counts: The numbers to draw from, all equally likely.
    """

    def dropping(batch: Mapping[str, Tensor]) -> Tensor:
        with forward_context(ForwardContext(dropped=counts[int(torch.randint(len(counts), ()))])):
            return forward(batch)

    return dropping


def _places(part: Mapping[str, Any]) -> str | None:
    """The field that says in which layers a part is; None: it is in no layer."""
    return next((field for field in ("leave_out", "layers") if field in part), None)
