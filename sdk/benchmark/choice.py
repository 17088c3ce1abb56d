"""What a benchmark may be asked for: some of GLUE's tasks, methods and seeds."""

from collections.abc import Sequence
from typing import Any

from pointsman.registry.errors import SettingsError, TaskNotFoundError, unknown

from ..methods import find_method
from ..tasks import GLUE
from .score import TASKS


def chosen_tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    """These tasks in the order of GLUE's tables.

    Raises:
        SettingsError: There are none, one is there twice, or one has no training rows.
        TaskNotFoundError: GLUE has no such task; the message lists those it has.
    """
    _check_list("tasks", tasks)
    for task in tasks:
        if task in GLUE and not GLUE[task].trainable:
            other = GLUE[task].scored_with
            raise SettingsError(f"'{task}' has no training data: score {other}'s adapter on it (evaluate)")
        if task not in TASKS:
            raise unknown(TaskNotFoundError, "GLUE task", str(task), TASKS)
    return tuple(task for task in TASKS if task in tasks)


def chosen_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """These methods by their names of today.

    Raises:
        SettingsError: There are none, one is there twice, or a union cannot be.
        MethodNotFoundError: There is no such method; the message lists those there are.
    """
    _check_list("methods", methods)
    names = [find_method(method).name for method in methods]
    _check_list("methods", names)
    return tuple(names)


def chosen_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """These seeds.

    Raises:
        SettingsError: There are none, or one is there twice.
    """
    _check_list("seeds", seeds)
    return tuple(seeds)


def _check_list(what: str, values: Sequence[Any]) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise SettingsError(f"{what} are a list; found {values!r}: put it into a list")
    if not values:
        raise SettingsError(f"the list of {what} is empty: give at least one")
    if twice := [value for place, value in enumerate(values) if value in values[:place]]:
        raise SettingsError(f"{what} has {twice[0]!r} twice: each is trained once")
