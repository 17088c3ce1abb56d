"""The weights of BERT's layers for ``bert_training``: frozen matrices, and an adapter's."""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from .encoder_layers import LayerModules
from .frozen_linear import FrozenLinear


class Bottleneck(NamedTuple):
    """The trained weights of one layer's adapter."""

    down: Tensor
    """``(bottleneck, hidden)``."""
    down_bias: Tensor
    """``(bottleneck,)``."""
    up: Tensor
    """``(hidden, bottleneck)``."""
    up_bias: Tensor
    """``(hidden,)``."""

    @classmethod
    def of(cls, layer: LayerModules, slot: str) -> Self | None:
        """The weights of an adapter behind a layer's feed-forward block; None if it is not in the layer."""
        if slot not in layer.output_place.adapters:
            return None
        adapter = layer.output_place.adapters[slot]
        down, up = adapter.adapter_down[0], adapter.adapter_up
        return cls(down.weight, down.bias, up.weight, up.bias)


class Layer:
    """One layer's frozen weights.

    Args:
        layer: Its modules.
        dtype: The type of matrix products.
    """

    def __init__(self, layer: LayerModules, *, dtype: torch.dtype) -> None:
        self.qkv = FrozenLinear(layer.query, layer.key, layer.value, dtype=dtype)
        self.mix = FrozenLinear(layer.mix, dtype=dtype)
        self.norm = layer.attention_norm.weight.detach(), layer.attention_norm.bias.detach()
        self.widen = FrozenLinear(layer.widen, dtype=dtype)
        self.narrow = FrozenLinear(layer.narrow, dtype=dtype)
        self.last_norm = layer.output_norm.weight.detach(), layer.output_norm.bias.detach()


class LastAttention(NamedTuple):
    """The last layer's attention by head: the query's weights, and ``(heads, size, hidden)`` in float32."""

    query: FrozenLinear
    key: Tensor
    value: Tensor
    value_bias: Tensor
    """``(heads, size)``."""

    @classmethod
    def of(cls, layer: LayerModules, heads: int, *, dtype: torch.dtype) -> Self:
        """The weights of a layer's attention.

        Args:
            layer: The layer's modules.
            heads: The number of its heads.
            dtype: The type of the query's product.
        """
        key, value = layer.key.weight.detach(), layer.value.weight.detach()
        return cls(
            query=FrozenLinear(layer.query, dtype=dtype),
            key=key.unflatten(0, (heads, -1)),
            value=value.unflatten(0, (heads, -1)),
            value_bias=layer.value.bias.detach().view(heads, -1),
        )
