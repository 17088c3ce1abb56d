"""The weights of BERT's layers as ``fused`` takes them: frozen matrices, and an adapter's."""

from functools import cached_property
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from ..patches.packed import Packed, can_pack


class FrozenLinear:
    """``x Wᵀ + b``, by a matrix that stays what it is; in bf16, where the processor has it, by a packed one.

    What is packed is made at its first use, and nothing else is kept of it.

    Args:
        parts: Linear layers of the same inputs, whose outputs stand side by side.
        dtype: The type to compute in.
    """

    def __init__(self, *parts: Any, dtype: torch.dtype) -> None:
        self._parts = parts
        self._dtype = dtype
        self._packs = dtype is torch.bfloat16 and can_pack(parts[0].weight.device)

    def __call__(self, states: Tensor) -> Tensor:
        """``(rows, inputs)`` to ``(rows, outputs)``."""
        return self._packed(states, self._bias) if self._packs else functional.linear(states, self._weight, self._bias)

    def backward(self, gradient: Tensor) -> Tensor:
        """The gradient of the output, ``(rows, outputs)``, to that of the input, ``(rows, inputs)``."""
        return self._transposed(gradient, self._zeros) if self._packs else gradient @ self._weight

    @cached_property
    def _weight(self) -> Tensor:
        return self._made("weight")

    @cached_property
    def _bias(self) -> Tensor:
        return self._made("bias")

    @cached_property
    def _packed(self) -> Packed:
        return Packed(self._made("weight"))

    @cached_property
    def _transposed(self) -> Packed:
        return Packed(self._made("weight").T.contiguous())

    @cached_property
    def _zeros(self) -> Tensor:
        """A bias of nothing: for products with and without one, oneDNN keeps two programs, half a megabyte each."""
        return torch.zeros(self._parts[0].weight.shape[1], dtype=self._dtype)

    def _made(self, name: str) -> Tensor:
        """The parts' weights or biases in one, in the type to compute in; the model's own where that is the same."""
        found = [getattr(part, name).detach() for part in self._parts]
        return (found[0] if len(found) == 1 else torch.cat(found)).to(self._dtype)


class Bottleneck(NamedTuple):
    """The trained weights of one layer: ``(bottleneck, hidden)``, ``(bottleneck,)``, ``(hidden, bottleneck)``, …"""

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor


class Layer:
    """One layer's weights."""

    def __init__(self, layer: Any, slot: str, *, dtype: torch.dtype) -> None:
        attention, out = layer.attention.self, layer.attention.output
        self.qkv = FrozenLinear(attention.query, attention.key, attention.value, dtype=dtype)
        self.mix = FrozenLinear(out.dense, dtype=dtype)
        self.norm = out.LayerNorm.weight.detach(), out.LayerNorm.bias.detach()
        self.widen = FrozenLinear(layer.intermediate.dense, dtype=dtype)
        self.narrow = FrozenLinear(layer.output.dense, dtype=dtype)
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
    def of(cls, attention: Any, heads: int, *, dtype: torch.dtype) -> Self:
        """Of a BERT's attention with so many heads."""
        key, value = attention.key.weight.detach(), attention.value.weight.detach()
        return cls(
            query=FrozenLinear(attention.query, dtype=dtype),
            key=key.unflatten(0, (heads, -1)),
            value=value.unflatten(0, (heads, -1)),
            value_bias=attention.value.bias.detach().view(heads, -1),
        )
