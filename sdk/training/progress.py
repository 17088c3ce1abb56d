"""What a training reports while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is.

    Examples:
        >>> train("sst2", base="minilm", report=lambda progress: print(progress.step, progress.loss))
    """

    run: str
    """The run's uid."""
    step: int
    steps: int
    epoch: float
    loss: float
    """The mean over the steps since the last report."""
    samples_per_second: float
    """Over the steps since the last report, without evaluations."""
    seconds_left: float
    """An estimate, evaluations included."""
    metrics: Mapping[str, float] | None = None
    """The scores, in a report that follows an evaluation."""


Report = Callable[[Progress], None]
"""Called with the progress of a training."""


def quiet(_: Progress) -> None:
    """Report nothing."""
