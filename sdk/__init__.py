"""The SDK: train adapters, and switch between them on one loaded base.

Names are imported when they are first used: torch, transformers and adapters take seconds to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .benchmark import glue
    from .evaluation import evaluate
    from .loop import Progress
    from .settings import TrainSettings
    from .submission import submit
    from .switcher import Prediction, Switcher
    from .tasks import GLUE, Task
    from .training import resume, train, train_like
    from .tuning import tune

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
    "Progress": "loop",
    "Switcher": "switcher",
    "Task": "tasks",
    "TrainSettings": "settings",
    "evaluate": "evaluation",
    "glue": "benchmark",
    "submit": "submission",
    "resume": "training",
    "train": "training",
    "train_like": "training",
    "tune": "tuning",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
