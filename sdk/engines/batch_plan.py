"""What a forward pass needs to know about the rows of one route."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .heads import WeightedHeads


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchPlan:
    """How the rows of one route, an adapter or one route through a composition, are computed.

    Examples:
        >>> BatchPlan(setup="slot000000", key="slot000000", slots={"slot000000": 3}, heads=[(head, 1.0)],
        ...           exact_lengths=False, token_by_token=True, fits_encoder=True, outputs=2)
    """

    setup: Any
    """The active adapters by their names in the model: a name, or a composition block of the adapters library."""
    key: str
    """Rows of plans with the same key may share a forward pass."""
    slots: Mapping[str, int]
    """The slot to read in each rack, by the rack's name in the model."""
    heads: WeightedHeads
    exact_lengths: bool
    """Whether a batch may only have rows of one length, without padding (see ``methods.support.reads_padding``)."""
    token_by_token: bool
    """Whether adapters treat each token by itself behind a layer's attention (see ``methods.support``)."""
    fits_encoder: bool
    """Whether the fast engine computes its adapters, on a base that it computes (see ``adapter_program.covers``)."""
    outputs: int
    """The number of the heads' outputs."""
