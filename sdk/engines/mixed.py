"""Rows of any mix of adapters and compositions, in as few forward passes as there can be.

All rows that the fast engine (``encoder``) covers share its forward passes. Of the others, those with the same active
modules share passes of the torch modules. Heads run on their own rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ..core.devices import autocast_to
from ..data.batches import Integers, sorted_batches
from ..data.tokens import TokenRows
from ..patches.forward_context import ForwardContext, SharedLayers, SlotIndex
from ..patches.layer_drop import shared_layers
from .batch_plan import BatchPlan
from .encoder import Encoder, Expansion, RowGroup
from .heads import weighted_outputs
from .single import BATCH_ROWS
from .torch_modules import first_tokens

_SHARED_ROWS: Final = 8 * BATCH_ROWS
"""Rows in a batch whose lower layers run once per text: these would have too few texts in a batch of usual size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Family:
    """Plans whose rows may share a forward pass."""

    members: list[int]
    """Their indices."""
    encoder: Encoder | None
    """What computes them; None: the torch modules."""


def mixed_outputs(
    model: Any,
    plans: Sequence[BatchPlan],
    plan_of_row: Integers,
    rows: TokenRows,
    *,
    device: torch.device,
    encoder: Encoder | None = None,
    autocast: torch.dtype | None = None,
    drop_layers: int = 0,
) -> list[Tensor]:
    """The heads' outputs for rows that each have a plan.

    Args:
        model: An adapters model in evaluation mode, which does not change meanwhile.
        plans: The plans.
        plan_of_row: The index of each row's plan, ``(rows,)``.
        rows: The inputs.
        device: The model's.
        encoder: The fast engine for this model, for the plans that it covers; None: the torch modules compute all.
        autocast: The type of matrix products in the torch modules and heads; None: the model's own.
        drop_layers: The number of lowest layers whose adapters are skipped.

    Returns:
        For each plan ``(its rows, outputs)`` in float32 on the CPU, in the order of the rows.
    """
    if len(rows) == 1 and encoder is not None and plans[0].fits_encoder:
        return [_alone(plans[0], rows, encoder, device=device, autocast=autocast, dropped=drop_layers)]
    counts = np.bincount(plan_of_row, minlength=len(plans))
    results = [torch.empty(int(count), plan.outputs) for count, plan in zip(counts, plans, strict=True)]
    place = _places(plan_of_row)
    numbers: dict[str, int] = {}
    key_of_plan = np.array([numbers.setdefault(plan.key, len(numbers)) for plan in plans])
    with torch.inference_mode(), autocast_to(device, autocast):
        for family in _families(plans, encoder):
            members = family.members
            is_all = len(members) == len(plans)
            chosen = np.arange(len(plan_of_row)) if is_all else np.flatnonzero(np.isin(plan_of_row, members))
            # The rows of one plan usually have a text each, so there is nothing to share.
            sharing = _sharing(model, [plans[index] for index in members], drop_layers)
            texts = _text_numbers(rows, chosen) if sharing.layers else None
            batches = sorted_batches(
                rows.lengths[chosen],
                _SHARED_ROWS if sharing.layers else BATCH_ROWS,
                exact_lengths=any(plans[index].exact_lengths for index in members),
                groups=texts,
            )
            first_token_only = all(plans[index].token_by_token for index in members)
            for by_length in batches:
                batch = by_length
                if len(members) > 1:  # neighbours with the same modules are one group of the fast engine
                    batch = batch[np.argsort(key_of_plan[plan_of_row[chosen[batch]]], kind="stable")]
                batch_rows = chosen[batch]
                batch_plans = plan_of_row[batch_rows]
                first_rows, text_of_row = (batch_rows, None) if texts is None else _distinct(texts[batch], batch_rows)
                inputs = {name: tensor.to(device) for name, tensor in rows.batch(first_rows.tolist()).items()}
                by_row = None if text_of_row is None else torch.from_numpy(text_of_row).to(device)
                if family.encoder is None:
                    context = ForwardContext(
                        slots=_slots(plans, batch_plans, device),
                        dropped=drop_layers,
                        sharing=sharing,
                        text_of_row=by_row,
                        texts=len(first_rows),
                        first_token_only=first_token_only,
                    )
                    encodings = first_tokens(model, plans[batch_plans[0]].setup, inputs, context)
                else:
                    encodings = family.encoder(
                        inputs,
                        list(_row_groups(family.encoder, plans, batch_plans, key_of_plan, device)),
                        dropped=drop_layers,
                        expansion=None if by_row is None else Expansion(text_of_row=by_row, shared=sharing),
                    )
                for index, logits, positions in _head_outputs(plans, batch_plans, encodings):
                    results[index][torch.from_numpy(place[batch_rows[positions]])] = logits
    return results


