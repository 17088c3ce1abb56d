"""The SDK: train adapters, switch between them on one loaded base, and combine them into new versions.

Each name is imported on its first use: torch, transformers and adapters take seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .benchmark.glue import glue
    from .benchmark.submission import submit
    from .combining.attention import FusionAttention, fusion_attention
    from .combining.fuse import fuse
    from .combining.merging.merge import merge
    from .core.composition import Average, BatchSplit, Fuse, Parallel, Stack
    from .core.read_settings import ReadSettings
    from .switching.compose import compose
    from .switching.evaluate import evaluate
    from .switching.execute.predictions import Prediction
    from .switching.switcher import Switcher
    from .tasks import GLUE, Task
    from .training.progress import Progress
    from .training.settings import TrainSettings
    from .training.train import resume, train, train_like
    from .training.train_many import train_many
    from .tuning.tune import tune

__all__ = [
    "GLUE",
    "Average",
    "BatchSplit",
    "Fuse",
    "FusionAttention",
    "Parallel",
    "Prediction",
    "Progress",
    "ReadSettings",
    "Stack",
    "Switcher",
    "Task",
    "TrainSettings",
    "compose",
    "evaluate",
    "fuse",
    "fusion_attention",
    "glue",
    "merge",
    "resume",
    "submit",
    "train",
    "train_like",
    "train_many",
    "tune",
]

_MODULES = {
    "Average": "core.composition",
    "BatchSplit": "core.composition",
    "Fuse": "core.composition",
    "FusionAttention": "combining.attention",
    "GLUE": "tasks",
    "Parallel": "core.composition",
    "Prediction": "switching.execute.predictions",
    "Progress": "training.progress",
    "ReadSettings": "core.read_settings",
    "Stack": "core.composition",
    "Switcher": "switching.switcher",
    "Task": "tasks",
    "TrainSettings": "training.settings",
    "compose": "switching.compose",
    "evaluate": "switching.evaluate",
    "fuse": "combining.fuse",
    "fusion_attention": "combining.attention",
    "glue": "benchmark.glue",
    "submit": "benchmark.submission",
    "merge": "combining.merging.merge",
    "resume": "training.train",
    "train": "training.train",
    "train_like": "training.train",
    "train_many": "training.train_many",
    "tune": "tuning.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
