"""How many steps a training has, what each reads, and when it is evaluated."""

import math
from dataclasses import dataclass

from ..data.batches import LengthBuckets
from .settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How many steps there are, what each reads, and where evaluations come.

    Args:
        buckets: The batches of every pass over the rows.
        settings: Completed settings.
    """

    buckets: LengthBuckets
    settings: TrainSettings

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in a pass over the rows."""
        return math.ceil(len(self.buckets) / self.settings.gradient_accumulation)

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        if self.settings.max_steps is not None:
            return self.settings.max_steps
        assert self.settings.epochs is not None
        return math.ceil(self.settings.epochs * self.steps_per_epoch)

    @property
    def evaluate_every(self) -> int:
        """Steps between two evaluations."""
        every = self.settings.eval_every
        if every is None:
            return self.steps_per_epoch
        return int(every) if every >= 1 else max(1, round(every * self.steps_per_epoch))

    def evaluations_after(self, step: int) -> int:
        """How many evaluations come after a step, the one of the last step among them."""
        every, steps = self.evaluate_every, self.steps
        return steps // every - step // every + (steps % every != 0 and step < steps)

    def epoch(self, number: int) -> list[list[list[int]]]:
        """What each step of a pass over the rows reads: some batches, each some rows."""
        batches, together = self.buckets.epoch(number), self.settings.gradient_accumulation
        return [batches[start : start + together] for start in range(0, len(batches), together)]
