"""The versions in memory, for people and programs."""

from dataclasses import dataclass
from datetime import UTC, datetime

from .memory.adapter_cache import AdapterCache
from .memory.placement import InRack


@dataclass(frozen=True, kw_only=True)
class LoadedVersion:
    """A version in memory."""

    ref: str
    method: str
    place: str
    """``rack 0 slot 3``, or ``alone`` where no rack can hold it."""
    engine: str
    """What computes it: ``fast``, or ``torch``, the adapters library's modules, which take int8 for fp32."""
    size: int
    """Bytes of its tensors."""
    hits: int
    """Calls that have used it."""
    used_at: datetime
    load_seconds: float
    pinned: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a Switcher has in memory; printed, a table.

    Examples:
        >>> print(model.status())
        bert-base-uncased on cpu in fp32: 1 version, 3.6 MB, 1 rack of 1 slot in all, 0 warm
        ref     method  place          engine  kB     hits  last use  load ms
        sst2@3  seq_bn  rack 0 slot 0  fast    3,584  12    14:02:51  18.3
    """

    base: str
    device: str
    precision: str
    versions: tuple[LoadedVersion, ...]
    racks: int
    slots: int
    """The slots of all racks, free ones included."""
    size: int
    """Bytes of all versions' tensors."""
    rack_size: int
    """Bytes of all racks, free slots included."""
    warm: int
    """Evicted versions that are kept in memory beside the model."""
    loads: int
    """Versions loaded so far, the same one each time anew."""
    evictions: int
    """Versions evicted so far."""
    capacity: int | None
    capacity_bytes: int | None

    def __str__(self) -> str:
        rows = [("ref", "method", "place", "engine", "kB", "hits", "last use", "load ms", "")]
        rows += [
            (
                version.ref,
                version.method,
                version.place,
                version.engine,
                f"{version.size / 1e3:,.0f}",
                str(version.hits),
                f"{version.used_at:%H:%M:%S}",
                f"{version.load_seconds * 1e3:.1f}",
                "pinned" if version.pinned else "",
            )
            for version in self.versions
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        limit = "" if self.capacity is None else f" of {self.capacity}"
        versions = _plural("version", self.capacity or len(self.versions))
        racks, slots = _plural("rack", self.racks), _plural("slot", self.slots)
        head = (
            f"{self.base} on {self.device} in {self.precision}: {len(self.versions)}{limit} {versions}, "
            f"{self.size / 1e6:.1f} MB, {self.racks} {racks} of {self.slots} {slots} in all, {self.warm} warm"
        )
        return "\n".join([head, *table])


def _plural(noun: str, number: int) -> str:
    return noun if number == 1 else f"{noun}s"


def status_of(adapters: AdapterCache, *, base: str, device: str, precision: str) -> Status:
    """What is in memory now."""
    loaded = adapters.loaded
    # Other threads open and remove racks meanwhile, so the racks of the loaded versions may not be on the model.
    places = [adapter.place for adapter in loaded]
    used = [place.rack for place in places if isinstance(place, InRack)]
    racks = list(dict.fromkeys([*used, *adapters.placement.racks]))
    return Status(
        base=base,
        device=device,
        precision=precision,
        versions=tuple(
            LoadedVersion(
                ref=adapter.version.ref,
                method=adapter.version.method,
                place=f"rack {racks.index(place.rack)} slot {place.slot.index}"
                if isinstance(place, InRack)
                else "alone",
                engine="fast" if adapters.placement.encoder is not None and adapter.fits_encoder else "torch",
                size=adapter.size,
                hits=adapter.hits,
                used_at=datetime.fromtimestamp(adapter.used_at, UTC),
                load_seconds=adapter.seconds,
                pinned=adapters.is_pinned(adapter.version.ref),
            )
            for adapter, place in zip(loaded, places, strict=True)
        ),
        racks=len(racks),
        slots=sum(rack.capacity for rack in racks),
        size=sum(adapter.size for adapter in loaded),
        rack_size=sum(rack.size for rack in racks),
        warm=adapters.warm,
        loads=adapters.loads,
        evictions=adapters.evictions,
        capacity=adapters.capacity.adapters,
        capacity_bytes=adapters.capacity.bytes,
    )
