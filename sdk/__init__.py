"""The SDK: train adapters, and switch between them on one loaded base.

Names are imported when they are first used: torch, transformers and adapters take seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .benchmark.glue import glue
    from .benchmark.submission import submit
    from .evaluation import evaluate
    from .switcher import Prediction, Switcher
    from .tasks import GLUE, Task
    from .training.loop import Progress
    from .training.settings import TrainSettings
    from .training.train import resume, train, train_like
    from .tuning.tune import tune

__all__ = [
    "GLUE",
    "Prediction",
    "Progress",
    "Switcher",
    "Task",
    "TrainSettings",
    "evaluate",
    "glue",
    "resume",
    "submit",
    "train",
    "train_like",
    "tune",
]

_MODULES = {
    "GLUE": "tasks",
    "Prediction": "switcher",
    "Progress": "training.loop",
    "Switcher": "switcher",
    "Task": "tasks",
    "TrainSettings": "training.settings",
    "evaluate": "evaluation",
    "glue": "benchmark.glue",
    "submit": "benchmark.submission",
    "resume": "training.train",
    "train": "training.train",
    "train_like": "training.train",
    "tune": "tuning.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
