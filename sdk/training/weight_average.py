"""The mean of the trained weights over the latest steps, in place of a falling learning rate."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverage:
    """A running mean of vectors that forgets (Polyak & Juditsky 1992; Shamir & Zhang 2013, arXiv:1212.1824).

    At a constant learning rate the weights circle around where they are going; their mean is nearer to it than any of
    them. Step ``t`` has a part of ``1 / (1 + share * (t - 1))`` in the mean of the first ``t``: those of polynomial
    decay with ``eta = 1 / share - 1``. Some ``share`` of the steps so far are what the mean stands for, whenever it is
    asked for.

    Args:
        vectors: What is averaged, by name; one copy of it is kept.
        share: 0: the mean is the vectors as they are; 1: the mean over all steps.
    """

    def __init__(self, vectors: Mapping[str, Tensor], share: float) -> None:
        self._vectors, self._share = vectors, share
        self.mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take the vectors after a step, from 1, into the mean."""
        if not self._share:
            return
        if not self.mean:
            self.mean = {name: vector.detach().clone() for name, vector in self._vectors.items()}
        part = 1 / (1 + self._share * (step - 1))
        for name, mean in self.mean.items():
            mean.lerp_(self._vectors[name], part)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A block in which the vectors are the mean of what was added, if anything was."""
        kept = {name: self._vectors[name].detach().clone() for name in self.mean}
        self._set(self.mean)
        try:
            yield
        finally:
            self._set(kept)

    def load(self, mean: Mapping[str, Tensor]) -> None:
        """Go on from a mean."""
        self.mean = {name: tensor.to(self._vectors[name].device, copy=True) for name, tensor in mean.items()}

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._vectors[name].copy_(value)
