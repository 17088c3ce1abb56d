"""The mean of the trained weights over the last steps of a training, in place of a falling learning rate."""

from collections.abc import Iterable
from typing import Final

import torch

TAIL: Final = 0.2
"""The share of the steps, the last ones, whose weights are averaged."""


class WeightAverage:
    """A running mean of parameters (Polyak & Juditsky 1992; Izmailov et al. 2018, arXiv:1803.05407).

    At a constant learning rate the weights circle around where they are going; their mean is nearer to it than any of
    them, and the steps before are spent at the full rate.

    Args:
        parameters: What is averaged; one copy of it is kept, from the first ``add`` on.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self._parameters: list[torch.Tensor] = list(parameters)
        self._mean: list[torch.Tensor] = []
        self._count = 0

    @torch.no_grad()
    def add(self) -> None:
        """Take the parameters as they are now into the mean."""
        self._count += 1
        if not self._mean:
            self._mean = [parameter.detach().clone() for parameter in self._parameters]
        else:
            torch._foreach_lerp_(self._mean, self._parameters, 1 / self._count)

    @torch.no_grad()
    def apply(self) -> None:
        """Set the parameters to the mean of what was added; leave them as they are if nothing was."""
        for parameter, mean in zip(self._parameters, self._mean, strict=False):
            parameter.copy_(mean)
