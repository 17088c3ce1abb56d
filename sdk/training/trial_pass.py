"""One forward and backward pass that finds out whether a configuration runs at all."""

from collections.abc import Mapping
from typing import Any

import torch

from pointsman.registry.errors import SettingsError

from ..core.devices import autocast_to
from ..core.memory import is_out_of_memory


def check_runs(
    model: Any, slot: str, batch: Mapping[str, torch.Tensor], *, autocast: torch.dtype | None = None
) -> None:
    """Try one forward and backward pass, and leave the model and the random numbers as they were.

    Fields that can be set are many; what some combination of them comes to shows there only.

    Args:
        model: An adapters model with the adapter in ``slot`` active and trainable, before any gradient.
        slot: The adapter and head.
        batch: Inputs to try it on.
        autocast: Compute matrix products in this type; None for the model's own.

    Raises:
        SettingsError: The adapter fails, or nothing of it has an effect.
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
        raise SettingsError(
            "this configuration adapts nothing: every place where the method could be is switched off or left out"
        )
