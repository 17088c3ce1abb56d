"""The memory of this process: errors that tell of its end, and giving back what was freed."""

import ctypes
import sys
from typing import Final

import torch

_PHRASES: Final = ("can't allocate memory", "not enough memory", "out of memory")
"""The words of torch's allocators on a CPU and on MPS, which raise a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine, had no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _PHRASES)


def trim_heap() -> None:
    """Return freed memory to the system, also from between blocks in use (malloc_trim(3)); takes a few milliseconds.

    Only glibc holds so much that it matters: a fifth of the memory of a thousand adapters. With other C libraries this
    does nothing.
    """
    if sys.platform == "linux":
        function = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if function is not None:
            function(0)
