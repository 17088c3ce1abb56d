"""What a run ran on: recorded with it, so that a number can be told from the machine that made it."""

import os
import platform
from importlib.metadata import version
from typing import Any, Final

import torch

PACKAGES: Final = ("pointsman", "torch", "transformers", "adapters", "datasets", "tokenizers", "safetensors")


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Versions, processor, device, threads and the precision of training, as JSON."""
    return {
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "precision": precision,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a path of the user's
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
