"""The modules of a rack: they take the place of an adapter's own modules, and read one slot for each row.

An adapter module of adapters 1.3.0 holds the weights of one adapter for all rows. In a mixed batch ``BatchSplit`` runs
the modules one after another on parts of the batch, and every adapter in memory makes each switch slower. The modules
of a rack hold the weights of many versions in one tensor, and read those of each row: one product for all adapters.

``replacement`` makes the module for one of an adapter's own. It is applied when a rack is opened or gets another name
(``engines.racks``), since the adapter is added to the model just before.
"""

from collections.abc import Mapping
from typing import Final

import torch
from adapters.methods.lora import IA3, LoRA, LoRALinear
from torch import Tensor, nn

from .forward_context import SlotIndex, current_context

_BOTTLENECK_CONTAINERS: Final = ("adapters", "invertible_adapters")

_CONTAINERS: Final = (*_BOTTLENECK_CONTAINERS, "loras")
"""The modules of a model that hold its adapters' own modules by name."""


class RackStorage:
    """The tensors of a rack, ``(slots, …)`` each, by name.

    A resize replaces ``tensors`` as a whole, in one assignment: an interruption leaves all as they were or all resized.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = dict(tensors)

    @property
    def slots(self) -> int:
        """The number of slots."""
        return len(next(iter(self.tensors.values())))


class RackTensor:
    """One tensor of a rack, as it is now.

    Args:
        storage: The rack's.
        name: The tensor's name in it.
    """

    def __init__(self, storage: RackStorage, name: str) -> None:
        self._storage = storage
        self._name = name

    @property
    def data(self) -> Tensor:
        """``(slots, …)``."""
        return self._storage.tensors[self._name]


class RackModule(nn.Module):
    """A module of a rack. It reads its slots from the forward context.

    Args:
        rack: The rack's name in the model.
        tensors: The rack's tensors for this module, by their names in the module that it replaces.
    """

    def __init__(self, rack: str, tensors: Mapping[str, RackTensor]) -> None:
        super().__init__()
        self._rack = rack
        self._tensors = dict(tensors)

    def slots(self) -> SlotIndex:
        """The slot of all rows, or one for each row.

        Raises:
            LookupError: The forward pass has no context, or its context names no slot for this rack.
        """
        context = current_context()
        if context is None:
            raise LookupError(f"the rack '{self._rack}' runs outside a forward context, which names its slots")
        return context.slots[self._rack]

    def read(self, name: str, slots: SlotIndex) -> Tensor:
        """The tensor of that name in these slots: ``(…)`` for one slot, ``(rows, …)`` for one each row."""
        return self._tensors[name].data[slots]


class RackLinear(RackModule):
    """``nn.Linear`` with a weight and bias for each row."""

    def __init__(self, rack: str, module: nn.Linear, tensors: Mapping[str, RackTensor]) -> None:
        super().__init__(rack, tensors)
        self._has_bias = module.bias is not None

    def forward(self, inputs: Tensor) -> Tensor:
        """``(rows, tokens, in)`` to ``(rows, tokens, out)``."""
        slots = self.slots()
        weight = self.read("weight", slots)
        bias = self.read("bias", slots) if self._has_bias else None
        if isinstance(slots, int):
            return nn.functional.linear(inputs, weight, bias)
        if bias is None:
            return torch.bmm(inputs, weight.transpose(1, 2))
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight.transpose(1, 2))


class RackUpdate(RackModule):
    """A LoRA or IA3 in a rack. ``LoRALinear`` reads the flags: no rack holds DoRA, nor a gate."""

    use_dora = False
    use_gating = False

    def __init__(self, rack: str, module: LoRA | IA3, tensors: Mapping[str, RackTensor]) -> None:
        super().__init__(rack, tensors)
        self.scaling = float(module.scaling)


class RackLoRA(RackUpdate):
    """``adapters.methods.lora.LoRA`` with matrices for each row (Hu et al. 2021, arXiv:2106.09685)."""

    def forward(self, hidden: Tensor | None, layer_input: Tensor) -> tuple[Tensor, None]:
        """The update's outputs, ``(rows, tokens, out)``; there is no gate."""
        slots = self.slots()
        inputs = layer_input if hidden is None else hidden
        down, up = self.read("lora_A", slots), self.read("lora_B", slots)
        if isinstance(slots, int):
            return inputs @ down.t() @ up.t() * self.scaling, None
        return torch.bmm(torch.bmm(inputs, down.transpose(1, 2)), up.transpose(1, 2)) * self.scaling, None

    def com(self, weights: Tensor, added: Tensor, scaling: float) -> Tensor:
        """The layer's outputs plus the update's."""
        return weights + added * scaling


class RackIA3(RackUpdate):
    """``adapters.methods.lora.IA3`` with a vector for each row (Liu et al. 2022, arXiv:2205.05638)."""

    def forward(self, hidden: Tensor | None, layer_input: Tensor) -> tuple[Tensor, None]:
        """The factors, ``(rows or 1, 1, out)``; there is no gate."""
        slots = self.slots()
        vectors = self.read("lora_B", slots)
        factors = vectors.view(1 if isinstance(slots, int) else len(vectors), 1, -1)
        return (factors if hidden is None else hidden * factors) * self.scaling, None

    def com(self, weights: Tensor, added: Tensor, scaling: float) -> Tensor:
        """The layer's outputs times the factors."""
        return weights * (added * scaling)


def replacement(rack: str, module: nn.Module, tensors: Mapping[str, RackTensor]) -> RackModule:
    """The module of a rack for one of an adapter's own modules.

    Args:
        rack: The rack's name in the model.
        module: What ``can_replace`` accepts.
        tensors: The rack's tensors for it, by their names in the module.
    """
    match module:
        case nn.Linear():
            return RackLinear(rack, module, tensors)
        case IA3():
            return RackIA3(rack, module, tensors)
        case LoRA():
            return RackLoRA(rack, module, tensors)
    raise TypeError(f"a rack cannot hold a {type(module).__name__}; it holds nn.Linear, LoRA and IA3")


def can_replace(model: nn.Module, path: str, module: nn.Module) -> bool:
    """Whether a rack can hold an adapter's module: a linear layer of a bottleneck, or a plain LoRA or IA3.

    Args:
        model: An adapters model.
        path: The module's path in it.
        module: The module.
    """
    container = next((part for part in path.split(".") if part in _CONTAINERS), "")
    owner, _, inside = path.partition(f".{container}.")
    if isinstance(module, nn.Linear):
        return container in _BOTTLENECK_CONTAINERS and bool(inside)
    if type(module) not in (LoRA, IA3) or module.use_gating or module.use_dora:
        return False
    return isinstance(model.get_submodule(owner), LoRALinear)
