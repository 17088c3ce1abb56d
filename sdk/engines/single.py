"""Forward passes with one adapter: sorted by length, the adapter active in this thread only."""

from typing import Any, Final

import numpy as np
import torch
from adapters import AdapterSetup

from ..core.devices import autocast_to
from ..data.batches import cut
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
        exact_lengths: Never pad: only rows of the same length share a batch (see ``support.reads_padding``).
        autocast: Compute matrix products in this type; None for the model's own.
        batch_rows: Rows in one forward.
        setup: What is active, a composition of the adapters library; None: the adapter in ``slot``.
    """
    device = model.device
    # Longest first: what does not fit into memory shows at once, and buffers are allocated at their largest first.
    order = np.argsort(-rows.lengths, kind="stable")
    parts = []
    with torch.inference_mode(), autocast_to(device, autocast), AdapterSetup(setup or slot):
        for chosen in cut(rows.lengths[order], batch_rows, exact_lengths=exact_lengths):
            batch = rows.batch(order[chosen].tolist())
            inputs = {name: tensor.to(device) for name, tensor in batch.items()}
            parts.append(model(**inputs, head=slot).logits.float().cpu())
    result = torch.cat(parts)
    back = torch.empty_like(result)
    back[torch.from_numpy(order)] = result
    return back
