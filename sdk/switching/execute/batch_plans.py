"""From a route to a batch plan: adapters' block of rack names, and the slot in each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import adapters.composition as blocks

from pointsman.registry import Ref

from ...core.composition import Average, Composition, Stack, replace
from ...engines.batch_plan import BatchPlan
from ...engines.fusion_layers import fuse_block
from ...engines.heads import Head, WeightedHeads
from ...engines.racks import Rack
from ...methods.fusion import fusion_members
from ..memory.loaded import InFusion, InRack, LoadedAdapter, Standalone
from ..resolve.routes import head_refs

# Each of its rows looks its slot up, which a relative position is not: DeBERTa's layers see those as one row.
_ONE_SLOT_A_FORWARD: Final = ("deberta", "deberta-v2")


def plan_batch(
    way: Composition, loaded: Mapping[str, LoadedAdapter], lane: Callable[[Rack, int], str], *, model_type: str
) -> BatchPlan:
    """Lay out a way through a composition.

    Args:
        way: What ``ways_of`` gave.
        loaded: Its versions, by ref, leased.
        lane: The name of a rack's lane, by number.
        model_type: The base's.
    """
    slots: dict[str, int] = {}
    numbers: dict[Rack, int] = {}

    members: dict[str, list[str]] = {}

    def name(ref: Ref) -> Ref:
        """What a ref's adapter or fusion layer is called in the model."""
        one = loaded[str(ref)]
        match one.place:
            case Standalone(lane=lane_name):
                pass
            case InRack(rack=rack, slot=slot):
                number = numbers.setdefault(rack, 0)
                numbers[rack] += 1
                lane_name = lane(rack, number)
                slots[lane_name] = slot
            case InFusion(lane=lane_name):
                members[lane_name] = [str(name(member)) for member in fusion_members(one.version)]
        return Ref(lane_name)

    named = replace(way, name)
    key = f"{named} {members}" if members else str(named)
    if model_type in _ONE_SLOT_A_FORWARD and any(rack.has_lora for rack in numbers):
        key = f"{key} {sorted(slots.items())}"
    heads = [(loaded[str(ref)].head, weight) for ref, weight in head_refs(way)]
    return BatchPlan(
        setup=_block(named, members),
        key=key,
        slots=slots,
        heads=_summed(heads),
        exact_lengths=any(one.exact_lengths for one in loaded.values()),
        token_by_token=all(one.token_by_token for one in loaded.values()),
        outputs=heads[0][0].outputs,
    )


def _block(named: Composition, fused_lanes: Mapping[str, Sequence[str]]) -> Any:
    """A composition of lanes as adapters has it; of a fusion layer's lane, the lanes of its members."""
    match named:
        case Stack(members=members):
            return blocks.Stack(*(_block(member, fused_lanes) for member in members))
        case Average(members=members, weights=weights):
            inside = [_block(member, fused_lanes) for member in members]
            return blocks.Average(*inside, weights=list(weights), normalize_weights=False)
    lane = str(named)
    return fuse_block(lane, fused_lanes[lane]) if lane in fused_lanes else lane


def _summed(heads: list[tuple[Head, float]]) -> WeightedHeads:
    """Each head once, with all its weight."""
    weights: dict[Head, float] = {}
    for head, weight in heads:
        weights[head] = weights.get(head, 0.0) + weight
    return tuple(weights.items())
