"""Packed matrices: bf16 matrices on a CPU in the layout that oneDNN multiplies.

torch 2.13 keeps a linear layer's matrix in rows, and oneDNN reorders it into blocks at every product: a
twentieth of the time or more on a small base. The patch keeps the blocks beside the matrix. The numbers are the same to
the last bit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch.nn.functional import linear

from ..core.devices import has_fast_bf16


def can_pack(device: torch.device) -> bool:
    """Whether oneDNN multiplies bf16 matrices on this device, in hardware."""
    return device.type == "cpu" and has_fast_bf16(device) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class Packed:
    """A bf16 matrix on a CPU in the blocks that oneDNN multiplies in.

    Args:
        matrix: ``(outputs, inputs)``.
    """

    def __init__(self, matrix: torch.Tensor) -> None:
        self._blocks: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix)

    def __call__(self, states: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """``(..., inputs)`` in bf16 to ``(..., outputs)``."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, self._blocks, bias, "none", [], "")
        return product


class PackedMatrix(torch.nn.Parameter):
    """A bf16 matrix of a linear layer on a CPU, with its packed form beside it.

    It takes twice the bytes of the bf16 matrix, as many as the matrix in float32.

    Args:
        matrix: ``(outputs, inputs)`` in bf16.
    """

    def __new__(cls, matrix: torch.Tensor) -> Self:
        """Make the parameter, which needs no gradient."""
        made: Self = torch.Tensor._make_subclass(cls, matrix, False)
        made._packed = Packed(matrix)
        return made

    _packed: Packed

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
                    return matrix._packed(states, bias)
            return func(*args, **kwargs)


def install(model: Any) -> None:
    """Pack the matrices of a model in bf16, where the device multiplies packed ones."""
    if not can_pack(model.device):
        return
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and not isinstance(module.weight, PackedMatrix):
            module.weight = PackedMatrix(module.weight)
