"""What adapters learn: GLUE's tasks and tasks of the user's own. Only ``metrics`` imports heavy libraries."""

from .custom import custom_task
from .glue import GLUE, SYNTHETIC, glue_task
from .task import METRICS, Task

__all__ = ["GLUE", "METRICS", "SYNTHETIC", "Task", "custom_task", "glue_task"]
