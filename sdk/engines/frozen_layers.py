"""The weights of BERT's layers for ``bert_training``: frozen matrices, and an adapter's."""

from functools import cached_property
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional

from ..patches.packed import Packed, can_pack


class FrozenLinear:
    """``x Wᵀ + b`` with a matrix that does not change: packed in bf16, if the processor multiplies bf16.

    A matrix is converted at its first use, and only the form that is multiplied stays in memory.

    Args:
        parts: Linear layers of the same inputs, whose outputs are concatenated.
        dtype: The type to compute in.

    Examples:
        >>> qkv = FrozenLinear(attention.query, attention.key, attention.value, dtype=torch.bfloat16)
        >>> qkv(states)  # (rows, inputs) to (rows, 3 * hidden)
    """

    def __init__(self, *parts: Any, dtype: torch.dtype) -> None:
        self._parts = parts
        self._dtype = dtype
        self._packs = dtype is torch.bfloat16 and can_pack(parts[0].weight.device)

    def __call__(self, states: Tensor) -> Tensor:
        """``(rows, inputs)`` to ``(rows, outputs)``."""
        return self._packed(states, self._bias) if self._packs else functional.linear(states, self._weight, self._bias)

    def backward(self, gradient: Tensor) -> Tensor:
        """The gradient of the input, ``(rows, inputs)``, from that of the output, ``(rows, outputs)``."""
        return self._transposed(gradient, self._zeros) if self._packs else gradient @ self._weight

    @cached_property
    def _weight(self) -> Tensor:
        return self._joined("weight")

    @cached_property
    def _bias(self) -> Tensor:
        return self._joined("bias")

    @cached_property
    def _packed(self) -> Packed:
        return Packed(self._joined("weight"))

    @cached_property
    def _transposed(self) -> Packed:
        return Packed(self._joined("weight").T.contiguous())

    @cached_property
    def _zeros(self) -> Tensor:
        """A bias of zeros: without it, oneDNN would compile a second program for each shape, half a megabyte each."""
        return torch.zeros(self._parts[0].weight.shape[1], dtype=self._dtype)

    def _joined(self, name: str) -> Tensor:
        """The parts' weights or biases, concatenated, in the type to compute in; one part's own if it has that type."""
        tensors = [getattr(part, name).detach() for part in self._parts]
        return (tensors[0] if len(tensors) == 1 else torch.cat(tensors)).to(self._dtype)


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


class Layer:
    """One layer's weights: the frozen ones, and the adapter's if it has one.

    Args:
        layer: A BERT layer of an adapters model.
        slot: The adapter's name in the model.
        dtype: The type of matrix products.
    """

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
