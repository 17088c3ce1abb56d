"""Dropout at the price of one product: masks come out of a pool of random masks that was drawn once.

torch draws a random number for every element of every mask, one after another on a CPU: an eighth of a training step on
a small base. The patch replaces the dropout modules of a model when it is prepared for training.
"""

from typing import Final

import torch
from torch import nn

_SMALLEST: Final = 1 << 22
"""Elements of the smallest pool; a pool has at least four times the elements of the largest mask taken from it."""


class MaskPool:
    """Random scaled dropout masks, drawn once: an element is 0 with probability ``p``, and else ``1 / (1 - p)``.

    A mask is a stretch of the pool from a random offset: each of its elements is as random as a new one, and two masks
    share elements only where their stretches overlap, shifted against each other.

    The offset comes from torch's generator. The content of the pool depends on torch's seed alone and not on earlier
    masks, so the same seed gives the same masks.

    Args:
        p: The probability.
        dtype: The masks' type; a wider tensor that is multiplied by a mask keeps its own type.
    """

    def __init__(self, p: float, *, dtype: torch.dtype = torch.float32) -> None:
        self.p = p
        self._generator = torch.Generator().manual_seed(torch.initial_seed())
        self._pool = torch.empty(0, dtype=dtype)

    def mask(self, shape: torch.Size) -> torch.Tensor:
        """A mask of that shape to multiply with: a view of the pool, which must not be written to."""
        count = shape.numel()
        size = max(_SMALLEST, 1 << (4 * count - 1).bit_length())
        while len(self._pool) < size:
            survives = torch.rand(_SMALLEST, generator=self._generator) >= self.p
            self._pool = torch.cat([self._pool, survives.to(self._pool.dtype).div_(1 - self.p)])
        start = int(torch.randint(size - count + 1, ()))
        return self._pool[start : start + count].view(shape)


class PooledDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) as ``torch.nn.Dropout`` computes it, with masks out of a pool."""

    def __init__(self, pool: MaskPool) -> None:
        super().__init__()
        self.p = pool.p  # some models read it from their dropout modules
        self._pool = pool

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The input with elements dropped in training, the input itself in evaluation; the same shape and type."""
        return hidden * self.mask(hidden.shape) if self.training else hidden

    def mask(self, shape: torch.Size) -> torch.Tensor:
        """A new mask to multiply an input of this shape with."""
        return self._pool.mask(shape)


def pool_dropout(model: nn.Module, *, dtype: torch.dtype = torch.float32) -> None:
    """Replace a model's dropout modules by pooled dropout, with one pool for each probability.

    Args:
        model: The model, on the CPU.
        dtype: The masks' type. That of the matrix products is enough: a bf16 pool takes half the memory.
    """
    pools: dict[float, MaskPool] = {}
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout and 0 < child.p < 1:
                pool = pools.setdefault(child.p, MaskPool(child.p, dtype=dtype))
                setattr(module, name, PooledDropout(pool).train(child.training))
