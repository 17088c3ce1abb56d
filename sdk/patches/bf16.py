"""A model's matrices in bf16, for as long as it lives or for training's forward passes only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .packed import PackedMatrix, can_pack


class HalvedBase:
    """Holds a base's matrices in bf16, and in float32 for as long as ``exact()`` lasts.

    Autocast casts a frozen float32 weight again at every forward pass, since its cache only keeps what needs a
    gradient; weights that are bf16 already cost nothing. The float32 tensors are kept aside, not cast back: they stay
    as they were to the last bit. Only what is multiplied is halved: a bf16 embedding would save nothing, and
    normalisation layers take inputs of either kind only in float32.

    Args:
        base: The base in float32, before adapters are added to it.
    """

    def __init__(self, base: torch.nn.Module) -> None:
        parameters = {
            parameter
            for module in base.modules()
            if isinstance(module, torch.nn.Linear)
            for parameter in module.parameters(recurse=False)
        }
        self._pairs = [(parameter, parameter.data, parameter.data.to(torch.bfloat16)) for parameter in parameters]
        self._halve()

    @contextmanager
    def exact(self) -> Iterator[None]:
        """The base in float32 inside the block, in bf16 again after it."""
        self.restore()
        try:
            yield
        finally:
            self._halve()

    def restore(self) -> None:
        """Put the float32 weights back, for good."""
        for parameter, single, _ in self._pairs:
            parameter.data = single

    def _halve(self) -> None:
        for parameter, _, half in self._pairs:
            parameter.data = half


def halve_for_good(model: Any) -> None:
    """Let a model compute in bf16 for as long as it lives: its base's matrices, and what passes between layers.

    Autocast leaves what the embeddings give in float32, and with it every sum and normalisation after it, which is then
    cast again for each of the matrices that read it.

    Args:
        model: An adapters model in float32, before adapters are added to it.
    """
    HalvedBase(model)
    model.base_model.embeddings.register_forward_hook(lambda _, __, outputs: outputs.to(torch.bfloat16))
    if can_pack(model.device):
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight = PackedMatrix(module.weight)
