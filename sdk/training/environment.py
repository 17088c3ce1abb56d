"""What a run ran on: recorded with it, so that a number can be told from the machine that made it."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import torch

PACKAGES: Final = ("pointsman", "torch", "transformers", "adapters", "datasets", "tokenizers", "safetensors")


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Versions, processor, device, threads, the precision of training, and the commit of the user's code, as JSON."""
    return {
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "precision": precision,
        "git": _commit(),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two environments that a number can depend on do not have in common: ``threads: 4, now 2``."""
    old, new = ({**one, **(one.get("packages") or {})} for one in (before, now))
    names = ("processor", "device", "precision", "threads", *PACKAGES)
    return [f"{name}: {old.get(name)}, now {new.get(name)}" for name in names if old.get(name) != new.get(name)]


def _commit() -> dict[str, Any] | None:
    """The commit that the working directory is at, and whether it is changed; None where it is none of git's."""
    try:
        commit, status = (
            subprocess.run(["git", *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(status)}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a path of the user's
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
