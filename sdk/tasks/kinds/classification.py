"""A single label: one class out of several."""

from typing import TYPE_CHECKING, Any, Final

from .kind import Answer, Kind

if TYPE_CHECKING:
    import numpy as np
    from datasets import ClassLabel
    from numpy.typing import NDArray
    from torch import Tensor

    from ..task import Task

NO_CLASS: Final = -1
"""The class id of a row without a label, as on the Hugging Face hub."""


class Classification(Kind):
    """One class of a row, by cross entropy over one output a class."""

    name = "classification"
    metrics = ("accuracy", "f1", "f1_macro", "matthews_correlation")
    missing = NO_CLASS

    def default_metrics(self, classes: int) -> tuple[str, ...]:
        """Accuracy, F1 (of class 1 where there are two classes, else the macro mean) and Matthews' correlation."""
        return ("accuracy", "f1" if classes == 2 else "f1_macro", "matthews_correlation")

    def outputs(self, task: "Task") -> int:
        """One a class."""
        return len(task.labels)

    def loss(
        self, outputs: "Tensor", labels: "Tensor", *, weights: "Tensor | None" = None, reduction: str = "mean"
    ) -> "Tensor":
        """Cross entropy."""
        from torch.nn import functional  # noqa: PLC0415

        return functional.cross_entropy(outputs, labels, weight=weights, reduction=reduction)

    def scored(self, outputs: "Tensor") -> "Tensor":
        """The class ids with the greatest outputs."""
        return outputs.argmax(dim=1)

    def answers(self, task: "Task", outputs: "Tensor") -> list[Answer]:
        """The most probable class of each row, by softmax."""
        return [
            Answer(label, probabilities[label], probabilities)
            for row in outputs.softmax(dim=1).tolist()
            for probabilities in [dict(zip(task.labels, row, strict=True))]
            for label in [max(probabilities, key=probabilities.__getitem__)]
        ]

    def feature(self, task: "Task") -> "ClassLabel":
        """Class ids with their names; int64 in Arrow."""
        from datasets import ClassLabel  # noqa: PLC0415

        return ClassLabel(names=list(task.labels))

    def is_missing(self, labels: "NDArray[Any]") -> "NDArray[np.bool_]":
        """Where the class id is below 0."""
        return labels < 0

    def describe_label(self, task: "Task", label: Any) -> str:
        """By the class's name."""
        return f"label is {task.labels[int(label)]!r}"
