"""Telling an error of memory from any other."""

from typing import Final

import torch

_SAID: Final = ("can't allocate memory", "not enough memory", "out of memory")
"""By torch's allocators on a CPU and on MPS, in a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID)
