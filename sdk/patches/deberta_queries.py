"""DeBERTa's queries in autocast's type."""

from typing import Any

import torch


def cast_queries(model: Any) -> None:
    """Let a DeBERTa's queries be of autocast's type, whatever an adapter adds to them.

    It masks its attention's scores, which are of autocast's type, with the least number of its queries' type: of
    float32, which DoRA gives, that is none that bf16 has.

    Args:
        model: An adapters model of a DeBERTa, which keeps this for as long as it lives.
    """

    def cast(_: torch.nn.Module, __: Any, outputs: torch.Tensor) -> torch.Tensor:
        kind = outputs.device.type
        return outputs.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else outputs

    for name, module in model.named_modules():
        if name.endswith(".query_proj"):
            module.register_forward_hook(cast)
