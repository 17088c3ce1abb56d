"""What an adapter says of an input, out of its head's outputs."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...tasks import Task, kind_of


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an adapter says of one input."""

    label: str | None
    """The most probable class; None for a regression."""
    score: float
    """That class's probability, or the value of a regression."""
    probabilities: Mapping[str, float] | None = None
    """Every class's probability by name; None for a regression."""


def predictions(task: Task, logits: Tensor) -> list[Prediction]:
    """Read a head's outputs, ``(rows, labels)`` or ``(rows, 1)`` of a regression, row by row."""
    return [Prediction(*answer) for answer in kind_of(task).answers(task, logits)]
