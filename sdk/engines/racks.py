"""Racks: one adapters module for all versions of one configuration, whose tensors have a first dimension of slots.

A forward pass reads one slot for all rows, or one a row. So a switch is an integer, a load is a copy into a slot, and
rows of many adapters share one forward pass.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from adapters.methods.lora import IA3
from torch import Tensor, nn

from ..core.memory import trim_heap
from ..formats.native import ANY_SLOT, check_tensors, rename_key
from ..patches.rack_modules import _can_replace, _racked, _Slots
from .slots import adapter_tensors, add_slot, remove_slot

_DOUBLED: Final = 16
"""Slots up to which a rack doubles; from then on it grows by an eighth."""


_WORTH_TRIMMING: Final = 16_000_000
"""Bytes that a rack lets go of when it is resized, from which on they are worth the milliseconds of a trim."""


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
        for key, tensor in adapter_tensors(model, lane).items():
            vector = isinstance(model.get_submodule(key.rpartition(".")[0]), IA3)  # nothing that autocast would cast
            kept = tensor.new_empty((0, *tensor.shape), dtype=tensor.dtype if vector else dtype)
            self._tensors[rename_key(key, ANY_SLOT)] = _Slots(kept)
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
        add_slot(self._model, lane, self._config)
        self._replace(lane)

    def check(self, tensors: Mapping[str, Tensor], file: str) -> None:
        """Refuse tensors that are not exactly those of a version of this configuration.

        Args:
            tensors: By their names in the slot ``ANY_SLOT``, in float32.
            file: What to call their source in an error.

        Raises:
            WeightsError: They are not.
        """
        check_tensors(tensors, {key: slots.like() for key, slots in self._tensors.items()}, file)

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
            remove_slot(self._model, name)

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
            trim_heap()

    def _replace(self, lane: str) -> None:
        """Put modules that look slots up in the place of the lane's own."""
        for path, module in _owners(self._model, lane).items():
            parent, _, child = path.rpartition(".")
            slots = {
                leaf: self._tensors[rename_key(f"{path}.{leaf}", ANY_SLOT)]
                for leaf, parameter in module.named_parameters(recurse=False)
                if parameter is not None
            }
            setattr(self._model.get_submodule(parent), child, _racked(lane, module, slots))
        self.lanes.append(lane)


def fits(model: Any, slot: str) -> bool:
    """Whether versions like the one in ``slot`` can be in a rack: all its tensors are where rows can look them up."""
    owners = _owners(model, slot)
    return bool(owners) and all(_can_replace(model, path, module) for path, module in owners.items())


def _owners(model: Any, slot: str) -> dict[str, nn.Module]:
    """The modules that hold the tensors of a slot, by their path in the model."""
    paths = dict.fromkeys(key.rpartition(".")[0] for key in adapter_tensors(model, slot))
    return {path: model.get_submodule(path) for path in paths}
