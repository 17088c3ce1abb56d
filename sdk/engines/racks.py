"""Racks: one adapters module for all versions of one configuration, whose tensors have a first dimension of slots.

A forward pass reads one slot for all rows, or one for each row. So a switch is an integer, a load is a copy into a
slot, and rows of many adapters share one forward pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakValueDictionary

import torch
from adapters.methods.lora import IA3
from torch import Tensor, nn

from ..core.memory import trim_heap
from ..formats.native import ANY_SLOT, check_tensors, rename_key
from ..patches.rack_modules import RackStorage, RackTensor, can_replace, replacement
from .slots import adapter_tensors, add_slot

_DOUBLED: Final = 16
"""A rack doubles its slots up to this number, and grows by an eighth from then on."""


_WORTH_TRIMMING: Final = 16_000_000
"""The bytes released by a resize from which on a trim of the heap is worth its milliseconds."""


@dataclass(frozen=True, eq=False)
class Slot:
    """A slot of a rack that holds a version. It is in use until it is freed, or nobody keeps this any more."""

    index: int


class Rack:
    """The slots for one configuration on one model.

    A composition may need several versions of one configuration at once, so a rack is in the model under several names.
    The modules under all names read the same tensors, each name at its own slots.

    Nothing here locks. ``add_name`` and the constructor change the model, so no forward pass may run
    meanwhile; ``fill`` and ``free`` may run, one at a time, beside forward passes that read other slots.

    Args:
        model: An adapters model in evaluation mode.
        name: An adapter that ``fits``, already in the model: it becomes the rack's first name.
        config: Its full configuration.
        dtype: The type of matrices in memory.

    Examples:
        >>> rack = Rack(model, "slot000000", config, dtype=torch.float32)
        >>> slot = rack.fill(tensors, room=10)
        >>> with AdapterSetup(rack.names[0]), forward_context(ForwardContext(slots={rack.names[0]: slot.index})):
        ...     model(**batch)
    """

    def __init__(self, model: Any, name: str, config: Mapping[str, Any], *, dtype: torch.dtype) -> None:
        self._model = model
        self._config = config
        self._dtype = dtype
        # Weak: a load that is interrupted anywhere keeps no slot.
        self._used: WeakValueDictionary[int, Slot] = WeakValueDictionary()
        self.names: list[str] = []
        tensors = {}
        for key, tensor in adapter_tensors(model, name).items():
            is_vector = isinstance(model.get_submodule(key.rpartition(".")[0]), IA3)  # autocast would not cast it
            slots = tensor.new_empty((0, *tensor.shape), dtype=tensor.dtype if is_vector else dtype)
            tensors[rename_key(key, ANY_SLOT)] = slots
        self._storage = RackStorage(tensors)
        self._replace_modules(name)

    @property
    def capacity(self) -> int:
        """The number of slots."""
        return self._storage.slots

    @property
    def size(self) -> int:
        """Bytes of all slots, free ones included."""
        return self.slot_size * self.capacity

    @property
    def slot_size(self) -> int:
        """Bytes of one slot."""
        return sum(slots.shape[1:].numel() * slots.element_size() for slots in self._storage.tensors.values())

    @property
    def used(self) -> int:
        """The number of slots that hold a version."""
        return len(self._used)

    @property
    def has_lora(self) -> bool:
        """Whether it is in linear layers of the base, rather than after them."""
        return any(".loras." in key for key in self._storage.tensors)

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
        # As files have them: of one version, in float32.
        like = {key: _without_data(slots.shape[1:]) for key, slots in self._storage.tensors.items()}
        check_tensors(tensors, like, file)

    def fill(self, tensors: Mapping[str, Tensor], *, room: int) -> Slot:
        """Copy a version's tensors into a free slot and return it.

        Args:
            tensors: Tensors that ``check`` has accepted.
            room: The number of versions that fit into the capacity, this one included: at most as many slots are added.
        """
        if self.used == self.capacity:
            more = self.capacity // 8 if self.capacity >= _DOUBLED else max(self.capacity, 1)
            self._resize(self.capacity + min(more, room))
        slot = Slot(min(set(range(self.capacity)) - set(self._used)))
        self._used[slot.index] = slot
        for key, tensor in tensors.items():
            self._storage.tensors[key][slot.index].copy_(tensor)
        return slot

    def read(self, slot: Slot) -> dict[str, Tensor]:
        """A copy of a slot's tensors, as ``fill`` takes them."""
        return {key: slots[slot.index].clone() for key, slots in self._storage.tensors.items()}

    def free(self, slot: Slot) -> None:
        """Give a slot back, if it is in use; if the upper half of the slots is free, its memory too."""
        if self._used.get(slot.index) is slot:
            del self._used[slot.index]
        last = max(self._used, default=-1)
        if last + 1 <= self.capacity // 2:
            self._resize(last + 1)

    def _resize(self, capacity: int) -> None:
        """Change the number of slots; remaining slots keep their content, also for forward passes that read them.

        All new tensors are made before one takes the place of an old one: without the memory for them, or after an
        interrupt, the rack is as it was.
        """
        remaining, released = min(capacity, self.capacity), self.size
        resized = {}
        with torch.inference_mode(mode=False):  # inference tensors of a caller's block could not be filled outside it
            for key, slots in self._storage.tensors.items():
                resized[key] = slots.new_empty((capacity, *slots.shape[1:]))
                resized[key][:remaining] = slots[:remaining]
        self._storage.tensors = resized
        if released >= _WORTH_TRIMMING:  # it leaves holes into which no tensor of the new size fits
            trim_heap()

    def _replace_modules(self, name: str) -> None:
        """Put modules that read slots in the place of the adapter's own, and note the name."""
        for path, module in _modules_with_tensors(self._model, name).items():
            parent, _, child = path.rpartition(".")
            tensors = {
                parameter_name: RackTensor(self._storage, rename_key(f"{path}.{parameter_name}", ANY_SLOT))
                for parameter_name, parameter in module.named_parameters(recurse=False)
                if parameter is not None
            }
            setattr(self._model.get_submodule(parent), child, replacement(name, module, tensors))
        self.names.append(name)


def fits(model: Any, slot: str) -> bool:
    """Whether a rack can hold versions like the one in ``slot``: it has a module for each that holds tensors."""
    modules = _modules_with_tensors(model, slot)
    return bool(modules) and all(can_replace(model, path, module) for path, module in modules.items())


def _without_data(shape: torch.Size) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="meta")


def _modules_with_tensors(model: Any, slot: str) -> dict[str, nn.Module]:
    """The modules that hold the tensors of a slot, by their path in the model."""
    paths = dict.fromkeys(key.rpartition(".")[0] for key in adapter_tensors(model, slot))
    return {path: model.get_submodule(path) for path in paths}
