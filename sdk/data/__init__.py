"""The data of tasks: from the hub, directories, files, or made up."""

from .loading import load_table_data, load_task_data, split_names, splits_there
from .splits import Split, TaskData

__all__ = ["Split", "TaskData", "load_table_data", "load_task_data", "split_names", "splits_there"]
