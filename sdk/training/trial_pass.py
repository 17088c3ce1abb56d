"""Try a configuration with one forward and backward pass."""

from collections.abc import Mapping
from typing import Any

import torch

from pointsman.registry.errors import SettingsError

from ..core.devices import autocast_to
from ..core.memory import is_out_of_memory


def check_runs(
    model: Any, slot: str, batch: Mapping[str, torch.Tensor], *, autocast: torch.dtype | None = None
) -> None:
    """Try one forward and backward pass, and leave the model and the random generators unchanged.

    A configuration has many fields, and some of their combinations fail only in a pass.

    Args:
        model: An adapters model with the adapter in ``slot`` active and trainable, before any gradient.
        slot: The adapter and head.
        batch: Model inputs, ``(rows, tokens)`` each.
        autocast: Compute matrix products in this type; None for the model's own.

    Raises:
        SettingsError: The pass fails, or the adapter has no effect.
    """
    device = model.device
    inputs = {name: tensor.to(device) for name, tensor in batch.items()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), autocast_to(device, autocast):
        try:
            model(**inputs, head=slot).logits.float().sum().backward()
        except (ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            raise SettingsError(
                f"this configuration does not run on a {model.config.model_type} base: {type(error).__name__}: {error}"
            ) from error
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    used = any(
        parameter.grad is not None and bool((parameter.grad != 0).any())
        for name, parameter in trained
        if not name.startswith("heads.")
    )
    for _, parameter in trained:
        parameter.grad = None
    if not used:
        raise SettingsError("this configuration adapts nothing; every place of the method is switched off or left out")
