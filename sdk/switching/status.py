"""What is in memory, for people and programs."""

from dataclasses import dataclass
from datetime import UTC, datetime

from .memory.adapter_cache import AdapterCache
from .memory.loaded import Capacity, InRack


@dataclass(frozen=True, kw_only=True)
class LoadedVersion:
    """A version in memory."""

    ref: str
    method: str
    place: str
    """``rack 0 slot 3``, or ``alone`` where no rack can hold it."""
    size: int
    """Bytes of its tensors."""
    hits: int
    """How often it was asked for."""
    used_at: datetime
    load_seconds: float
    pinned: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a Switcher has in memory; as text a table."""

    base: str
    device: str
    precision: str
    versions: tuple[LoadedVersion, ...]
    racks: int
    slots: int
    """Of all racks, free ones included."""
    size: int
    """Bytes of all versions' tensors."""
    rack_size: int
    """Bytes of all racks, free slots included."""
    warm: int
    """Versions that were evicted and are kept in memory beside the model."""
    capacity: int | None
    capacity_bytes: int | None

    def __str__(self) -> str:
        rows = [("ref", "method", "place", "kB", "hits", "last use", "load ms", "")]
        rows += [
            (
                version.ref,
                version.method,
                version.place,
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
        most = "" if self.capacity is None else f" of {self.capacity}"
        head = (
            f"{self.base} on {self.device} in {self.precision}: {len(self.versions)}{most} versions, "
            f"{self.size / 1e6:.1f} MB, {self.racks} racks of {self.slots} slots in all, {self.warm} warm"
        )
        return "\n".join([head, *table])


def status_of(library: AdapterCache, capacity: Capacity, *, base: str, device: str, precision: str) -> Status:
    """What a library holds now, under that capacity."""
    loaded = library.loaded
    # Racks come and go meanwhile.
    racks = list(dict.fromkeys([*(one.place.rack for one in loaded if isinstance(one.place, InRack)), *library.racks]))
    return Status(
        base=base,
        device=device,
        precision=precision,
        versions=tuple(
            LoadedVersion(
                ref=one.version.ref,
                method=one.version.method,
                place=f"rack {racks.index(one.place.rack)} slot {one.place.slot}"
                if isinstance(one.place, InRack)
                else "alone",
                size=one.size,
                hits=one.hits,
                used_at=datetime.fromtimestamp(one.used_at, UTC),
                load_seconds=one.seconds,
                pinned=library.is_pinned(one.version.ref),
            )
            for one in loaded
        ),
        racks=len(racks),
        slots=sum(rack.capacity for rack in racks),
        size=sum(one.size for one in loaded),
        rack_size=sum(rack.size for rack in racks),
        warm=library.warm,
        capacity=capacity.adapters,
        capacity_bytes=capacity.bytes,
    )
