"""Racks: one adapter module for all versions of one configuration, whose tensors have a first dimension of slots.

Which slot a forward pass reads is an integer a row, or one for all rows, and belongs to the thread. So a switch is an
integer, loading is a copy into a slot, and rows of many adapters share one forward pass.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
from adapters.methods.lora import IA3, LoRA, LoRALinear
from torch import Tensor, nn

from .. import weights
from ..heap import trim

Rows = int | Tensor
"""The slot of all rows, or of each: ``(rows,)`` in int64."""

_CONTAINERS: Final = ("adapters", "invertible_adapters", "loras")
_DOUBLED: Final = 16
"""Slots up to which a rack doubles; from then on it grows by an eighth."""
_WORTH_TRIMMING: Final = 16_000_000
"""Bytes that a rack lets go of when it is resized, from which on they are worth the milliseconds of a trim."""
_rows: ContextVar[Mapping[str, Rows]] = ContextVar("rows")


@contextmanager
def reading(rows: Mapping[str, Rows]) -> Iterator[None]:
    """Let forward passes of this thread read these slots, by lane, inside the block."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


class Rack:
    """The slots for one configuration on one model.

    A composition may need several versions of it at once, so a rack stands in the model under several names, *lanes*,
    which all read the same tensors, each at its own rows' slots.

    Nothing here locks: ``add_lane``, ``remove`` and the constructor change the model, so no forward pass may be under
    way; ``fill`` and ``free`` may run beside forward passes that read other slots, one at a time.

    Args:
        model: An adapters model in evaluation mode.
        lane: An adapter that ``fits``, in the model already: it becomes the first lane.
        config: Its full configuration.
        dtype: What matrices are kept in.
    """

    def __init__(self, model: Any, lane: str, config: Mapping[str, Any], *, dtype: torch.dtype) -> None:
        self._model = model
        self._config = config
        self._dtype = dtype
        self._tensors: dict[str, _Slots] = {}
        self._free: set[int] = set()
        self.capacity = 0
        self.lanes: list[str] = []
        for key, tensor in weights.adapter_tensors(model, lane).items():
            vector = isinstance(model.get_submodule(key.rpartition(".")[0]), IA3)  # nothing that autocast would cast
            kept = tensor.new_empty((0, *tensor.shape), dtype=tensor.dtype if vector else dtype)
            self._tensors[weights.rename(key, weights.ANY_SLOT)] = _Slots(kept)
        self._replace(lane)

    @property
    def size(self) -> int:
        """Bytes of all slots, free ones included."""
        return self.slot_size * self.capacity

    @property
    def slot_size(self) -> int:
        """Bytes of one slot."""
        return sum(slots.like().numel() * slots.data.element_size() for slots in self._tensors.values())

    @property
    def used(self) -> int:
        """How many slots hold a version."""
        return self.capacity - len(self._free)

    @property
    def has_lora(self) -> bool:
        """Whether it is in linear layers of the base, rather than after them."""
        return any(".loras." in key for key in self._tensors)

    def add_lane(self, lane: str) -> None:
        """Put the rack into the model under one more name."""
        weights.add_slot(self._model, lane, self._config)
        self._replace(lane)

    def check(self, tensors: Mapping[str, Tensor], file: str) -> None:
        """Refuse tensors that are not exactly those of a version of this configuration.

        Args:
            tensors: By their names in the slot ``ANY_SLOT``, in float32.
            file: What to call their source in an error.

        Raises:
            WeightsError: They are not.
        """
        weights.check_tensors(tensors, {key: slots.like() for key, slots in self._tensors.items()}, file)

    def fill(self, tensors: Mapping[str, Tensor], *, left: int) -> int:
        """Copy a version's tensors into a free slot and return its index.

        Args:
            tensors: What has been checked.
            left: How many versions there is room for, this one included: no more slots are added than that.
        """
        if not self._free:
            more = self.capacity // 8 if self.capacity >= _DOUBLED else max(self.capacity, 1)
            self._resize(self.capacity + min(more, left))
        slot = min(self._free)
        for key, tensor in tensors.items():
            self._tensors[key].data[slot].copy_(tensor)
        self._free.remove(slot)
        return slot

    def read(self, slot: int) -> dict[str, Tensor]:
        """A copy of a slot's tensors, as ``fill`` takes them."""
        return {key: slots.data[slot].clone() for key, slots in self._tensors.items()}

    def free(self, slot: int) -> None:
        """Give a slot back; where many are free at the end, their memory too."""
        self._free.add(slot)
        last = max((index for index in range(self.capacity) if index not in self._free), default=-1)
        if last + 1 <= self.capacity // 2:
            self._resize(last + 1)

    def remove(self) -> None:
        """Take the rack out of the model."""
        for name in self.lanes:
            weights.remove_slot(self._model, name)

    def _resize(self, capacity: int) -> None:
        """Have so many slots; what is in those that stay, stays, also for who reads them meanwhile."""
        kept, let_go = min(capacity, self.capacity), self.size
        with torch.inference_mode(mode=False):  # a caller's would make tensors that cannot be filled outside of it
            for slots in self._tensors.values():
                data = slots.data.new_empty((capacity, *slots.data.shape[1:]))
                data[:kept] = slots.data[:kept]
                slots.data = data
        self._free = {slot for slot in self._free if slot < capacity} | set(range(self.capacity, capacity))
        self.capacity = capacity
        if let_go >= _WORTH_TRIMMING:  # it leaves holes that nothing of the new size fits into
            trim()

    def _replace(self, lane: str) -> None:
        """Put modules that look slots up in the place of the lane's own."""
        for path, module in _owners(self._model, lane).items():
            parent, _, child = path.rpartition(".")
            slots = {
                leaf: self._tensors[weights.rename(f"{path}.{leaf}", weights.ANY_SLOT)]
                for leaf, parameter in module.named_parameters(recurse=False)
                if parameter is not None
            }
            setattr(self._model.get_submodule(parent), child, _racked(lane, module, slots))
        self.lanes.append(lane)


def fits(model: Any, slot: str) -> bool:
    """Whether versions like the one in ``slot`` can be in a rack: all its tensors are where rows can look them up."""
    owners = _owners(model, slot)
    return bool(owners) and all(_can_replace(model, path, module) for path, module in owners.items())


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

    def _read(self, name: str, rows: Rows) -> Tensor:
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


def _owners(model: Any, slot: str) -> dict[str, nn.Module]:
    """The modules that hold the tensors of a slot, by their path in the model."""
    paths = dict.fromkeys(key.rpartition(".")[0] for key in weights.adapter_tensors(model, slot))
    return {path: model.get_submodule(path) for path in paths}


def _can_replace(model: Any, path: str, module: nn.Module) -> bool:
    container, _, inside = path.partition(f".{_container(path)}.")
    if isinstance(module, nn.Linear):
        return _container(path) in _CONTAINERS[:2] and bool(inside)
    if type(module) not in (LoRA, IA3) or module.use_gating or module.use_dora:
        return False
    return isinstance(model.get_submodule(container), LoRALinear)


def _container(path: str) -> str:
    return next((part for part in path.split(".") if part in _CONTAINERS), "")
