"""Products in int8 with matrices that do not change: weights by output channel, activations by token.

A token's 256 steps reach from its least number to its greatest, so an answer does not depend on the other rows of its
batch, and nothing is calibrated on data. LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339) scales by token and by
channel likewise. A token is ``x = step * (q - 128) + middle`` with bytes ``q``, and a channel ``w = scale * v`` with
signed bytes ``v``, so that:

    x · w = step * scale * (q · v - 128 * sum(v)) + middle * scale * sum(v)
"""

from typing import Any, Final

import torch
from torch import Tensor

_aten: Any = torch.ops.aten

_WEIGHT_STEPS: Final = 127
_TOKEN_STEPS: Final = 255
_SHIFT: Final = 128

_LEAST_STEP: Final = 1e-30
"""In place of a step of 0, where all numbers are the same."""


def has_fast_int8(device: torch.device) -> bool:
    """Whether a device multiplies int8 matrices in hardware, and torch makes use of it."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported())


class Int8Linear:
    """``x Wᵀ + b`` with float32 inputs and outputs, multiplied in int8; used as ``FrozenLinear`` is.

    Args:
        parts: Linear layers of the same inputs, whose outputs are concatenated.
        overwrites: Whether a call may change its inputs, which saves a copy of them.

    Examples:
        >>> qkv = Int8Linear(attention.query, attention.key, attention.value)
        >>> qkv(states)  # (..., inputs) to (..., 3 * hidden)
    """

    def __init__(self, *parts: Any, overwrites: bool = False) -> None:
        self.overwrites = overwrites
        weight = torch.cat([part.weight.detach().float() for part in parts])
        self._bias = torch.cat([part.bias.detach().float() for part in parts])
        self._scales = (weight.abs().amax(dim=1) / _WEIGHT_STEPS).clamp_min_(_LEAST_STEP)
        whole = (weight / self._scales[:, None]).round_().to(torch.int8)
        self._sums = whole.float().sum(dim=1) * self._scales
        self._unshift = -_SHIFT * self._sums
        self._zero_points = torch.zeros(len(weight), dtype=torch.int64)
        self._blocks: Tensor = torch.ops.onednn.qlinear_prepack(whole, None)

    def __call__(self, states: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        least, greatest = states.amin(dim=-1, keepdim=True), states.amax(dim=-1, keepdim=True)
        step = greatest.sub_(least).mul_(1 / _TOKEN_STEPS).clamp_min_(_LEAST_STEP)
        middle = least.add_(step, alpha=_SHIFT)
        moved = states.sub_(middle) if self.overwrites else states - middle
        # Signed bytes first, and then their upper bit: twice as fast as torch's own conversion to unsigned ones.
        signed = moved.div_(step).round_().to(torch.int8)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            signed.view(torch.uint8).bitwise_xor_(_SHIFT),
            1.0,
            0,
            self._blocks,
            self._scales,
            self._zero_points,
            self._unshift,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return product.mul_(step).addcmul_(middle, self._sums).add_(self._bias)

    def gelu(self, states: Tensor) -> Tensor:
        """The product's GELU, the exact one."""
        activated: Tensor = _aten.gelu_(self(states))
        return activated

    def plus(self, states: Tensor, added: Tensor) -> Tensor:
        """The product plus ``added``, ``(..., outputs)``."""
        return self(states).add_(added)
