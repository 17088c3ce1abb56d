"""DeBERTa's queries in autocast's type.

DeBERTa-v2 (transformers 4.57, adapters 1.3.0) masks its attention scores, which have autocast's type, with the least
number of its queries' type. DoRA makes the queries float32, whose least number does not fit into bf16 scores: the
forward pass fails with an overflow.

The patch casts the queries to autocast's type, with every adapter.
"""

from typing import Any

import torch


def install(model: Any) -> None:
    """Let a DeBERTa's queries have autocast's type; other bases are not changed."""
    if model.config.model_type != "deberta-v2":
        return
    for name, module in model.named_modules():
        if name.endswith(".query_proj") and _cast not in module._forward_hooks.values():
            module.register_forward_hook(_cast)


def _cast(_: torch.nn.Module, __: Any, outputs: torch.Tensor) -> torch.Tensor:
    kind = outputs.device.type
    return outputs.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else outputs
