"""Products in int8 with matrices that do not change: weights by output channel, activations by token.

A token's 256 steps reach from its least number to its greatest, so an answer does not depend on the other rows of its
batch, and nothing is calibrated on data. LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339) scales by token and by
channel likewise. A token is ``x = step * q + least`` with bytes ``q``, and a channel ``w = scale * v`` with signed
bytes ``v``, so that:

    x · w = step * scale * (q · v) + least * scale * sum(v)

One operation of torch turns tokens into bytes, which it has for the rows of embedding tables. Behind a token's bytes it
writes ``step`` and ``least``; the matrix has zeros for these 8 bytes, so that they need not be cut off.
"""

import warnings
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

_aten: Any = torch.ops.aten

_WEIGHT_STEPS: Final = 127

_LEAST_SCALE: Final = 1e-30
"""In place of a scale of 0, of a channel without weights."""

_FEW_TOKENS: Final = 64
"""Up to this many, FBGEMM multiplies faster than oneDNN, whose call takes tens of microseconds beside the product.
The numbers are the same."""

_STEP_BYTES: Final = 8
"""Of a token's step and its least number, two numbers in float32."""


def has_fast_int8(device: torch.device) -> bool:
    """Whether a device multiplies int8 matrices in hardware, and torch makes use of it."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported())


def can_multiply(inputs: int) -> bool:
    """Whether a token of so many numbers can be multiplied: the float32 numbers behind its bytes are aligned."""
    return inputs % 4 == 0


class Int8Linear:
    """``x Wᵀ + b`` with float32 inputs and outputs, multiplied in int8; used as ``FrozenLinear`` is.

    Args:
        parts: Linear layers of the same inputs, whose outputs are concatenated.

    Examples:
        >>> qkv = Int8Linear(attention.query, attention.key, attention.value)
        >>> qkv(states)  # (..., inputs) to (..., 3 * hidden)
    """

    def __init__(self, *parts: Any) -> None:
        weight = torch.cat([part.weight.detach().float() for part in parts])
        self._inputs = weight.shape[1]
        self._bias = torch.cat([part.bias.detach().float() for part in parts])
        self._scales = (weight.abs().amax(dim=1) / _WEIGHT_STEPS).clamp_min_(_LEAST_SCALE)
        whole = (weight / self._scales[:, None]).round_()
        self._sums = whole.sum(dim=1) * self._scales
        self._zeros = torch.zeros(len(weight))
        self._zero_points = torch.zeros(len(weight), dtype=torch.int64)
        padded = functional.pad(whole, (0, _STEP_BYTES)).to(torch.int8)
        self._blocks: Tensor = torch.ops.onednn.qlinear_prepack(padded, None)
        self._few = _few_tokens_matrix(padded, self._scales, self._zero_points)

    def __call__(self, states: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        tokens = torch.ops.quantized.embedding_bag_byte_prepack(states)
        step, least = tokens[..., self._inputs :].view(torch.float32).split(1, dim=-1)
        if states.shape[:-1].numel() <= _FEW_TOKENS:
            product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                tokens.float(), 1.0, 0, self._few
            )
        else:
            product = torch.ops.onednn.qlinear_pointwise(
                tokens, 1.0, 0, self._blocks, self._scales, self._zero_points, self._zeros, 1.0, 0, torch.float32,
                "none", [], ""
            )  # fmt: skip
        return product.mul_(step).addcmul_(least, self._sums).add_(self._bias)

    def gelu(self, states: Tensor) -> Tensor:
        """The product's GELU, the exact one."""
        activated: Tensor = _aten.gelu_(self(states))
        return activated

    def plus(self, states: Tensor, added: Tensor) -> Tensor:
        """The product plus ``added``, ``(..., outputs)``."""
        return self(states).add_(added)


def _few_tokens_matrix(whole: Tensor, scales: Tensor, zero_points: Tensor) -> Any:
    """The matrix as FBGEMM multiplies it.

    torch 2.13 makes it from a quantised tensor only, and says of these that they are deprecated.

    Args:
        whole: ``(outputs, inputs)`` in int8.
        scales: ``(outputs,)``.
        zero_points: Likewise.
    """
    engine = torch.backends.quantized.engine
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor, torch.quantize_per_channel")
        quantised = torch._make_per_channel_quantized_tensor(whole, scales.double(), zero_points, 0)
        torch.backends.quantized.engine = "fbgemm"  # read in the next line, and by nothing else
        try:
            return torch.ops.quantized.linear_prepack(quantised, None)
        finally:
            torch.backends.quantized.engine = engine
