"""What a kind of task decides."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import ClassLabel, Value
    from numpy.typing import NDArray
    from torch import Tensor

    from ..task import Task
    from .target_scale import TargetScale


class Answer(NamedTuple):
    """What a head's outputs say of one row."""

    label: str | None
    """The most probable class; None for a score."""
    score: float
    """That class's probability, or the score itself."""
    probabilities: dict[str, float] | None
    """Every class's probability by name; None for a score."""


class Kind(ABC):
    """What is learned from a label: how many outputs a head has, their loss, and what they say.

    A kind has no state; heavy libraries are imported by the methods that use them.

    Examples:
        >>> kind_of(GLUE["stsb"]).outputs(GLUE["stsb"])
        1
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    """The metrics that can score it."""
    missing: ClassVar[float]
    """What stands for a label that is missing."""

    @abstractmethod
    def default_metrics(self, classes: int) -> tuple[str, ...]:
        """The metrics of a task of the user's own, the primary one first."""

    @abstractmethod
    def outputs(self, task: "Task") -> int:
        """How many outputs the head has."""

    @abstractmethod
    def loss(
        self, outputs: "Tensor", labels: "Tensor", *, weights: "Tensor | None" = None, reduction: str = "mean"
    ) -> "Tensor":
        """The loss of rows.

        Args:
            outputs: The head's, ``(rows, outputs)``.
            labels: ``(rows,)``, of the type that ``feature`` gives them.
            weights: What each class counts, ``(classes,)``; None: 1.
            reduction: ``mean`` or ``sum`` over the rows, as torch names it.
        """

    def target_scale(self, labels: "NDArray[Any]") -> "TargetScale | None":
        """The unit that a training takes out of its labels, ``(rows,)``; None: it learns them as they are."""
        return None

    @abstractmethod
    def scored(self, outputs: "Tensor") -> "Tensor":
        """What metrics compare with the labels, ``(rows,)``, read from a head's outputs, ``(rows, outputs)``."""

    @abstractmethod
    def answers(self, task: "Task", outputs: "Tensor") -> list[Answer]:
        """What a head's outputs, ``(rows, outputs)``, say of each row."""

    @abstractmethod
    def feature(self, task: "Task") -> "ClassLabel | Value":
        """The type of a label in a data set; its ``pa_type`` is that in an Arrow table."""

    @abstractmethod
    def is_missing(self, labels: "NDArray[Any]") -> "NDArray[np.bool_]":
        """Which rows have no label, ``(rows,)``."""

    @abstractmethod
    def describe_label(self, task: "Task", label: Any) -> str:
        """A label of a row, for a message: ``label is 'positive'``."""

    def label_array(self, task: "Task", labels: Sequence[float]) -> "pa.Array":
        """Labels as Arrow holds them."""
        import pyarrow as pa  # noqa: PLC0415

        return pa.array(labels, self.feature(task).pa_type)
