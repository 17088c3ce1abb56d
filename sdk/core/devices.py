"""Devices by name, and the number formats that they compute fast."""

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
    """Find a device by torch's name.

    Raises:
        UnusableBaseError: The name is unknown to torch, or this machine has no such device.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # also refuses "meta", which holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UnusableBaseError(f"the device '{name}' cannot be used: {reason}; 'cpu' always works") from error
    return device


def autocast_to(device: torch.device, autocast: torch.dtype | None) -> AbstractContextManager[Any]:
    """Autocast to a type on a device, or no autocast, independent of the caller's own autocast."""
    return torch.autocast(device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None)
