"""A version in memory, and how many versions may be there."""

import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pointsman.registry import Version
from pointsman.registry.errors import SettingsError

from ...core.arguments import is_whole, short_repr
from ...engines.heads import Head
from .placement import Place


@dataclass(kw_only=True, eq=False)
class LoadedAdapter:
    """A version in memory."""

    version: Version
    place: Place
    config: Mapping[str, Any]
    """The method's full configuration."""
    head: Head
    exact_lengths: bool
    """Whether its rows must not be padded, see ``support.reads_padding``."""
    token_by_token: bool
    """Whether it adapts each token by itself behind a layer's attention, see ``support.is_tokenwise``."""
    fits_encoder: bool
    """Whether the fast engine computes it, see ``adapter_program.covers``."""
    size: int
    """Bytes of its tensors."""
    seconds: float
    """How long loading took."""
    hits: int = 0
    used_at: float = field(default_factory=time.time)
    last_used: int = 0
    """The number of its last use, counted over all versions: unlike ``used_at`` never the same for two."""
    leases: set[object] = field(default_factory=set)
    """The leases that hold it now."""
    being_removed: bool = False
    """Whether it has been unloaded: lookups no longer return it, and it is freed when its last lease ends."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """How much may be in memory; None: no limit.

    Raises:
        SettingsError: A value that cannot work.

    Examples:
        >>> Capacity(adapters=100, warm_bytes=2**30)
    """

    adapters: int | None = None
    """Versions in the model."""
    bytes: int | None = None
    """Bytes of their tensors."""
    warm_bytes: int = 0
    """Bytes of evicted tensors that stay in memory, to come back without being read from disk."""

    def __post_init__(self) -> None:
        for name, value in (("capacity", self.adapters), ("capacity_bytes", self.bytes)):
            if value is not None and not (is_whole(value) and value >= 1):
                raise SettingsError(
                    f"{name} must be a whole number, at least 1, or None for no limit; found {short_repr(value)}"
                )
        if not (is_whole(self.warm_bytes) and self.warm_bytes >= 0):
            raise SettingsError(f"warm_bytes must be a whole number, at least 0; found {short_repr(self.warm_bytes)}")

    def room(self, loaded: Collection[LoadedAdapter], size: int) -> int:
        """How many more versions of ``size`` bytes fit beside the loaded ones."""
        room = sys.maxsize
        if self.adapters is not None:
            room = self.adapters - len(loaded)
        if self.bytes is not None:
            room = min(room, (self.bytes - sum(adapter.size for adapter in loaded)) // size)
        return room
