"""Where versions are in the model: in a slot of a rack, under a name of their own, or as a fusion layer."""

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor

from pointsman.registry.locks import SharedLock

from ...engines.encoder import Encoder
from ...engines.fusion_layers import fill_fusion, remove_fusion
from ...engines.racks import Rack, Slot, fits
from ...engines.slots import adapter_tensors, fill_slot, remove_slot, slot_name
from ...formats.native import ADAPTER_WEIGHTS, ANY_SLOT, ModuleState, rename_key
from .adapter_files import AdapterFiles


@dataclass(frozen=True, eq=False)
class InRack:
    """The place of a version in a slot of a rack."""

    rack: Rack
    slot: Slot


@dataclass(frozen=True, eq=False)
class Standalone:
    """The place of a version whose configuration fits into no rack: an adapter under this name in the model."""

    name: str


@dataclass(frozen=True, eq=False)
class InFusion:
    """The place of a fusion layer: under this name in the model."""

    name: str


Place = InRack | Standalone | InFusion


class Placement:
    """Puts versions into one model and takes them out.

    ``find_place``, ``fuse`` and ``fill`` must be called by one thread at a time; the rest may be called by any.

    Args:
        model: An adapters model in evaluation mode.
        dtype: The type of the matrices in racks.
        encoder: The fast engine for the model, if there is one.
    """

    def __init__(self, model: Any, *, dtype: torch.dtype, encoder: Encoder | None = None) -> None:
        self.model: Any = model
        """None once it is closed."""
        self.encoder = encoder
        """None also once it is closed."""
        self.model_lock = SharedLock()
        """Held shared in a forward pass, alone to change the model."""
        self._dtype = dtype
        self._rack_lock = threading.Lock()  # over the slots of all racks
        self._racks: dict[str, Rack | None] = {}  # by configuration; None: versions of it fit into no rack
        self._names = count()
        # By name in the model, entered before anything is built. Weak: a load or an eviction that is interrupted
        # anywhere leaves a name without an owner, which is removed before the next load.
        self._owners: dict[str, tuple[weakref.ref[Any], Callable[[Any, str], None]]] = {}

    @property
    def racks(self) -> list[Rack]:
        """The racks on the model."""
        return [rack for rack in list(self._racks.values()) if rack is not None]

    def find_place(self, files: AdapterFiles) -> Rack | Standalone:
        """Return the rack that a version fits into, opened if need be; or place a version that fits into none.

        Raises:
            WeightsError: The tensors are not those of the configuration.
        """
        self._remove_left()
        if files.key not in self._racks:
            return self._open_rack(files)
        rack = self._racks[files.key]
        if rack is None:
            return self._stand_alone(files)
        if not files.checked:
            rack.check(files.adapter.tensors, ADAPTER_WEIGHTS)
        return rack

    def fill(self, rack: Rack, files: AdapterFiles, *, room: int) -> InRack:
        """Copy a version into a free slot of the rack that ``find_place`` gave.

        Args:
            rack: The rack.
            files: The version's files.
            room: How many versions there is room for, this one included.
        """
        with self._rack_lock:
            return InRack(rack, rack.fill(files.adapter.tensors, room=room))

    def fuse(self, files: AdapterFiles, members: Sequence[Place]) -> InFusion:
        """Place a fusion layer over members that are in the model.

        Raises:
            WeightsError: The tensors are not those of the configuration.
        """
        self._remove_left()
        names = [place.rack.names[0] if isinstance(place, InRack) else place.name for place in members]
        place = InFusion(self._next_name())
        with self._model_alone():
            self._owners[place.name] = weakref.ref(place), remove_fusion
            fill_fusion(self.model, place.name, names, files.adapter)
        return place

    def read(self, place: InRack | Standalone) -> Mapping[str, Tensor]:
        """A copy of a version's tensors, by their names in the slot ``ANY_SLOT``."""
        if isinstance(place, InRack):
            return place.rack.read(place.slot)
        with self.model_lock.shared():
            tensors = adapter_tensors(self.model, place.name)
        # Some are one tensor under several names.
        keys = {(tensor.data_ptr(), tensor.shape): key for key, tensor in tensors.items()}.values()
        return {rename_key(key, ANY_SLOT): tensors[key].clone() for key in keys}

    def free(self, place: Place) -> None:
        """Take a version out of its place."""
        match place:
            case InRack(rack, slot):
                with self._rack_lock:
                    rack.free(slot)
            case Standalone(name) | InFusion(name):
                with self._model_alone():
                    if self.model is not None:  # else it was closed meanwhile
                        self._remove(name)

    def rack_name(self, rack: Rack, number: int) -> str:
        """The rack's name in the model for the ``number``-th of its versions in one composition."""
        while len(rack.names) <= number:
            with self._model_alone():
                if len(rack.names) <= number:
                    name = self._next_name()
                    self._owners[name] = weakref.ref(rack), remove_slot
                    rack.add_name(name)
        return rack.names[number]

    def close(self) -> None:
        """Let go of the model, once no forward pass uses it."""
        with self._model_alone():
            self._racks, self._owners, self.model, self.encoder = {}, {}, None, None

    @contextmanager
    def _model_alone(self) -> Iterator[None]:
        """Hold the model alone to change it; the fast engine finds its modules anew."""
        with self.model_lock.alone():
            try:
                yield
            finally:
                if self.encoder is not None:
                    self.encoder.forget()

    def _next_name(self) -> str:
        return slot_name(next(self._names))

    def _remove(self, name: str) -> None:
        """Remove what has a name in the model, if it has; no forward pass may run meanwhile."""
        if name in self._owners:
            self._owners[name][1](self.model, name)
            del self._owners[name]

    def _remove_left(self) -> None:
        """Remove what has no owner any more."""
        left = [name for name, (owner, _) in list(self._owners.items()) if owner() is None]
        if left:
            with self._model_alone():
                for name in left:
                    self._remove(name)

    def _open_rack(self, files: AdapterFiles) -> Rack | Standalone:
        """Find out on a version whether those of its configuration fit into a rack, and if so open it."""
        place = self._stand_alone(files)  # which also refuses wrong tensors
        with self._model_alone():
            if not fits(self.model, place.name):
                self._racks[files.key] = None
                return place
            for key, unused in list(self._racks.items()):
                if unused is not None and not unused.used:
                    del self._racks[key]
                    for name in unused.names:
                        self._remove(name)
            rack = Rack(self.model, place.name, files.adapter.config, dtype=self._dtype)
            self._owners[place.name] = weakref.ref(rack), remove_slot
            self._racks[files.key] = rack
        return rack

    def _stand_alone(self, files: AdapterFiles) -> Standalone:
        place = Standalone(self._next_name())
        adapter = files.adapter
        if files.checked:  # read back from the model, possibly in the type of a rack
            tensors = {key: tensor.float() for key, tensor in adapter.tensors.items()}
            adapter = ModuleState(config=adapter.config, tensors=tensors)
        with self._model_alone():
            self._owners[place.name] = weakref.ref(place), remove_slot
            fill_slot(self.model, place.name, adapter)
            self.model.eval()
        return place
