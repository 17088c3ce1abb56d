"""The kinds of tasks: what a label is, and what follows from it for heads, losses, answers and metrics."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pointsman.registry.errors import SettingsError, unknown

from .classification import NO_CLASS, Classification
from .kind import Answer, Kind
from .regression import Regression
from .target_scale import TargetScale

if TYPE_CHECKING:
    from ..task import Task

__all__ = ["KINDS", "NO_CLASS", "Answer", "Kind", "TargetScale", "kind_of"]

KINDS: Final[Mapping[str, Kind]] = MappingProxyType({kind.name: kind for kind in (Classification(), Regression())})
"""Every kind by name."""


def kind_of(task: "Task") -> Kind:
    """The kind of a task: a classification where it has class names, else a regression.

    Raises:
        SettingsError: The task is of a kind that only a newer release knows.
    """
    name = task.extra.get("kind", Classification.name if task.labels else Regression.name)
    if not isinstance(name, str) or name not in KINDS:
        hint = f"the task '{task.name}' was stored by a newer release"
        raise unknown(SettingsError, "task kind", str(name), KINDS, hint)
    return KINDS[name]
