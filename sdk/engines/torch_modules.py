"""Forward passes over rows of any mix: as few as there are ways to set the model, each with its rows' slots."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from adapters import AdapterSetup
from torch import Tensor

from ..core.devices import autocast_to
from ..data.batches import cut
from ..data.tokens import TokenRows
from ..patches.forward_context import ForwardContext, SharedLayers, forward_context
from ..patches.layer_drop import shared_layers
from ..patches.rack_modules import SlotIndex, reading_slots
from .batch_plan import BatchPlan
from .heads import weighted_outputs
from .single import BATCH_ROWS

_SHARED_ROWS: Final = 8 * BATCH_ROWS
"""Rows in a forward pass whose lower layers run on fewer: they would be too few there for the processor otherwise."""

Integers = np.ndarray[Any, np.dtype[np.int64]]


def mixed_outputs(
    model: Any,
    plans: Sequence[BatchPlan],
    of_row: Integers,
    rows: TokenRows,
    *,
    autocast: torch.dtype | None = None,
    drop_layers: int = 0,
) -> list[Tensor]:
    """The heads' outputs of rows that each have a plan.

    Args:
        model: An adapters model in evaluation mode, which does not change meanwhile.
        plans: The plans.
        of_row: The index of each row's plan, ``(rows,)``.
        rows: The inputs.
        autocast: Compute matrix products in this type; None for the model's own.
        drop_layers: Skip the adapters of so many layers, the lowest ones.

    Returns:
        For each plan ``(its rows, outputs)`` in float32 on the CPU, in the order of the rows.
    """
    results = [torch.empty(int(count), plan.outputs) for count, plan in zip(_counts(of_row, plans), plans, strict=True)]
    place = _places(of_row)
    groups: dict[str, list[int]] = {}
    for index, plan in enumerate(plans):
        groups.setdefault(plan.key, []).append(index)
    with torch.inference_mode(), autocast_to(model.device, autocast):
        for members in groups.values():
            chosen = np.flatnonzero(np.isin(of_row, members)) if len(groups) > 1 else np.arange(len(of_row))
            # The rows of one adapter each have their own text, as a rule.
            sharing = shared_layers(model, plans[members[0]].setup, drop_layers) if len(members) > 1 else SharedLayers()
            texts = _texts(rows, chosen) if sharing.layers else np.arange(len(chosen))
            # Longest first: what does not fit into memory shows at once, and buffers are at their largest at first.
            order = np.lexsort((texts, -rows.lengths[chosen]))
            chosen, texts = chosen[order], texts[order]
            exact_lengths = any(plans[index].exact_lengths for index in members)
            first_only = all(plans[index].token_by_token for index in members)
            most = _SHARED_ROWS if sharing.layers else BATCH_ROWS
            for batch in _batches(rows.lengths[chosen], texts, most, exact_lengths=exact_lengths):
                these = chosen[batch]
                first, text_of = _distinct(texts[batch], model.device)
                way = ForwardContext(
                    dropped=drop_layers, sharing=sharing, text_of=text_of, texts=len(first), first_only=first_only
                )
                inputs = rows.batch(these[first].tolist())
                for index, logits, among in _forward(model, plans, of_row[these], inputs, way):
                    results[index][torch.from_numpy(place[these[among]])] = logits
    return results


def _forward(
    model: Any, plans: Sequence[BatchPlan], of_row: Integers, batch: Mapping[str, Tensor], way: ForwardContext
) -> list[tuple[int, Tensor, Integers]]:
    """One forward pass: for each plan in it its outputs, and which of the rows they are of."""
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
    present = np.unique(of_row)
    slots = _slots(plans, present, of_row, model.device)
    with AdapterSetup(plans[present[0]].setup), reading_slots(slots), forward_context(way):
        encodings = way.by_row(model.base_model(**inputs)[0][:, 0])
    if len(present) == 1:
        index = int(present[0])
        everything = np.arange(len(of_row))
        return [(index, weighted_outputs(plans[index].heads, encodings).cpu(), everything)]
    found = []
    for index in present.tolist():
        among = np.flatnonzero(of_row == index)
        logits = weighted_outputs(plans[index].heads, encodings[torch.from_numpy(among).to(encodings.device)])
        found.append((index, logits.cpu(), among))
    return found


def _texts(rows: TokenRows, chosen: Integers) -> Integers:
    """A number for the text of each chosen row: the same for the same tokens in the same segments."""
    numbers: dict[tuple[bytes, bytes], int] = {}
    offsets = rows.offsets.tolist()
    ids, segments = rows.ids.numpy(), None if rows.segments is None else rows.segments.numpy()
    found = np.empty(len(chosen), dtype=np.int64)
    for place, row in enumerate(chosen.tolist()):
        tokens = slice(offsets[row], offsets[row + 1])
        key = ids[tokens].tobytes(), b"" if segments is None else segments[tokens].tobytes()
        found[place] = numbers.setdefault(key, len(numbers))
    return found


def _distinct(texts: Integers, device: torch.device) -> tuple[Integers, Tensor | None]:
    """The place of each text's first row, and the text of each row; None where no two rows share one."""
    _, first, text_of = np.unique(texts, return_index=True, return_inverse=True)
    if len(first) == len(texts):
        return np.arange(len(texts)), None
    return first, torch.from_numpy(text_of).to(device)


def _batches(lengths: Integers, texts: Integers, most: int, *, exact_lengths: bool) -> Iterator[slice]:
    """Cut rows that are sorted by length and text into batches, and none of them inside a text that fits into one."""
    for part in cut(lengths, len(lengths), exact_lengths=exact_lengths):
        start = part.start
        while start < part.stop:
            stop = min(start + most, part.stop)
            if stop < part.stop and texts[stop - 1] == texts[stop]:
                begun = start + int(np.argmax(texts[start:stop] == texts[stop]))
                stop = begun if begun > start else stop
            yield slice(start, stop)
            start = stop


def _slots(
    plans: Sequence[BatchPlan], present: Integers, of_row: Integers, device: torch.device
) -> dict[str, SlotIndex]:
    """The slot in each lane: one, where all rows read the same, or one a row."""
    slots: dict[str, SlotIndex] = {}
    for lane in plans[present[0]].slots:
        by_plan = {index: plans[index].slots[lane] for index in present.tolist()}
        if len(set(by_plan.values())) == 1:
            slots[lane] = next(iter(by_plan.values()))
        else:
            slots[lane] = torch.tensor([by_plan[index] for index in of_row.tolist()], device=device)
    return slots


def _counts(of_row: Integers, plans: Sequence[BatchPlan]) -> Integers:
    return np.bincount(of_row, minlength=len(plans))


def _places(of_row: Integers) -> Integers:
    """Each row's place among the rows of its plan."""
    order = np.argsort(of_row, kind="stable")
    counts = np.bincount(of_row)
    starts = np.cumsum(counts) - counts
    places = np.empty(len(of_row), dtype=np.int64)
    places[order] = np.arange(len(of_row)) - np.repeat(starts, counts)
    return places
