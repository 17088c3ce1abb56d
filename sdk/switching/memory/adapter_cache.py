"""The versions in memory: loaded when they are asked for, kept while they are used, and no more than fit."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch

from pointsman.registry import Registry, Version
from pointsman.registry.errors import SettingsError

from ...core.locks import SharedLock
from ...engines.fusion_layers import fill_fusion, remove_fusion
from ...engines.racks import Rack, fits
from ...engines.slots import adapter_tensors, fill_slot, remove_slot, slot_name
from ...formats.native import ADAPTER_WEIGHTS, ANY_SLOT, ModuleState, rename_key
from ...methods.fusion import fusion_members, is_fusion
from ...methods.support import is_tokenwise, reads_padding
from ...tasks import Task
from .adapter_files import AdapterFiles
from .loaded import Capacity, InFusion, InRack, LoadedAdapter, Standalone


class AdapterCache:
    """The versions in memory on one model.

    Loads come one after another and wait for forward passes only where the model itself changes, that is for the first
    version of a configuration. What is leased stays as it is until it is given back.

    Args:
        registry: Where versions come from.
        model: An adapters model in evaluation mode.
        capacity: How much is kept.
        dtype: What matrices are kept in.
    """

    def __init__(self, registry: Registry, model: Any, *, capacity: Capacity, dtype: torch.dtype) -> None:
        self.model_lock = SharedLock()
        """Held shared in a forward pass, alone to change the model."""
        self._registry = registry
        self._model = model
        self._capacity = capacity
        self._dtype = dtype
        self._loading = threading.Lock()
        self._changed = threading.Condition()  # over the five below
        self._leases = 0
        self._loaded: dict[str, LoadedAdapter] = {}
        self._warm: OrderedDict[str, AdapterFiles] = OrderedDict()
        self._pins: set[str] = set()
        self._closed = False
        self._rack_lock = threading.Lock()
        self._racks: dict[str, Rack | None] = {}  # by configuration; None: it fits into none
        self._names, self._turns = count(), count()

    @property
    def loaded(self) -> list[LoadedAdapter]:
        """The versions in memory, in the order they were loaded."""
        with self._changed:
            return list(self._loaded.values())

    @property
    def warm(self) -> int:
        """How many evicted versions are kept beside the model."""
        return len(self._warm)

    @property
    def racks(self) -> list[Rack]:
        """The racks on the model."""
        return [rack for rack in list(self._racks.values()) if rack is not None]

    @contextmanager
    def lease(self, versions: Sequence[Version]) -> Iterator[dict[str, LoadedAdapter]]:
        """The versions, by ref, loaded if need be; inside the block they stay as they are.

        Raises:
            SettingsError: They do not fit into the capacity together, or it is closed.
            StoreError, WeightsError: Files are missing, damaged or do not fit; what was loaded goes on working.
        """
        taken: dict[str, LoadedAdapter] = {}
        try:
            self._take(versions, taken)
            yield taken
        finally:
            self._give_back(taken.values())

    def pin(self, versions: Sequence[Version]) -> None:
        """Load versions and keep them, whatever else is loaded."""
        with self.lease(versions) as taken, self._changed:
            self._pins |= taken.keys() & self._loaded.keys()  # without what was unloaded just now

    def unpin(self, refs: Sequence[str]) -> None:
        """Let versions go as others do."""
        with self._changed:
            self._pins -= set(refs)
            self._changed.notify_all()

    def is_pinned(self, ref: str) -> bool:
        """Whether a version is kept whatever else is loaded."""
        return ref in self._pins

    def unload(self, ref: str) -> None:
        """Take a version out: at once for who asks from now on, and for good once nobody uses it."""
        with self._changed:
            loaded = self._loaded.pop(ref, None)
            self._warm.pop(ref, None)
            self._pins.discard(ref)
            if loaded is not None:
                loaded.going = True
            self._changed.notify_all()
            ended = loaded is not None and not loaded.leases
        if loaded is not None and ended:
            self._free(loaded.place)

    def lane(self, rack: Rack, number: int) -> str:
        """The rack's name in the model for the ``number``-th of its versions in one composition."""
        while len(rack.names) <= number:
            with self.model_lock.alone():
                if len(rack.names) <= number:
                    rack.add_name(slot_name(next(self._names)))
        return rack.names[number]

    def close(self) -> None:
        """Refuse whatever comes, and take everything out once nobody uses it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with self._loading:
            with self._changed:
                self._changed.wait_for(lambda: not self._leases)
                self._loaded = {}
                self._warm.clear()
            with self.model_lock.alone():
                self._racks, self._model = {}, None

    def _take(self, versions: Sequence[Version], taken: dict[str, LoadedAdapter]) -> None:
        with self._changed:
            self._check_open()
            if all(version.ref in self._loaded for version in versions):
                for version in versions:
                    self._lease(version.ref, taken)
                return
        # Whoever waits here holds no lease, and who is inside waits for leases of others at most: these are given back.
        with self._loading:
            with self._changed:  # first what is there, so that it does not make room for the others
                self._check_open()
                for version in versions:
                    if version.ref in self._loaded:
                        self._lease(version.ref, taken)
            for version in versions:
                if version.ref in taken:
                    continue
                loaded = self._load(version, taken, needed=len(versions))
                with self._changed:
                    self._loaded[version.ref] = loaded
                    self._warm.pop(version.ref, None)
                    self._lease(version.ref, taken)

    def _lease(self, ref: str, taken: dict[str, LoadedAdapter]) -> None:
        if ref not in taken:
            taken[ref] = loaded = self._loaded[ref]
            self._leases += 1
            loaded.leases += 1
            loaded.hits += 1
            loaded.used_at, loaded.turn = time.time(), next(self._turns)

    def _give_back(self, taken: Iterable[LoadedAdapter]) -> None:
        ended = []
        with self._changed:
            for loaded in taken:
                self._leases -= 1
                loaded.leases -= 1
                if loaded.going and not loaded.leases:
                    ended.append(loaded)
            self._changed.notify_all()
        for loaded in ended:
            self._free(loaded.place)

    def _load(self, version: Version, taken: Mapping[str, LoadedAdapter], *, needed: int) -> LoadedAdapter:
        """Find a version's place, where wrong tensors are refused and its size is known; then make room for it."""
        began = time.perf_counter()
        with self._changed:
            content = self._warm.get(version.ref)
        content = content or AdapterFiles.read(version, self._registry, self._model, dtype=self._dtype)
        found = self._fused(version, content, taken) if is_fusion(version) else self._found(content)
        size = content.size if not isinstance(found, Rack) else found.slot_size + content.head.size
        try:
            left = self._make_room(size, needed=needed, taken=taken)
        except BaseException:
            if not isinstance(found, Rack):
                self._free(found)
            raise
        place = found if not isinstance(found, Rack) else self._fill(found, content, left)
        return LoadedAdapter(
            version=version,
            task=Task.from_dict(version.task),
            place=place,
            config=content.adapter.config,
            head=content.head,
            exact_lengths=reads_padding(version.config, self._model.config),
            token_by_token=is_tokenwise(version.config),
            size=size,
            seconds=time.perf_counter() - began,
        )

    def _make_room(self, size: int, *, needed: int, taken: Mapping[str, LoadedAdapter]) -> int:
        """Evict what was used longest ago until so many bytes more fit, waiting for others where it has to.

        Returns:
            How many of that size fit.

        Raises:
            SettingsError: None would, whatever went, and so nothing does; or it is closed.
        """
        capacity = self._capacity
        while True:
            with self._changed:
                self._check_open()
                here = self._loaded.values()
                left = capacity.left(here, size)
                if left >= 1:
                    return left
                stay = [one for one in here if self.is_pinned(one.version.ref) or one.version.ref in taken]
                if capacity.left(stay, size) < 1:
                    many = capacity.adapters is not None and len(stay) >= capacity.adapters
                    raise SettingsError(
                        f"{needed} adapters are needed at once, and the capacity is "
                        f"{capacity.adapters if many else capacity.bytes:,} {'adapters' if many else 'bytes'}, "
                        f"{sum(self.is_pinned(one.version.ref) for one in here)} of {len(here)} loaded being pinned: "
                        "open the Switcher with more"
                    )
                victims = [one for one in here if not one.leases and not self.is_pinned(one.version.ref)]
                if not victims:
                    self._changed.wait()
                    continue
                victim = min(victims, key=lambda one: one.turn)
                del self._loaded[victim.version.ref]
            try:
                self._keep_warm(victim)
            finally:
                self._free(victim.place)

    def _keep_warm(self, loaded: LoadedAdapter) -> None:
        if loaded.size > self._capacity.warm_bytes:
            return
        match loaded.place:
            case InRack(rack, slot):
                tensors = rack.read(slot)
            case InFusion():
                return
            case Standalone(lane):
                with self.model_lock.shared():
                    there = adapter_tensors(self._model, lane)
                # Some are one tensor under several names.
                names = {(tensor.data_ptr(), tensor.shape): key for key, tensor in there.items()}.values()
                tensors = {rename_key(key, ANY_SLOT): there[key].clone() for key in names}
        stored = ModuleState(config=loaded.config, tensors=tensors)
        with self._changed:
            self._warm[loaded.version.ref] = AdapterFiles(stored, loaded.head, checked=True)
            while sum(content.size for content in self._warm.values()) > self._capacity.warm_bytes:
                self._warm.popitem(last=False)

    def _free(self, place: InRack | Standalone | InFusion) -> None:
        match place:
            case InRack(rack, slot):
                with self._rack_lock:
                    rack.free(slot)
            case Standalone(lane) | InFusion(lane):
                remove = remove_fusion if isinstance(place, InFusion) else remove_slot
                with self.model_lock.alone():
                    if self._model is not None:  # else it was closed meanwhile
                        remove(self._model, lane)

    def _found(self, content: AdapterFiles) -> Rack | Standalone:
        """The rack that a version fits into, which is opened if need be; or its place, if it fits into none."""
        if content.key not in self._racks:
            return self._open(content)
        rack = self._racks[content.key]
        if rack is None:
            return self._stand_alone(content)
        if not content.checked:
            rack.check(content.adapter.tensors, ADAPTER_WEIGHTS)
        return rack

    def _fill(self, rack: Rack, content: AdapterFiles, left: int) -> InRack:
        with self._rack_lock:
            return InRack(rack, rack.fill(content.adapter.tensors, room=left))

    def _fused(self, version: Version, content: AdapterFiles, taken: Mapping[str, LoadedAdapter]) -> InFusion:
        """A fusion layer where its members are, which are taken already."""
        places = [taken[str(ref)].place for ref in fusion_members(version)]
        members = [place.rack.names[0] if isinstance(place, InRack) else place.lane for place in places]
        lane = slot_name(next(self._names))
        with self.model_lock.alone():
            fill_fusion(self._model, lane, members, content.adapter)
        return InFusion(lane)

    def _open(self, content: AdapterFiles) -> Rack | Standalone:
        """Find out on a version whether those of its configuration fit into a rack, and if so open it."""
        place = self._stand_alone(content)  # which is also where wrong tensors are refused
        with self.model_lock.alone():
            if not fits(self._model, place.lane):
                self._racks[content.key] = None
                return place
            for other in [key for key, rack in self._racks.items() if rack is not None and not rack.used]:
                empty = self._racks.pop(other)
                assert empty is not None
                empty.remove()
            rack = self._racks[content.key] = Rack(self._model, place.lane, content.adapter.config, dtype=self._dtype)
        return rack

    def _stand_alone(self, content: AdapterFiles) -> Standalone:
        lane = slot_name(next(self._names))
        adapter = content.adapter
        if content.checked:  # in a type that its rack had, maybe
            tensors = {key: tensor.float() for key, tensor in adapter.tensors.items()}
            adapter = ModuleState(config=adapter.config, tensors=tensors)
        with self.model_lock.alone():
            fill_slot(self._model, lane, adapter)
            self._model.eval()
        return Standalone(lane)

    def _check_open(self) -> None:
        if self._closed:
            raise SettingsError("this Switcher is closed: make another")
