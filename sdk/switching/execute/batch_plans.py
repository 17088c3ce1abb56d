"""From a route to a batch plan: the block of names in the model that activates it, and the slot in each rack."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import adapters.composition as blocks

from pointsman.registry import Ref

from ...core.composition import Average, Composition, Stack, replace
from ...engines.batch_plan import BatchPlan
from ...engines.fusion_layers import fuse_block
from ...engines.heads import Head, WeightedHeads
from ...engines.racks import Rack
from ...methods.fusion import fusion_members
from ..memory.loaded import LoadedAdapter
from ..memory.placement import InFusion, InRack, Standalone
from ..resolve.resolved_ref import Route

# In a LoRA each row looks its slot up, and DeBERTa's layers also run it on relative positions, which are not rows.
_ONE_SLOT_A_FORWARD: Final = ("deberta", "deberta-v2")


def plan_batch(
    route: Route, loaded: Mapping[str, LoadedAdapter], rack_name: Callable[[Rack, int], str], *, model_type: str
) -> BatchPlan:
    """Plan how the rows of a route are computed.

    Args:
        route: The route.
        loaded: Its versions by ref, leased; others may be among them.
        rack_name: The name in the model that a rack has for the n-th of its versions on a route.
        model_type: The base's.
    """
    names = _Names(loaded, rack_name)
    named = replace(route.composition, names.name)
    key = f"{named} {names.members}" if names.members else str(named)
    if model_type in _ONE_SLOT_A_FORWARD and any(rack.has_lora for rack in names.racks):
        key = f"{key} {sorted(names.slots.items())}"
    adapters = [loaded[version.ref] for version in route.versions]
    heads = _add_up((loaded[ref].head, weight) for ref, weight in route.heads)
    return BatchPlan(
        setup=_block(named, names.members),
        key=key,
        slots=names.slots,
        heads=heads,
        exact_lengths=any(adapter.exact_lengths for adapter in adapters),
        token_by_token=all(adapter.token_by_token for adapter in adapters),
        fits_encoder=all(adapter.fits_encoder for adapter in adapters),
        outputs=heads[0][0].outputs,
    )


class _Names:
    """The names in the model of a route's adapters and fusion layers, with what the rows read of them.

    Not a nested function: one that calls itself keeps the versions in memory until Python collects its cycle.

    Args:
        loaded: The versions by ref.
        rack_name: The name in the model that a rack has for the n-th of its versions on a route.
    """

    def __init__(self, loaded: Mapping[str, LoadedAdapter], rack_name: Callable[[Rack, int], str]) -> None:
        self.slots: dict[str, int] = {}
        """The slot to read in each rack, by the rack's name."""
        self.racks: dict[Rack, int] = {}
        """How many versions are in each rack."""
        self.members: dict[str, list[str]] = {}
        """The names of the members, by the name of the fusion layer over them."""
        self._loaded = loaded
        self._rack_name = rack_name

    def name(self, ref: Ref) -> Ref:
        """The name of a version's adapter or fusion layer; also notes its slot, or its members."""
        adapter = self._loaded[str(ref)]
        match adapter.place:
            case Standalone(name):
                pass
            case InRack(rack, slot):
                number = self.racks.setdefault(rack, 0)
                self.racks[rack] += 1
                name = self._rack_name(rack, number)
                self.slots[name] = slot.index
            case InFusion(name):
                self.members[name] = [str(self.name(member)) for member in fusion_members(adapter.version)]
        return Ref(name)


def _block(named: Composition, members: Mapping[str, Sequence[str]]) -> Any:
    """A composition of names as a block of adapters.

    Args:
        named: The composition.
        members: The names of the members, by the name of the fusion layer over them.
    """
    match named:
        case Stack():
            return blocks.Stack(*(_block(member, members) for member in named.members))
        case Average():
            averaged = [_block(member, members) for member in named.members]
            return blocks.Average(*averaged, weights=list(named.weights), normalize_weights=False)
    name = str(named)
    return fuse_block(name, members[name]) if name in members else name


def _add_up(heads: Iterable[tuple[Head, float]]) -> WeightedHeads:
    """Each head once, with the sum of its weights."""
    weights: dict[Head, float] = {}
    for head, weight in heads:
        weights[head] = weights.get(head, 0.0) + weight
    return tuple(weights.items())
