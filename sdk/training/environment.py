"""The environment of a run, recorded with it: other software or another processor can change a score."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import torch

from .commit import commit

PACKAGES: Final = ("pointsman", "torch", "transformers", "adapters", "datasets", "tokenizers", "safetensors")


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Versions, processor, device, threads, the precision of training, and the commit of the user's code, as JSON.

    Args:
        device: The device of the training.
        precision: The resolved precision.
    """
    return {
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "precision": precision,
        "git": commit(),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences between two environments that can change a score, as ``threads: 4, now 2``."""
    old, new = ({**environment, **(environment.get("packages") or {})} for environment in (before, now))
    names = ("processor", "device", "precision", "threads", *PACKAGES)
    return [f"{name}: {old.get(name)}, now {new.get(name)}" for name in names if old.get(name) != new.get(name)]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a path of the user's
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
