"""Forward passes over rows of any mix of adapters: one per batch and set of active modules, each row with its slots."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from adapters import AdapterSetup
from torch import Tensor

from ..core.devices import autocast_to
from ..data.batches import Integers, sorted_batches
from ..data.tokens import TokenRows
from ..patches.forward_context import ForwardContext, SharedLayers, SlotIndex, forward_context
from ..patches.layer_drop import shared_layers
from .batch_plan import BatchPlan
from .heads import weighted_outputs
from .single import BATCH_ROWS

_SHARED_ROWS: Final = 8 * BATCH_ROWS
"""Rows in a batch whose lower layers run once per text: these would have too few texts in a batch of usual size."""


def mixed_outputs(
    model: Any,
    plans: Sequence[BatchPlan],
    plan_of_row: Integers,
    rows: TokenRows,
    *,
    autocast: torch.dtype | None = None,
    drop_layers: int = 0,
) -> list[Tensor]:
    """The heads' outputs for rows that each have a plan.

    Args:
        model: An adapters model in evaluation mode, which does not change meanwhile.
        plans: The plans.
        plan_of_row: The index of each row's plan, ``(rows,)``.
        rows: The inputs.
        autocast: The type of matrix products; None: the model's own.
        drop_layers: The number of lowest layers whose adapters are skipped.

    Returns:
        For each plan ``(its rows, outputs)`` in float32 on the CPU, in the order of the rows.
    """
    counts = np.bincount(plan_of_row, minlength=len(plans))
    results = [torch.empty(int(count), plan.outputs) for count, plan in zip(counts, plans, strict=True)]
    place = _places(plan_of_row)
    plans_by_key: dict[str, list[int]] = {}
    for index, plan in enumerate(plans):
        plans_by_key.setdefault(plan.key, []).append(index)
    with torch.inference_mode(), autocast_to(model.device, autocast):
        for members in plans_by_key.values():
            is_all = len(plans_by_key) == 1
            chosen = np.arange(len(plan_of_row)) if is_all else np.flatnonzero(np.isin(plan_of_row, members))
            # The rows of one plan usually have a text each, so there is nothing to share.
            sharing = shared_layers(model, plans[members[0]].setup, drop_layers) if len(members) > 1 else SharedLayers()
            texts = _text_numbers(rows, chosen) if sharing.layers else None
            batches = sorted_batches(
                rows.lengths[chosen],
                _SHARED_ROWS if sharing.layers else BATCH_ROWS,
                exact_lengths=any(plans[index].exact_lengths for index in members),
                groups=texts,
            )
            first_token_only = all(plans[index].token_by_token for index in members)
            for batch in batches:
                batch_rows = chosen[batch]
                first_rows, text_of_row = _distinct(np.arange(len(batch)) if texts is None else texts[batch])
                context = ForwardContext(
                    dropped=drop_layers,
                    sharing=sharing,
                    text_of_row=None if text_of_row is None else torch.from_numpy(text_of_row).to(model.device),
                    texts=len(first_rows),
                    first_token_only=first_token_only,
                )
                inputs = rows.batch(batch_rows[first_rows].tolist())
                for index, logits, positions in _forward(model, plans, plan_of_row[batch_rows], inputs, context):
                    results[index][torch.from_numpy(place[batch_rows[positions]])] = logits
    return results


def _forward(
    model: Any, plans: Sequence[BatchPlan], plan_of_row: Integers, batch: Mapping[str, Tensor], context: ForwardContext
) -> list[tuple[int, Tensor, Integers]]:
    """Run one batch: the index of each plan in it, its outputs, and the positions of its rows in the batch."""
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
    present = np.unique(plan_of_row)
    context.slots = _slots(plans, present, plan_of_row, model.device)
    with AdapterSetup(plans[present[0]].setup), forward_context(context):
        encodings = context.by_row(model.base_model(**inputs)[0][:, 0])
    if len(present) == 1:
        index = int(present[0])
        return [(index, weighted_outputs(plans[index].heads, encodings).cpu(), np.arange(len(plan_of_row)))]
    outputs = []
    for index in present.tolist():
        positions = np.flatnonzero(plan_of_row == index)
        logits = weighted_outputs(plans[index].heads, encodings[torch.from_numpy(positions).to(encodings.device)])
        outputs.append((index, logits.cpu(), positions))
    return outputs


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


def _distinct(texts: Integers) -> tuple[Integers, Integers | None]:
    """The position of each text's first row, and the text of each row; None if no two rows share a text."""
    _, first_rows, text_of_row = np.unique(texts, return_index=True, return_inverse=True)
    if len(first_rows) == len(texts):
        return np.arange(len(texts)), None
    return first_rows, text_of_row


def _slots(
    plans: Sequence[BatchPlan], present: Integers, plan_of_row: Integers, device: torch.device
) -> dict[str, SlotIndex]:
    """The slot to read in each rack: one if it is the same for all rows, or one for each row."""
    slots: dict[str, SlotIndex] = {}
    for rack in plans[present[0]].slots:
        by_plan = {index: plans[index].slots[rack] for index in present.tolist()}
        if len(set(by_plan.values())) == 1:
            slots[rack] = next(iter(by_plan.values()))
        else:
            slots[rack] = torch.tensor([by_plan[index] for index in plan_of_row.tolist()], device=device)
    return slots


def _places(plan_of_row: Integers) -> Integers:
    """Each row's place among the rows of its plan."""
    order = np.argsort(plan_of_row, kind="stable")
    counts = np.bincount(plan_of_row)
    starts = np.cumsum(counts) - counts
    places = np.empty(len(plan_of_row), dtype=np.int64)
    places[order] = np.arange(len(plan_of_row)) - np.repeat(starts, counts)
    return places
