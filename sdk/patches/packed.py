"""Packed matrices: a matrix on a CPU in the layout that oneDNN multiplies.

torch 2.13 keeps a linear layer's matrix in rows. In bf16, oneDNN reorders it into blocks at every product, a twentieth
of the time or more on a small base; in float32, torch multiplies by MKL, which takes twice oneDNN's time on an AMD
processor. ``Packed`` keeps the blocks. In bf16 its numbers are torch's to the last bit, in float32 the same except for
rounding.

The patch packs the matrices of a model in bf16. The engines (``engines.frozen_linear``) pack those of either type.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

import torch
from torch.nn.functional import linear

from ..core.devices import has_fast_bf16

_VARIANTS: Final = {"none": "", "gelu": "none"}
"""oneDNN's variant of an activation; of GELU the exact one."""


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of a type on this device, in hardware."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype is torch.float32 or (dtype is torch.bfloat16 and has_fast_bf16(device))


class Packed:
    """A matrix on a CPU in the blocks that oneDNN multiplies in.

    Args:
        matrix: ``(outputs, inputs)`` in a type that ``can_pack``.
    """

    def __init__(self, matrix: torch.Tensor) -> None:
        self._blocks: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix)

    def __call__(
        self, states: torch.Tensor, bias: torch.Tensor | None = None, *, activation: str = "none"
    ) -> torch.Tensor:
        """``(..., inputs)`` in the matrix's type to ``(..., outputs)``.

        Args:
            states: The inputs.
            bias: ``(outputs,)``.
            activation: ``none`` or ``gelu``, computed in the same pass over the outputs.
        """
        variant = _VARIANTS[activation]
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, self._blocks, bias, activation, [], variant)
        return product

    def plus(self, states: torch.Tensor, bias: torch.Tensor | None, added: torch.Tensor) -> torch.Tensor:
        """The product plus ``added``, ``(..., outputs)``, in one pass over the outputs."""
        total: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(states, added, self._blocks, bias, "add")
        return total


class PackedMatrix(torch.nn.Parameter):
    """A bf16 matrix of a linear layer on a CPU, with its packed form beside it.

    It takes twice the bytes of the bf16 matrix, as many as the matrix in float32.

    Args:
        matrix: ``(outputs, inputs)`` in bf16.
    """

    def __new__(cls, matrix: torch.Tensor) -> Self:
        """Make the parameter, which needs no gradient."""
        made: Self = torch.Tensor._make_subclass(cls, matrix, False)
        made.packed = Packed(matrix)
        return made

    packed: Packed

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Multiply by the blocks in ``linear`` with bf16 states; in every other function be a bf16 matrix."""
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func is linear:
                states, matrix, *rest = args
                bias = rest[0] if rest else kwargs.get("bias")
                if states.dtype is torch.bfloat16 and isinstance(matrix, cls):
                    return matrix.packed(states, bias)
            return func(*args, **kwargs)


def install(model: Any) -> None:
    """Pack the matrices of a model in bf16, where the device multiplies packed ones."""
    if not can_pack(model.device, torch.bfloat16):
        return
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and not isinstance(module.weight, PackedMatrix):
            module.weight = PackedMatrix(module.weight)
