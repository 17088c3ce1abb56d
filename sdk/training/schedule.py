"""The steps of a training: their number, the rows that each reads, and the evaluations between them."""

import math
from dataclasses import dataclass

from ..data.batches import LengthBuckets
from .resolved import ResolvedSettings


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The steps of a training and the evaluations between them.

    Args:
        buckets: The batches of every pass over the rows.
        settings: The training's settings.
    """

    buckets: LengthBuckets
    settings: ResolvedSettings

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in a pass over the rows."""
        return math.ceil(len(self.buckets) / self.settings.gradient_accumulation)

    @property
    def steps(self) -> int:
        """Optimiser steps in total."""
        return self.settings.length.steps(self.steps_per_epoch)

    @property
    def evaluate_every(self) -> int:
        """Steps between two evaluations."""
        every = self.settings.eval_every
        if every is None:
            return self.steps_per_epoch
        return int(every) if every >= 1 else max(1, round(every * self.steps_per_epoch))

    def evaluations_after(self, step: int) -> int:
        """The number of evaluations after a step, including the one of the last step."""
        every, steps = self.evaluate_every, self.steps
        return steps // every - step // every + (steps % every != 0 and step < steps)

    def epoch(self, number: int) -> list[list[list[int]]]:
        """The steps of a pass over the rows: a list of batches for each step, a list of row numbers for each batch."""
        batches, per_step = self.buckets.epoch(number), self.settings.gradient_accumulation
        return [batches[start : start + per_step] for start in range(0, len(batches), per_step)]
