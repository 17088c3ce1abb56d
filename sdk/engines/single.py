"""Forward passes with one adapter, active in this thread only."""

from contextlib import nullcontext
from typing import Any, Final

import torch
from adapters import AdapterSetup
from torch import nn

from ..core.devices import autocast_to
from ..data.batches import in_row_order, sorted_batches
from ..data.tokens import TokenRows
from .encoder import Encoder, RowGroup

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
    encoder: Encoder | None = None,
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
        encoder: The fast engine for the model, if it covers the adapters; None: the library's modules.
    """
    device = model.device
    batches = list(sorted_batches(rows.lengths, batch_rows, exact_lengths=exact_lengths))
    program = None if encoder is None else encoder.program(slot, setup or slot)

    def outputs(inputs: dict[str, torch.Tensor]) -> Any:
        if encoder is None or program is None:
            return model(**inputs, head=slot).logits
        group = RowGroup(rows=slice(0, len(inputs["input_ids"])), program=program, slots={})
        return nn.Sequential.forward(model.heads[slot], encoder(inputs, [group]))  # type: ignore[no-untyped-call]

    parts = []
    # The fast engine activates adapters itself, in the modules of the library that it calls.
    active = AdapterSetup(setup or slot) if encoder is None else nullcontext()
    with torch.inference_mode(), autocast_to(device, autocast), active:
        for indices in batches:
            inputs = {name: tensor.to(device) for name, tensor in rows.batch(indices.tolist()).items()}
            parts.append(outputs(inputs).float().cpu())
    return in_row_order(parts, batches)
