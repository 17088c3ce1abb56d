"""The running mean of the trained weights over the latest steps, an alternative to a falling learning rate."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverage:
    """A running mean of vectors that favours the latest steps.

    At a constant learning rate the weights oscillate around an optimum, and their mean is nearer to it than any of
    them. Step ``t`` has the weight ``1 / (1 + share * (t - 1))`` in the mean of the first ``t`` steps, which is
    polynomial decay with ``eta = 1 / share - 1``. So at any step, the mean covers about ``share`` of the steps so far.

    Args:
        vectors: The vectors to average, by name; one copy is kept.
        share: From 0 (no mean: the vectors themselves) to 1 (the mean over all steps).

    Reference:
        Polyak & Juditsky 1992; Shamir & Zhang 2013, arXiv:1212.1824.

    Examples:
        >>> average = WeightAverage(optimiser.vectors, 0.2)
        >>> average.add(1)
        >>> with average.applied():
        ...     scores = evaluate()
    """

    def __init__(self, vectors: Mapping[str, Tensor], share: float) -> None:
        self._vectors, self._share = vectors, share
        self.mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Add the vectors after a step, counted from 1, to the mean."""
        if not self._share:
            return
        if not self.mean:
            self.mean = {name: vector.detach().clone() for name, vector in self._vectors.items()}
        weight = 1 / (1 + self._share * (step - 1))
        for name, mean in self.mean.items():
            mean.lerp_(self._vectors[name], weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A block in which the vectors are the mean, if anything was added to it."""
        original = {name: self._vectors[name].detach().clone() for name in self.mean}
        self._set(self.mean)
        try:
            yield
        finally:
            self._set(original)

    def load(self, mean: Mapping[str, Tensor]) -> None:
        """Continue from a mean."""
        self.mean = {name: tensor.to(self._vectors[name].device, copy=True) for name, tensor in mean.items()}

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._vectors[name].copy_(value)
