"""Products with matrices that do not change."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..patches.packed import Packed, PackedMatrix, can_pack


class FrozenLinear:
    """``x Wᵀ + b`` with a matrix that does not change: packed, if oneDNN multiplies its type on the device.

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
        self._packs = can_pack(parts[0].weight.device, dtype)

    def __call__(self, states: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        return self._packed(states, self._bias) if self._packs else functional.linear(states, self._weight, self._bias)

    def gelu(self, states: Tensor) -> Tensor:
        """The product's GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415), the exact one."""
        if self._packs:
            return self._packed(states, self._bias, activation="gelu")
        return functional.gelu(self(states))

    def plus(self, states: Tensor, added: Tensor) -> Tensor:
        """The product plus ``added``, ``(..., outputs)``."""
        return self._packed.plus(states, self._bias, added) if self._packs else self(states).add_(added)

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
        matrix = self._parts[0].weight
        if len(self._parts) == 1 and isinstance(matrix, PackedMatrix):
            return matrix.packed
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
