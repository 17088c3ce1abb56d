"""A version in memory, where it is there, and how many there may be."""

import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pointsman.registry import Version
from pointsman.registry.errors import SettingsError

from ...core.arguments import is_whole, short_repr
from ...engines.heads import Head
from ...engines.racks import Rack
from ...tasks import Task


@dataclass(frozen=True, eq=False)
class InRack:
    """A place in a rack."""

    rack: Rack
    slot: int


@dataclass(frozen=True, eq=False)
class Standalone:
    """A place of its own in the model, for what no rack can hold."""

    lane: str


@dataclass(frozen=True, eq=False)
class InFusion:
    """A fusion layer's place in the model."""

    lane: str


@dataclass(kw_only=True, eq=False)
class LoadedAdapter:
    """A version in memory."""

    version: Version
    task: Task
    place: InRack | Standalone | InFusion
    config: Mapping[str, Any]
    """The method's full configuration."""
    head: Head
    exact_lengths: bool
    """Its rows may not be padded, see ``support.reads_padding``."""
    token_by_token: bool
    """Behind a layer's attention it takes each token for itself, see ``support.is_tokenwise``."""
    size: int
    """Bytes of its tensors."""
    seconds: float
    """How long loading took."""
    hits: int = 0
    used_at: float = field(default_factory=time.time)
    turn: int = 0
    """When it was last used, among all."""
    leases: int = 0
    """Calls that use it now."""
    going: bool = False
    """It is no longer to be found, and goes when nobody uses it."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much is kept: None is without a limit."""

    adapters: int | None = None
    bytes: int | None = None
    warm_bytes: int = 0
    """Of tensors that were evicted and stay in memory, to come back without the disk."""

    def __post_init__(self) -> None:
        for name, value in (("capacity", self.adapters), ("capacity_bytes", self.bytes)):
            if value is not None and not (is_whole(value) and value >= 1):
                raise SettingsError(
                    f"{name} has to be a whole number, 1 or more, or None for no limit; found {short_repr(value)}"
                )
        if not (is_whole(self.warm_bytes) and self.warm_bytes >= 0):
            raise SettingsError(f"warm_bytes has to be a whole number, 0 or more; found {short_repr(self.warm_bytes)}")

    def left(self, beside: Collection[LoadedAdapter], size: int) -> int:
        """How many versions of so many bytes fit beside others."""
        left = sys.maxsize
        if self.adapters is not None:
            left = self.adapters - len(beside)
        if self.bytes is not None:
            left = min(left, (self.bytes - sum(loaded.size for loaded in beside)) // size)
        return left
