"""The versions in memory: loaded on first use, leased while a call uses them, evicted when room is needed."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch

from pointsman.registry import Registry, Version
from pointsman.registry.errors import SettingsError

from ...engines.adapter_program import covers
from ...engines.encoder import Encoder
from ...engines.racks import Rack
from ...formats.native import ModuleState
from ...methods.fusion import fusion_members, is_fusion
from ...methods.support import is_tokenwise, reads_padding
from .adapter_files import AdapterFiles
from .loaded import Capacity, LoadedAdapter
from .placement import InFusion, Placement


@dataclass(eq=False, slots=True)
class _Lease:
    """What one call uses."""

    adapters: dict[str, LoadedAdapter] = field(default_factory=dict)
    """The versions, by ref."""


class AdapterCache:
    """The versions in memory on one model.

    Loads run one after another. They wait for forward passes only where the model itself changes: for the first version
    of a configuration, and for versions that fit into no rack. A leased version stays as it is until its lease ends.

    Args:
        registry: Where versions come from.
        model: An adapters model in evaluation mode.
        capacity: How much may be in memory.
        dtype: The type that matrices are kept in.
        encoder: The fast engine for the model, if there is one.

    Examples:
        >>> cache = AdapterCache(registry, model, capacity=Capacity(adapters=100), dtype=torch.float32)
        >>> with cache.lease([registry.version("sst2")]) as loaded:
        ...     loaded["sst2@1"].place
    """

    def __init__(
        self,
        registry: Registry,
        model: Any,
        *,
        capacity: Capacity,
        dtype: torch.dtype,
        encoder: Encoder | None = None,
    ) -> None:
        self.placement = Placement(model, dtype=dtype, encoder=encoder)
        """Where the versions are in the model."""
        self.capacity = capacity
        self._registry = registry
        self._dtype = dtype
        self._loading = threading.Lock()
        self._changed = threading.Condition()  # over the seven below
        self._leases: set[_Lease] = set()
        self._loaded: dict[str, LoadedAdapter] = {}
        self._warm: OrderedDict[str, AdapterFiles] = OrderedDict()
        self._pins: set[str] = set()
        self._closed = False
        self.loads = 0
        """Versions loaded so far, the same one each time anew."""
        self.evictions = 0
        """Versions evicted so far."""
        self._uses = count()
        self._pid = os.getpid()

    @property
    def loaded(self) -> list[LoadedAdapter]:
        """The versions in memory, in the order they were loaded."""
        with self._changed:
            return list(self._loaded.values())

    @property
    def warm(self) -> int:
        """The number of evicted versions that are kept beside the model."""
        return len(self._warm)

    @contextmanager
    def lease(self, versions: Sequence[Version]) -> Iterator[dict[str, LoadedAdapter]]:
        """Load versions where they are not in memory, and keep them as they are inside the block.

        Args:
            versions: The versions, the members of a fusion layer before the fusion layer.

        Yields:
            The versions in memory, by ref.

        Raises:
            SettingsError: They do not fit into the capacity together, or the cache is closed.
            StoreError, WeightsError: Files are missing, damaged or do not fit; loaded versions go on working.
        """
        lease = _Lease()
        try:
            self._take(versions, lease)
            yield lease.adapters
        finally:
            try:
                self._give_back(lease)
            except BaseException:  # an interrupt just then: room and end would be waited for in vain
                self._give_back(lease)
                raise

    def pin(self, versions: Sequence[Version]) -> None:
        """Load versions and never evict them."""
        with self.lease(versions) as leased, self._changed:
            self._pins |= leased.keys() & self._loaded.keys()  # without those that were unloaded just now

    def unpin(self, refs: Sequence[str]) -> None:
        """Let versions be evicted as others are."""
        with self._changed:
            self._pins -= set(refs)
            self._changed.notify_all()

    def is_pinned(self, ref: str) -> bool:
        """Whether a version is never evicted."""
        return ref in self._pins

    def unload(self, ref: str) -> None:
        """Take a version out of memory: new calls no longer find it, and it is freed when its last lease ends."""
        with self._changed:
            adapter = self._loaded.pop(ref, None)
            self._warm.pop(ref, None)
            self._pins.discard(ref)
            if adapter is not None:
                adapter.being_removed = True
            self._changed.notify_all()
            is_unused = adapter is not None and not adapter.leases
        if adapter is not None and is_unused:
            self.placement.free(adapter.place)

    @property
    def is_forked(self) -> bool:
        """Whether this process was forked from the one that made the cache."""
        return self._pid != os.getpid()

    def check_process(self) -> None:
        """Refuse a call in a process that was forked from the one that made the cache; takes no lock.

        Raises:
            SettingsError: It was: a thread that is not in this process, of the Switcher's callers or of torch's pool,
                may hold what the call would wait for.
        """
        if self.is_forked:
            raise SettingsError(
                f"this Switcher belongs to the process {self._pid}, from which this one was forked without its "
                "threads: make a Switcher in each process, after the fork"
            )

    def check_open(self) -> None:
        """Refuse a call after ``stop``, or in a forked process.

        Raises:
            SettingsError: It was stopped, or as for ``check_process``.
        """
        if self._pid == os.getpid() and not self._closed:  # in one look, since every switch asks twice
            return
        self.check_process()
        raise SettingsError("this Switcher is closed: make another")

    def stop(self) -> None:
        """Refuse new leases from now on, also those that wait for room."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and let go of the model and of all versions once no lease is left."""
        self.stop()
        with self._loading:
            with self._changed:
                self._changed.wait_for(lambda: not self._leases)
                self._loaded = {}
                self._warm.clear()
            self.placement.close()

    def _take(self, versions: Sequence[Version], lease: _Lease) -> None:
        with self._changed:
            self.check_open()
            if all(version.ref in self._loaded for version in versions):
                for version in versions:
                    self._lease(version.ref, lease)
                return
            missing = [each for each in versions if each.ref not in self._loaded and each.ref not in self._warm]
        for version in missing:  # before the lock, so that a store that answers late holds up no other load
            self._registry.fetch(version)
        # No deadlock: a thread that waits for this lock holds no lease, and the thread that holds it waits for leases
        # of other threads only, which end.
        with self._loading:
            with self._changed:  # loaded ones first, so that making room for the others does not evict them
                self.check_open()
                for version in versions:
                    if version.ref in self._loaded:
                        self._lease(version.ref, lease)
            for version in versions:
                if version.ref in lease.adapters:
                    continue
                adapter = self._load(version, lease.adapters, needed=len(versions))
                with self._changed:
                    self._loaded[version.ref] = adapter
                    self.loads += 1
                    self._warm.pop(version.ref, None)
                    self._lease(version.ref, lease)

    def _lease(self, ref: str, lease: _Lease) -> None:
        if ref not in lease.adapters:
            adapter = self._loaded[ref]
            lease.adapters[ref] = adapter  # first of all: what follows is taken back by it
            self._leases.add(lease)
            adapter.leases.add(lease)
            adapter.hits += 1
            adapter.used_at, adapter.last_used = time.time(), next(self._uses)

    def _give_back(self, lease: _Lease) -> None:
        """End a lease; what has been done of it before an interrupt is not done again."""
        unused = []
        with self._changed:
            self._leases.discard(lease)
            for adapter in lease.adapters.values():
                if lease in adapter.leases:
                    adapter.leases.remove(lease)
                    if adapter.being_removed and not adapter.leases:
                        unused.append(adapter)
            self._changed.notify_all()
        for adapter in unused:
            self.placement.free(adapter.place)

    def _load(self, version: Version, leased: Mapping[str, LoadedAdapter], *, needed: int) -> LoadedAdapter:
        """Find a version's place, which checks its tensors and tells its size; then make room for it."""
        start = time.perf_counter()
        model = self.placement.model
        with self._changed:
            files = self._warm.get(version.ref)
        files = files or AdapterFiles.read(version, self._registry, model, dtype=self._dtype)
        config = files.adapter.config
        # Before a place is taken, which nobody would give back.
        exact_lengths, token_by_token = reads_padding(config, model.config), is_tokenwise(config)
        place = (
            self.placement.fuse(files, [leased[str(member)].place for member in fusion_members(version)])
            if is_fusion(version)
            else self.placement.find_place(files)
        )
        size = place.slot_size + files.head.size if isinstance(place, Rack) else files.size
        try:
            room = self._make_room(size, needed=needed, leased=leased)
        except BaseException:
            if not isinstance(place, Rack):
                self.placement.free(place)
            raise
        return LoadedAdapter(
            version=version,
            place=self.placement.fill(place, files, room=room) if isinstance(place, Rack) else place,
            config=config,
            head=files.head,
            exact_lengths=exact_lengths,
            token_by_token=token_by_token,
            fits_encoder=is_fusion(version) or covers(config),
            size=size,
            seconds=time.perf_counter() - start,
        )

    def _make_room(self, size: int, *, needed: int, leased: Mapping[str, LoadedAdapter]) -> int:
        """Evict the versions that were used longest ago until ``size`` bytes more fit; wait for leases if need be.

        Returns:
            How many versions of that size fit.

        Raises:
            SettingsError: They would not fit with everything else evicted, so nothing is; or the cache is closed.
        """
        while True:
            with self._changed:
                self.check_open()
                loaded = self._loaded.values()
                room = self.capacity.room(loaded, size)
                if room >= 1:
                    return room
                fixed = [
                    adapter
                    for adapter in loaded
                    if self.is_pinned(adapter.version.ref) or adapter.version.ref in leased
                ]
                if self.capacity.room(fixed, size) < 1:
                    raise self._too_small(needed, len(fixed))
                victims = [
                    adapter for adapter in loaded if not adapter.leases and not self.is_pinned(adapter.version.ref)
                ]
                if not victims:
                    self._changed.wait()
                    continue
                victim = min(victims, key=lambda adapter: adapter.last_used)
                del self._loaded[victim.version.ref]
                self.evictions += 1
            try:
                self._keep_warm(victim)
            finally:
                self.placement.free(victim.place)

    def _too_small(self, needed: int, fixed: int) -> SettingsError:
        """The error where versions cannot be in memory together, beside ``fixed`` ones that cannot be evicted."""
        adapters, size = self.capacity.adapters, self.capacity.bytes
        limit = f"{adapters:,} adapters" if adapters is not None and fixed >= adapters else f"{size:,} bytes"
        pinned = sum(self.is_pinned(ref) for ref in self._loaded)
        return SettingsError(
            f"{needed} adapters are needed at once, and the capacity is {limit}, {pinned} of {len(self._loaded)} "
            "loaded being pinned: open the Switcher with more"
        )

    def _keep_warm(self, adapter: LoadedAdapter) -> None:
        """Keep an evicted version's tensors beside the model, if they fit and are not those of a fusion layer."""
        if adapter.size > self.capacity.warm_bytes or isinstance(adapter.place, InFusion):
            return
        stored = ModuleState(config=adapter.config, tensors=self.placement.read(adapter.place))
        with self._changed:
            self._warm[adapter.version.ref] = AdapterFiles(stored, adapter.head, checked=True)
            while sum(files.size for files in self._warm.values()) > self.capacity.warm_bytes:
                self._warm.popitem(last=False)
