"""Racks: one adapters module for all versions of one configuration, whose tensors have a first dimension of slots.

A forward pass reads one slot for all rows, or one for each row. So a switch is an integer, a load is a copy into a
slot, and rows of many adapters share one forward pass.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from adapters.methods.lora import IA3
from torch import Tensor, nn

from ..core.memory import trim_heap
from ..formats.native import ANY_SLOT, check_tensors, rename_key
from ..patches.rack_modules import RackTensor, can_replace, replacement
from .slots import adapter_tensors, add_slot, remove_slot

_DOUBLED: Final = 16
"""A rack doubles its slots up to this number, and grows by an eighth from then on."""


_WORTH_TRIMMING: Final = 16_000_000
"""The bytes released by a resize from which on a trim of the heap is worth its milliseconds."""


class Rack:
    """The slots for one configuration on one model.

    A composition may need several versions of one configuration at once, so a rack is in the model under several names.
    The modules under all names read the same tensors, each name at its own slots.

    Nothing here locks. ``add_name``, ``remove`` and the constructor change the model, so no forward pass may run
    meanwhile; ``fill`` and ``free`` may run, one at a time, beside forward passes that read other slots.

    Args:
        model: An adapters model in evaluation mode.
        name: An adapter that ``fits``, already in the model: it becomes the rack's first name.
        config: Its full configuration.
        dtype: The type of matrices in memory.

    Examples:
        >>> rack = Rack(model, "slot000000", config, dtype=torch.float32)
        >>> slot = rack.fill(tensors, room=10)
        >>> with AdapterSetup(rack.names[0]), forward_context(ForwardContext(slots={rack.names[0]: slot})):
        ...     model(**batch)
    """

    def __init__(self, model: Any, name: str, config: Mapping[str, Any], *, dtype: torch.dtype) -> None:
        self._model = model
        self._config = config
        self._dtype = dtype
        self._tensors: dict[str, RackTensor] = {}
        self._free: set[int] = set()
        self.capacity = 0
        self.names: list[str] = []
        for key, tensor in adapter_tensors(model, name).items():
            is_vector = isinstance(model.get_submodule(key.rpartition(".")[0]), IA3)  # autocast would not cast it
            slots = tensor.new_empty((0, *tensor.shape), dtype=tensor.dtype if is_vector else dtype)
            self._tensors[rename_key(key, ANY_SLOT)] = RackTensor(slots)
        self._replace_modules(name)

    @property
    def size(self) -> int:
        """Bytes of all slots, free ones included."""
        return self.slot_size * self.capacity

    @property
    def slot_size(self) -> int:
        """Bytes of one slot."""
        return sum(slots.like_version().numel() * slots.data.element_size() for slots in self._tensors.values())

    @property
    def used(self) -> int:
        """The number of slots that hold a version."""
        return self.capacity - len(self._free)

    @property
    def has_lora(self) -> bool:
        """Whether it is in linear layers of the base, rather than after them."""
        return any(".loras." in key for key in self._tensors)

    def add_name(self, name: str) -> None:
        """Add the rack to the model under one more name."""
        add_slot(self._model, name, self._config)
        self._replace_modules(name)

    def check(self, tensors: Mapping[str, Tensor], file: str) -> None:
        """Refuse tensors that are not exactly those of a version of this configuration.

        Args:
            tensors: By their names in the slot ``ANY_SLOT``, in float32.
            file: The name of their source in an error.

        Raises:
            WeightsError: They are not.
        """
        check_tensors(tensors, {key: slots.like_version() for key, slots in self._tensors.items()}, file)

    def fill(self, tensors: Mapping[str, Tensor], *, room: int) -> int:
        """Copy a version's tensors into a free slot and return its index.

        Args:
            tensors: Tensors that ``check`` has accepted.
            room: The number of versions that fit into the capacity, this one included: at most as many slots are added.
        """
        if not self._free:
            more = self.capacity // 8 if self.capacity >= _DOUBLED else max(self.capacity, 1)
            self._resize(self.capacity + min(more, room))
        slot = min(self._free)
        for key, tensor in tensors.items():
            self._tensors[key].data[slot].copy_(tensor)
        self._free.remove(slot)
        return slot

    def read(self, slot: int) -> dict[str, Tensor]:
        """A copy of a slot's tensors, as ``fill`` takes them."""
        return {key: slots.data[slot].clone() for key, slots in self._tensors.items()}

    def free(self, slot: int) -> None:
        """Give a slot back; if the upper half of the slots is free, its memory too."""
        self._free.add(slot)
        last = max((index for index in range(self.capacity) if index not in self._free), default=-1)
        if last + 1 <= self.capacity // 2:
            self._resize(last + 1)

    def remove(self) -> None:
        """Remove the rack from the model."""
        for name in self.names:
            remove_slot(self._model, name)

    def _resize(self, capacity: int) -> None:
        """Change the number of slots; remaining slots keep their content, also for forward passes that read them."""
        remaining, released = min(capacity, self.capacity), self.size
        with torch.inference_mode(mode=False):  # inference tensors of a caller's block could not be filled outside it
            for slots in self._tensors.values():
                data = slots.data.new_empty((capacity, *slots.data.shape[1:]))
                data[:remaining] = slots.data[:remaining]
                slots.data = data
        self._free = {slot for slot in self._free if slot < capacity} | set(range(self.capacity, capacity))
        self.capacity = capacity
        if released >= _WORTH_TRIMMING:  # it leaves holes into which no tensor of the new size fits
            trim_heap()

    def _replace_modules(self, name: str) -> None:
        """Put modules that read slots in the place of the adapter's own, and note the name."""
        for path, module in _modules_with_tensors(self._model, name).items():
            parent, _, child = path.rpartition(".")
            tensors = {
                parameter_name: self._tensors[rename_key(f"{path}.{parameter_name}", ANY_SLOT)]
                for parameter_name, parameter in module.named_parameters(recurse=False)
                if parameter is not None
            }
            setattr(self._model.get_submodule(parent), child, replacement(name, module, tensors))
        self.names.append(name)


def fits(model: Any, slot: str) -> bool:
    """Whether a rack can hold versions like the one in ``slot``: it has a module for each that holds tensors."""
    modules = _modules_with_tensors(model, slot)
    return bool(modules) and all(can_replace(model, path, module) for path, module in modules.items())


def _modules_with_tensors(model: Any, slot: str) -> dict[str, nn.Module]:
    """The modules that hold the tensors of a slot, by their path in the model."""
    paths = dict.fromkeys(key.rpartition(".")[0] for key in adapter_tensors(model, slot))
    return {path: model.get_submodule(path) for path in paths}
