"""The unit of a regression's scores: standardised for the training, undone in what is read from the head."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """The mean and the standard deviation of the training scores, in the user's unit.

    A head learns ``(score - mean) / deviation``, which has no unit: a fresh head is as near to prices of 250,000 as to
    ratings of 3, and one learning rate fits both. When the version is written, the deviation is multiplied into its
    last layer and the mean added to its bias, so its outputs are in the user's unit wherever the files are read.

    Examples:
        >>> TargetScale.of(np.array([1.0, 3.0]))
        TargetScale(mean=2.0, deviation=1.0)
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, scores: "NDArray[Any]") -> Self:
        """That of scores, ``(rows,)``, computed in float64; of a constant the deviation is 0."""
        import numpy as np  # noqa: PLC0415

        exact = scores.astype(np.float64)
        return cls(mean=float(exact.mean()), deviation=float(exact.std()))

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> Self:
        """Read what ``to_dict`` wrote, to the last bit."""
        return cls(mean=float(values["mean"]), deviation=float(values["deviation"]))

    def to_dict(self) -> dict[str, float]:
        """The two numbers as JSON; a run is recorded with them."""
        return asdict(self)

    @property
    def loss_unit(self) -> float:
        """The squared error in the user's unit that is 1 in a training: that of always answering the mean."""
        return self.deviation**2

    def standardise(self, scores: "Tensor") -> "Tensor":
        """Scores in the user's unit as a head learns them, ``(rows,)`` in float32."""
        return ((scores.double() - self.mean) / self.deviation).float()

    def restore(self, outputs: "Tensor") -> "Tensor":
        """Outputs of a head in training in the user's unit, in float64."""
        return outputs.double() * self.deviation + self.mean
