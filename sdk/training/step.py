"""One optimiser step's forward and backward passes, and who computes them."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from .objective import Objective
from .rows import Batch, LabelledRows

_T = TypeVar("_T")


@dataclass(kw_only=True, eq=False)
class Step:
    """The passes of a step: whoever drives a training computes them, alone or with those of other trainings.

    Examples:
        >>> step = Step(objective=objective, rows=rows, batches=[[4, 2], [7]])
        >>> step.compute()  # the weights have their gradients
        >>> step.loss
        tensor(0.69)
    """

    objective: Objective
    rows: LabelledRows
    batches: list[list[int]]
    """The numbers of the rows of each pass."""
    loss: Tensor | None = None
    """The mean loss of the step's rows, once its passes are computed."""

    @property
    def size(self) -> int:
        """The number of rows."""
        return sum(map(len, self.batches))

    def batch(self, number: int) -> Batch:
        """The rows of a pass, on the training's device."""
        return self.rows.batch(self.batches[number]).to(self.objective.device)

    def loss_of(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The loss of a pass, as its part of the mean over the step's rows."""
        return self.objective.loss(outputs, labels) / self.size

    def add(self, loss: Tensor) -> None:
        """Add the loss of a pass whose gradients are computed."""
        self.loss = loss.detach() if self.loss is None else self.loss + loss.detach()

    def compute(self) -> None:
        """Compute every pass alone, and add up the gradients."""
        for number in range(len(self.batches)):
            batch = self.batch(number)
            loss = self.loss_of(self.objective.forward(batch.inputs), batch.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.add(loss)


Steps = Generator[Step, None, _T]
"""A training as its steps, each to be computed before the next is asked for, and what it returns at its end."""


def drive(steps: Steps[_T]) -> _T:
    """Compute a training's steps alone, to its end, and return what it returns.

    An error of the computation is raised in the training, which records it.
    """
    try:
        while True:
            next(steps).compute()
    except StopIteration as end:
        result: _T = end.value
        return result
    except BaseException as error:
        steps.throw(error)  # raises it, or what the training makes of it
        raise
