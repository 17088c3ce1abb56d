"""What a training reports while it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pointsman.registry import Origin


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is.

    Examples:
        >>> train("sst2", base="minilm", report=lambda progress: print(progress.step, progress.loss))
    """

    run: str
    """The run's uid."""
    origin: Origin | None
    """What the training belongs to: a trial of a search, a cell of a benchmark."""
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
