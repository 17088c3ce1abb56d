"""Devices: found by name, and what they compute fast."""

from contextlib import AbstractContextManager
from typing import Any

import torch

from pointsman.registry.errors import UnusableBaseError


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 matrices in hardware."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def torch_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UnusableBaseError: torch knows no such device, or this machine has none.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # so that "meta" is refused too, which has no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UnusableBaseError(f"the device '{name}' cannot be used: {reason}; 'cpu' always works") from error
    return device


def autocast_to(device: torch.device, autocast: torch.dtype | None) -> AbstractContextManager[Any]:
    """Autocast to a type on a device, or no autocast, whatever the caller has."""
    return torch.autocast(device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None)
