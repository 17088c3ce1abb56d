"""What adapters learn: GLUE's tasks and the user's own, each of one kind. Only ``metrics`` imports heavy libraries."""

from .custom import custom_task
from .glue import GLUE, SYNTHETIC, glue_task
from .kinds import NO_CLASS, Answer, Kind, TargetScale, kind_of
from .task import METRICS, Task

__all__ = [
    "GLUE",
    "METRICS",
    "NO_CLASS",
    "SYNTHETIC",
    "Answer",
    "Kind",
    "TargetScale",
    "Task",
    "custom_task",
    "glue_task",
    "kind_of",
]
