"""The frozen base in two precisions: bf16 for training's forward passes, its own float32 for the scores that count."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch.nn.functional import linear


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


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


def can_pack(device: torch.device) -> bool:
    """Whether oneDNN multiplies bf16 matrices on this device, in hardware."""
    return device.type == "cpu" and has_fast_bf16(device) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


class Packed:
    """A bf16 matrix on a CPU in the blocks that oneDNN multiplies in.

    Otherwise every product brings the matrix into blocks anew, a twentieth of the time or more with MiniLM.

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
    """A bf16 matrix of a linear layer on a CPU, and beside it the same packed.

    The numbers are the same to the last bit. It takes its bytes twice, which is what the base in float32 takes.

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
        """Multiply by the blocks; whatever else is asked of it, a matrix in bf16 as any other answers."""
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func is linear:
                states, matrix, *rest = args
                bias = rest[0] if rest else kwargs.get("bias")
                if states.dtype is torch.bfloat16 and isinstance(matrix, cls):
                    return matrix._packed(states, bias)
            return func(*args, **kwargs)


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


def cast_queries(model: Any) -> None:
    """Let a DeBERTa's queries be of autocast's type, whatever an adapter adds to them.

    It masks its attention's scores, which are of autocast's type, with the least number of its queries' type: of
    float32, which DoRA gives, that is none that bf16 has.

    Args:
        model: An adapters model of a DeBERTa, which keeps this for as long as it lives.
    """

    def cast(_: torch.nn.Module, __: Any, outputs: torch.Tensor) -> torch.Tensor:
        kind = outputs.device.type
        return outputs.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else outputs

    for name, module in model.named_modules():
        if name.endswith(".query_proj"):
            module.register_forward_hook(cast)
