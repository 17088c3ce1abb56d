"""Averages of adapter outputs that are weighted sums.

adapters 1.3.0 multiplies each member's output by its normalised weight and then takes the mean, which divides by the
number of members once more: ``Average(a, a)`` is not ``a``. It also fails at layers that no member has a part in, and
a stack inside an average adds the residual and normalises twice.

The patch replaces ``compose_average`` of every layer that composes adapters.
"""

from types import MethodType
from typing import Any

import torch
from adapters.composition import AdapterCompositionBlock, Average
from adapters.methods.adapter_layer_base import ComposableAdapterLayerBase


def install(model: Any) -> None:
    """Let the adapter layers of this model compute averages of outputs as they are defined."""
    for layer in model.modules():
        if isinstance(layer, ComposableAdapterLayerBase):
            layer.compose_average = MethodType(_compose_average, layer)


def _compose_average(layer: Any, setup: Average, state: Any, lvl: int = 0) -> Any:
    """The weighted sum of the members' states, each computed from ``state``; ``state`` if no member is in the layer."""
    states, weights = [], []
    for member, weight in zip(setup, setup.weights, strict=True):
        if isinstance(member, AdapterCompositionBlock):
            states.append(layer._get_compose_func(type(member))(member, state, lvl=lvl + 1))
        elif member in layer.adapter_modules:
            states.append(layer.compose_single(member, layer.pre_block(member, state), lvl=lvl + 1))
        else:
            continue
        weights.append(weight)
    if not states:
        return state
    # The layer's own mean divides the weighted sum by the number of states.
    return layer.mean(states, torch.tensor(weights, device=state[0].device)[:, None, None, None] * len(weights))
