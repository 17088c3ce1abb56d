"""The mean of the trained weights over the last steps of a training, in place of a falling learning rate."""

from collections.abc import Mapping

import torch
from torch import Tensor


class WeightAverage:
    """A running mean of vectors (Polyak & Juditsky 1992; Izmailov et al. 2018, arXiv:1803.05407).

    At a constant learning rate the weights circle around where they are going; their mean is nearer to it than any of
    them, and the steps before are spent at the full rate.

    Args:
        vectors: What is averaged, by name; one copy of it is kept, from the first ``add`` on.
    """

    def __init__(self, vectors: Mapping[str, Tensor]) -> None:
        self._vectors = vectors
        self.mean: dict[str, Tensor] = {}
        self.count = 0

    @torch.no_grad()
    def add(self) -> None:
        """Take the vectors as they are now into the mean."""
        self.count += 1
        if not self.mean:
            self.mean = {name: vector.detach().clone() for name, vector in self._vectors.items()}
        else:
            for name, mean in self.mean.items():
                mean.lerp_(self._vectors[name], 1 / self.count)

    @torch.no_grad()
    def apply(self) -> None:
        """Set the vectors to the mean of what was added; leave them as they are if nothing was."""
        for name, mean in self.mean.items():
            self._vectors[name].copy_(mean)

    def load(self, mean: Mapping[str, Tensor], count: int) -> None:
        """Go on from a mean of so many."""
        self.mean = {name: tensor.to(self._vectors[name].device, copy=True) for name, tensor in mean.items()}
        self.count = count
