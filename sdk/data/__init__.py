"""The data of tasks: GLUE from the hub or a directory, synthetic rows, tables of the user's own."""

from .loading import available_splits, load_table_data, load_table_rows, load_task_data, split_names
from .splits import Split, TaskData

__all__ = [
    "Split",
    "TaskData",
    "available_splits",
    "load_table_data",
    "load_table_rows",
    "load_task_data",
    "split_names",
]
