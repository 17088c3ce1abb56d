"""The weights of BERT's layers for ``bert_training``: frozen matrices, and an adapter's."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

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
    def of(cls, layer: Any, slot: str) -> Self | None:
        """The weights of an adapter in a BERT layer of an adapters model; None if it is not in the layer."""
        if slot not in layer.output.adapters:
            return None
        adapter = layer.output.adapters[slot]
        down, up = adapter.adapter_down[0], adapter.adapter_up
        return cls(down.weight, down.bias, up.weight, up.bias)


class Layer:
    """One layer's frozen weights.

    Args:
        layer: A BERT layer of an adapters model.
        dtype: The type of matrix products.
    """

    def __init__(self, layer: Any, *, dtype: torch.dtype) -> None:
        attention, out = layer.attention.self, layer.attention.output
        self.qkv = FrozenLinear(attention.query, attention.key, attention.value, dtype=dtype)
        self.mix = FrozenLinear(out.dense, dtype=dtype)
        self.norm = out.LayerNorm.weight.detach(), out.LayerNorm.bias.detach()
        self.widen = FrozenLinear(layer.intermediate.dense, dtype=dtype)
        self.narrow = FrozenLinear(layer.output.dense, dtype=dtype)
        self.last_norm = layer.output.LayerNorm.weight.detach(), layer.output.LayerNorm.bias.detach()


class LastAttention(NamedTuple):
    """The last layer's attention by head: the query's weights, and ``(heads, size, hidden)`` in float32."""

    query: FrozenLinear
    key: Tensor
    value: Tensor
    value_bias: Tensor
    """``(heads, size)``."""

    @classmethod
    def of(cls, attention: Any, heads: int, *, dtype: torch.dtype) -> Self:
        """The weights of a BERT attention module.

        Args:
            attention: The module.
            heads: The number of its heads.
            dtype: The type of the query's product.
        """
        key, value = attention.key.weight.detach(), attention.value.weight.detach()
        return cls(
            query=FrozenLinear(attention.query, dtype=dtype),
            key=key.unflatten(0, (heads, -1)),
            value=value.unflatten(0, (heads, -1)),
            value_bias=attention.value.bias.detach().view(heads, -1),
        )
