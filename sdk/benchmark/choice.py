"""Check a benchmark's lists of tasks, methods and seeds."""

from collections.abc import Sequence
from typing import Any

from pointsman.registry.errors import SettingsError, TaskNotFoundError, unknown

from ..methods import find_method
from ..tasks import GLUE
from .score import TASKS


def chosen_tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    """Check task names, and return them in the order of GLUE's tables.

    Raises:
        SettingsError: The list is empty, has a duplicate, or names a task without training rows.
        TaskNotFoundError: A task is unknown; the message lists the known ones.
    """
    _check_list("tasks", tasks)
    for task in tasks:
        if task in GLUE and not GLUE[task].trainable:
            other = GLUE[task].scored_with
            raise SettingsError(f"'{task}' has no training data: it is scored on {other}'s adapter, by evaluate")
        if task not in TASKS:
            raise unknown(TaskNotFoundError, "GLUE task", str(task), TASKS)
    return tuple(task for task in TASKS if task in tasks)


def chosen_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """Check method names, and return their current names.

    Raises:
        SettingsError: The list is empty, has a duplicate, or names a union that is not possible.
        MethodNotFoundError: A method is unknown; the message lists the known ones.
    """
    _check_list("methods", methods)
    names = [find_method(method).name for method in methods]
    _check_list("methods", names)
    return tuple(names)


def chosen_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Check seeds.

    Raises:
        SettingsError: The list is empty or has a duplicate.
    """
    _check_list("seeds", seeds)
    return tuple(seeds)


def _check_list(what: str, values: Sequence[Any]) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise SettingsError(f"{what} must be a list; found {values!r}")
    if not values:
        raise SettingsError(f"the list of {what} is empty; give at least one")
    if duplicates := [value for place, value in enumerate(values) if value in values[:place]]:
        raise SettingsError(f"{what} has the duplicate {duplicates[0]!r}")
