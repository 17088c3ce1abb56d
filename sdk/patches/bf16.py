"""A base's matrices in bf16: for training's forward passes only, or for as long as the model lives.

torch's autocast casts a frozen float32 weight again in every forward pass, since its cache keeps only weights that need
a gradient. It also leaves the embeddings' output in float32, and with it every sum and normalisation after it, which is
then cast again for each of the matrices that read it.

``HalvedBase`` is for training, which gives the float32 weights back; ``install`` is for inference.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from . import packed


class HalvedBase:
    """Holds a base's matrices in bf16, and in float32 inside ``exact()``.

    The float32 tensors are kept and not cast back, so they stay the same to the last bit. Only the weights of matrix
    products are halved: bf16 embeddings would save nothing, and normalisation layers take inputs of either type only
    with float32 weights.

    Args:
        base: The base in float32, before adapters are added to it.

    Examples:
        >>> halved = HalvedBase(model)
        >>> with halved.exact():
        ...     evaluate(model)  # in float32
        >>> halved.restore()
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


def install(model: Any) -> None:
    """Let a model compute in bf16 for as long as it lives: its base's matrices, and the states between its layers.

    Args:
        model: An adapters model in float32, before adapters are added to it.
    """
    embeddings = model.base_model.embeddings
    if _to_bf16 in embeddings._forward_hooks.values():
        return
    HalvedBase(model)
    embeddings.register_forward_hook(_to_bf16)
    packed.install(model)


def _to_bf16(_: torch.nn.Module, __: Any, outputs: torch.Tensor) -> torch.Tensor:
    return outputs.to(torch.bfloat16)
