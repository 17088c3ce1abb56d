"""The weights of BERT's layers as ``fused`` takes them: frozen matrices, and an adapter's."""

from functools import cached_property
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from ..precision import Packed, can_pack


class FrozenLinear:
    """``x Wᵀ + b``, by a matrix that stays what it is; in bf16, where the processor has it, by a packed one.

    Args:
        weight: ``(outputs, inputs)``.
        bias: ``(outputs,)``.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.dtype = weight.dtype
        self._weight, self._bias = weight.detach(), bias.detach()
        self._packs = self.dtype is torch.bfloat16 and can_pack(weight.device)

    def __call__(self, states: Tensor) -> Tensor:
        """``(rows, inputs)`` to ``(rows, outputs)``, of the weights' type."""
        if self._packs:
            return self._packed(states, self._bias)
        return functional.linear(states, self._weight, self._bias)

    def backward(self, gradient: Tensor) -> Tensor:
        """The gradient of the output, ``(rows, outputs)``, to that of the input, ``(rows, inputs)``."""
        return self._transposed(gradient) if self._packs else gradient @ self._weight

    @cached_property
    def _packed(self) -> Packed:
        return Packed(self._weight)

    @cached_property
    def _transposed(self) -> Packed:
        return Packed(self._weight.T.contiguous())


class Bottleneck(NamedTuple):
    """The trained weights of one layer: ``(bottleneck, hidden)``, ``(bottleneck,)``, ``(hidden, bottleneck)``, …"""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


class Layer:
    """One layer's weights."""

    def __init__(self, layer: Any, slot: str) -> None:
        attention, out = layer.attention.self, layer.attention.output
        parts = (attention.query, attention.key, attention.value)
        with torch.no_grad():
            matrix, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        self.qkv = FrozenLinear(matrix, bias)
        self.mix = FrozenLinear(out.dense.weight, out.dense.bias)
        self.norm = out.LayerNorm.weight.detach(), out.LayerNorm.bias.detach()
        self.widen = FrozenLinear(layer.intermediate.dense.weight, layer.intermediate.dense.bias)
        self.narrow = FrozenLinear(layer.output.dense.weight, layer.output.dense.bias)
        self.last_norm = layer.output.LayerNorm.weight.detach(), layer.output.LayerNorm.bias.detach()
        self.drop_scores, self.drop_mix, self.drop_narrow = attention.dropout, out.dropout, layer.output.dropout
        self.bottleneck: Bottleneck | None = None
        if slot in layer.output.adapters:
            adapter = layer.output.adapters[slot]
            down, up = adapter.adapter_down[0], adapter.adapter_up
            self.bottleneck = Bottleneck(down.weight, down.bias, up.weight, up.bias)


class LastAttention(NamedTuple):
    """The last layer's attention by head: the query's weights, and ``(heads, size, hidden)`` in float32."""

    query: FrozenLinear
    key: Tensor
    value: Tensor
    value_bias: Tensor
    """``(heads, size)``."""

    @classmethod
    def of(cls, attention: Any, heads: int) -> Self:
        """Of a BERT's attention with so many heads."""
        query, key, value = attention.query, attention.key, attention.value
        return cls(
            query=FrozenLinear(query.weight, query.bias),
            key=key.weight.detach().float().unflatten(0, (heads, -1)),
            value=value.weight.detach().float().unflatten(0, (heads, -1)),
            value_bias=value.bias.detach().float().view(heads, -1),
        )
