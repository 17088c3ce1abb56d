"""The modules of a rack: they take the place of an adapter's own modules, and read one slot a row."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
from adapters.methods.lora import IA3, LoRA, LoRALinear
from torch import Tensor, nn

pass


SlotIndex = int | Tensor
"""The slot of all rows, or of each: ``(rows,)`` in int64."""


_CONTAINERS: Final = ("adapters", "invertible_adapters", "loras")


_rows: ContextVar[Mapping[str, SlotIndex]] = ContextVar("rows")


@contextmanager
def reading_slots(rows: Mapping[str, SlotIndex]) -> Iterator[None]:
    """Let forward passes of this thread read these slots, by lane, inside the block."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


class _Slots:
    """One tensor of a rack, ``(slots, …)``; a rack that is resized gets another one here."""

    def __init__(self, data: Tensor) -> None:
        self.data = data

    def like(self) -> Tensor:
        """A tensor of a version's shape without content, in float32 as files have it."""
        return torch.empty(self.data.shape[1:], dtype=torch.float32, device="meta")


class _Racked(nn.Module):
    """What stands in the place of an adapter's module and looks its slots up."""

    def __init__(self, lane: str, slots: Mapping[str, _Slots]) -> None:
        super().__init__()
        self._lane = lane
        self._slots = dict(slots)

    def _read(self, name: str, rows: SlotIndex) -> Tensor:
        return self._slots[name].data[rows]


class _RackLinear(_Racked):
    """``nn.Linear`` with a weight and bias a row."""

    def __init__(self, lane: str, module: nn.Linear, slots: Mapping[str, _Slots]) -> None:
        super().__init__(lane, slots)
        self._has_bias = module.bias is not None

    def forward(self, inputs: Tensor) -> Tensor:
        """``(rows, tokens, in)`` to ``(rows, tokens, out)``."""
        rows = _rows.get()[self._lane]
        weight = self._read("weight", rows)
        bias = self._read("bias", rows) if self._has_bias else None
        if isinstance(rows, int):
            return nn.functional.linear(inputs, weight, bias)
        if bias is None:
            return torch.bmm(inputs, weight.transpose(1, 2))
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2))


class _RackUpdate(_Racked):
    """What adapters' ``LoRALinear`` asks of an update beside its outputs: no DoRA and no gate, which no rack holds."""

    use_dora = False
    use_gating = False

    def __init__(self, lane: str, module: LoRA | IA3, slots: Mapping[str, _Slots]) -> None:
        super().__init__(lane, slots)
        self._scaling = float(module.scaling)


class _RackLoRA(_RackUpdate):
    """``adapters.methods.lora.LoRA`` with matrices a row (Hu et al. 2021, arXiv:2106.09685)."""

    def forward(self, hidden: Tensor | None, layer_input: Tensor) -> tuple[Tensor, None]:
        """The update's outputs, ``(rows, tokens, out)``; there is no gate."""
        rows = _rows.get()[self._lane]
        inputs = layer_input if hidden is None else hidden
        down, up = self._read("lora_A", rows), self._read("lora_B", rows)
        if isinstance(rows, int):
            return inputs @ down.t() @ up.t() * self._scaling, None
        return torch.bmm(torch.bmm(inputs, down.transpose(1, 2)), up.transpose(1, 2)) * self._scaling, None

    def com(self, weights: Tensor, added: Tensor, scaling: float) -> Tensor:
        """The layer's outputs with the update's."""
        return weights + added * scaling


class _RackIA3(_RackUpdate):
    """``adapters.methods.lora.IA3`` with a vector a row (Liu et al. 2022, arXiv:2205.05638)."""

    def forward(self, hidden: Tensor | None, layer_input: Tensor) -> tuple[Tensor, None]:
        """The factors, ``(rows or 1, 1, out)``; there is no gate."""
        rows = _rows.get()[self._lane]
        vectors = self._read("lora_B", rows)
        factors = vectors.view(1 if isinstance(rows, int) else len(vectors), 1, -1)
        return (factors if hidden is None else hidden * factors) * self._scaling, None

    def com(self, weights: Tensor, added: Tensor, scaling: float) -> Tensor:
        """The layer's outputs times the factors."""
        return weights * (added * scaling)


def _racked(lane: str, module: nn.Module, slots: Mapping[str, _Slots]) -> _Racked:
    match module:
        case nn.Linear():
            return _RackLinear(lane, module, slots)
        case IA3():
            return _RackIA3(lane, module, slots)
        case LoRA():
            return _RackLoRA(lane, module, slots)
    raise TypeError(f"no rack holds a {type(module).__name__}")


def _can_replace(model: Any, path: str, module: nn.Module) -> bool:
    container, _, inside = path.partition(f".{_container(path)}.")
    if isinstance(module, nn.Linear):
        return _container(path) in _CONTAINERS[:2] and bool(inside)
    if type(module) not in (LoRA, IA3) or module.use_gating or module.use_dora:
        return False
    return isinstance(model.get_submodule(container), LoRALinear)


def _container(path: str) -> str:
    return next((part for part in path.split(".") if part in _CONTAINERS), "")
