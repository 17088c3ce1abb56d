"""Dropout at the price of one product: masks come out of a pool of random ones that was drawn once."""

from typing import Final

import torch
from torch import nn

_SMALLEST: Final = 1 << 22
"""Elements of the smallest pool; the largest has at least four times those of the largest mask asked for."""


class MaskPool:
    """Random scaled dropout masks, drawn once: an element is 0 with probability ``p``, and else ``1 / (1 - p)``.

    A CPU draws random numbers one after another, and dropout's take an eighth of a training step on a small base.
    A mask out of the pool is a stretch of it from a random place: each of its elements is as random as a new one, and
    two masks only share any where their stretches overlap, shifted against each other.

    Which place, torch's generator says. What the pool holds depends on torch's seed alone, not on what was asked
    before, so the same seed gives the same masks.

    Args:
        p: The probability.
        dtype: The masks'; where it is narrower than what they multiply, that keeps its own type.
    """

    def __init__(self, p: float, *, dtype: torch.dtype = torch.float32) -> None:
        self.p = p
        self._generator = torch.Generator().manual_seed(torch.initial_seed())
        self._pool = torch.empty(0, dtype=dtype)

    def mask(self, shape: torch.Size) -> torch.Tensor:
        """A mask of that shape, to multiply with; a view of the pool, not to be written to."""
        count = shape.numel()
        size = max(_SMALLEST, 1 << (4 * count - 1).bit_length())
        while len(self._pool) < size:
            kept = torch.rand(_SMALLEST, generator=self._generator) >= self.p
            self._pool = torch.cat([self._pool, kept.to(self._pool.dtype).div_(1 - self.p)])
        start = int(torch.randint(size - count + 1, ()))
        return self._pool[start : start + count].view(shape)


class PooledDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) as ``torch.nn.Dropout`` does it, with masks out of a pool."""

    def __init__(self, pool: MaskPool) -> None:
        super().__init__()
        self.p = pool.p  # what some models read off their dropout
        self._pool = pool

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The input with elements dropped in training, the input itself in evaluation; the same shape and type."""
        return hidden * self.mask(hidden) if self.training else hidden

    def mask(self, hidden: torch.Tensor) -> torch.Tensor:
        """A new mask to multiply this input with."""
        return self._pool.mask(hidden.shape)


def pool_dropout(model: nn.Module, *, dtype: torch.dtype = torch.float32) -> None:
    """Give a model on the CPU pooled dropout wherever it has torch's; one pool for each probability.

    Args:
        model: The model; its modules are replaced.
        dtype: The masks': that of the matrix products, as a pool in it takes half the memory.
    """
    pools: dict[float, MaskPool] = {}
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout and 0 < child.p < 1:
                pool = pools.setdefault(child.p, MaskPool(child.p, dtype=dtype))
                setattr(module, name, PooledDropout(pool).train(child.training))
