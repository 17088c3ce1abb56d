"""What a forward pass needs to know of the rows of one route."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .heads import WeightedHeads


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchPlan:
    """How the rows of one adapter, or of one way through a composition, are computed."""

    setup: Any
    """adapters' block of the lanes."""
    key: str
    """Rows of plans with the same key may share a forward pass."""
    slots: Mapping[str, int]
    """The slot in each lane."""
    heads: WeightedHeads
    exact_lengths: bool
    token_by_token: bool
    outputs: int