def _alone(
    plan: BatchPlan,
    rows: TokenRows,
    encoder: Encoder,
    *,
    device: torch.device,
    autocast: torch.dtype | None,
    dropped: int,
) -> Tensor:
    """The outputs for a single row: nothing to sort, and nothing to share."""
    with torch.inference_mode(), autocast_to(device, autocast):
        group = RowGroup(rows=slice(0, 1), program=encoder.program(plan.key, plan.setup), slots=plan.slots)
        inputs = {name: tensor.to(device) for name, tensor in rows.batch([0]).items()}
        return weighted_outputs(plan.heads, encoder(inputs, [group], dropped=dropped)).cpu()


def _families(plans: Sequence[BatchPlan], encoder: Encoder | None) -> list[_Family]:
    covered: list[int] = []
    others: dict[str, list[int]] = {}
    for index, plan in enumerate(plans):
        if encoder is not None and plan.fits_encoder:
            covered.append(index)
        else:
            others.setdefault(plan.key, []).append(index)
    families = [_Family(members=members, encoder=None) for members in others.values()]
    return [_Family(members=covered, encoder=encoder), *families] if covered else families


def _sharing(model: Any, plans: Sequence[BatchPlan], dropped: int) -> SharedLayers:
    """The part of a forward pass over rows of these plans that is the same for all rows of one text."""
    if len(plans) == 1:
        return SharedLayers()
    setups = {plan.key: plan.setup for plan in plans}
    shared = [shared_layers(model, setup, dropped) for setup in setups.values()]
    lowest = min(part.layers for part in shared)
    return SharedLayers(
        layers=lowest, to_adapter=bool(lowest) and all(part.to_adapter for part in shared if part.layers == lowest)
    )


def _row_groups(
    encoder: Encoder, plans: Sequence[BatchPlan], plan_of_row: Integers, key_of_plan: Integers, device: torch.device
) -> Iterator[RowGroup]:
    """The groups of rows that are sorted by the keys of their plans."""
    keys = key_of_plan[plan_of_row]
    edges = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
    for start, stop in pairwise(edges):
        plan = plans[plan_of_row[start]]
        yield RowGroup(
            rows=slice(start, stop),
            program=encoder.program(plan.key, plan.setup),
            slots=_slots(plans, plan_of_row[start:stop], device),
        )


def _head_outputs(
    plans: Sequence[BatchPlan], plan_of_row: Integers, encodings: Tensor
) -> Iterator[tuple[int, Tensor, Integers]]:
    """The index of each plan in a batch, the outputs of its heads, and the positions of its rows in the batch."""
    present = _present(plan_of_row)
    if len(present) == 1:
        yield present[0], weighted_outputs(plans[present[0]].heads, encodings).cpu(), np.arange(len(plan_of_row))
        return
    for index in present:
        positions = np.flatnonzero(plan_of_row == index)
        chosen = encodings[torch.from_numpy(positions).to(encodings.device)]
        yield index, weighted_outputs(plans[index].heads, chosen).cpu(), positions


def _text_numbers(rows: TokenRows, chosen: Integers) -> Integers:
    """A number for the text of each chosen row: the same for the same tokens in the same segments."""
    numbers: dict[tuple[bytes, bytes], int] = {}
    offsets = rows.offsets.tolist()
    ids, segments = rows.ids.numpy(), None if rows.segments is None else rows.segments.numpy()
    texts = np.empty(len(chosen), dtype=np.int64)
    for position, row in enumerate(chosen.tolist()):
        tokens = slice(offsets[row], offsets[row + 1])
        key = ids[tokens].tobytes(), b"" if segments is None else segments[tokens].tobytes()
        texts[position] = numbers.setdefault(key, len(numbers))
    return texts


def _distinct(texts: Integers, rows: Integers) -> tuple[Integers, Integers | None]:
    """The first of the rows of each text, and the text of each row; None if no two rows share a text."""
    _, first, text_of_row = np.unique(texts, return_index=True, return_inverse=True)
    return (rows, None) if len(first) == len(texts) else (rows[first], text_of_row)


def _slots(plans: Sequence[BatchPlan], plan_of_row: Integers, device: torch.device) -> dict[str, SlotIndex]:
    """The slot to read in each rack of plans with one key: one if it is the same for all rows, or one for each row."""
    present = _present(plan_of_row)
    slots: dict[str, SlotIndex] = {}
    for rack in plans[present[0]].slots:
        by_plan = {index: plans[index].slots[rack] for index in present}
        if len(set(by_plan.values())) == 1:
            slots[rack] = next(iter(by_plan.values()))
        else:
            slots[rack] = torch.tensor([by_plan[index] for index in plan_of_row.tolist()], device=device)
    return slots


def _present(plan_of_row: Integers) -> list[int]:
    """The plans of some rows, each once."""
    return sorted(set(plan_of_row.tolist()))


def _places(plan_of_row: Integers) -> Integers:
    """Each row's place among the rows of its plan."""
    order = np.argsort(plan_of_row, kind="stable")
    counts = np.bincount(plan_of_row)
    starts = np.cumsum(counts) - counts
    places = np.empty(len(plan_of_row), dtype=np.int64)
    places[order] = np.arange(len(plan_of_row)) - np.repeat(starts, counts)
    return places
