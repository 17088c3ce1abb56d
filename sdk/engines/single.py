"""Forward passes with one adapter, active in this thread only."""

from typing import Any, Final

import torch
from adapters import AdapterSetup

from ..core.devices import autocast_to
from ..data.batches import in_row_order, sorted_batches
from ..data.tokens import TokenRows

BATCH_ROWS: Final = 64
"""Rows in a batch of inference."""


def adapter_outputs(
    model: Any,
    slot: str,
    rows: TokenRows,
    *,
    exact_lengths: bool = False,
    autocast: torch.dtype | None = None,
    batch_rows: int = BATCH_ROWS,
    setup: Any = None,
) -> torch.Tensor:
    """The head's outputs for rows, ``(rows, outputs)`` in float32 on the CPU, in the order of the rows.

    Args:
        model: An adapters model in evaluation mode.
        slot: The adapter and head in it.
        rows: The inputs.
        exact_lengths: Never pad: only rows of the same length share a batch (see ``methods.support.reads_padding``).
        autocast: The type of matrix products; None: the model's own.
        batch_rows: Rows in a batch at most.
        setup: The active adapters, a composition block of the adapters library; None: the adapter in ``slot``.
    """
    device = model.device
    batches = list(sorted_batches(rows.lengths, batch_rows, exact_lengths=exact_lengths))
    parts = []
    with torch.inference_mode(), autocast_to(device, autocast), AdapterSetup(setup or slot):
        for indices in batches:
            inputs = {name: tensor.to(device) for name, tensor in rows.batch(indices.tolist()).items()}
            parts.append(model(**inputs, head=slot).logits.float().cpu())
    return in_row_order(parts, batches)
