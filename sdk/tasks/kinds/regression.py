"""A score: one number."""

from math import nan
from typing import TYPE_CHECKING, Any

from .kind import Answer, Kind
from .target_scale import TargetScale

if TYPE_CHECKING:
    import numpy as np
    from datasets import Value
    from numpy.typing import NDArray
    from torch import Tensor

    from ..task import Task


class Regression(Kind):
    """A score of a row, by the squared error of one output."""

    name = "regression"
    metrics = ("pearson", "spearmanr", "mae", "mse")
    missing = nan

    def default_metrics(self, classes: int) -> tuple[str, ...]:
        """Pearson's and Spearman's correlation, and the mean absolute error in the unit of the scores."""
        return ("pearson", "spearmanr", "mae")

    def outputs(self, task: "Task") -> int:
        """One."""
        return 1

    def loss(
        self, outputs: "Tensor", labels: "Tensor", *, weights: "Tensor | None" = None, reduction: str = "mean"
    ) -> "Tensor":
        """The squared error; there are no classes to weigh."""
        from torch.nn import functional  # noqa: PLC0415

        return functional.mse_loss(outputs[:, 0], labels, reduction=reduction)

    def target_scale(self, labels: "NDArray[Any]") -> TargetScale:
        """That of the scores, so that any unit is learned as well as another."""
        return TargetScale.of(labels)

    def scored(self, outputs: "Tensor") -> "Tensor":
        """The outputs themselves."""
        return outputs[:, 0]

    def answers(self, task: "Task", outputs: "Tensor") -> list[Answer]:
        """The score of each row."""
        return [Answer(None, value, None) for value in outputs[:, 0].tolist()]

    def feature(self, task: "Task") -> "Value":
        """A float32."""
        from datasets import Value  # noqa: PLC0415

        return Value("float32")

    def is_missing(self, labels: "NDArray[Any]") -> "NDArray[np.bool_]":
        """Where the score is NaN."""
        import numpy as np  # noqa: PLC0415

        missing: NDArray[np.bool_] = np.isnan(labels)
        return missing

    def describe_label(self, task: "Task", label: Any) -> str:
        """By its value."""
        return f"score is {label:g}"
