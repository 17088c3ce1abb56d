"""Score the adapter in a model: a task's metrics on labelled rows."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

import torch

from pointsman.registry import Evaluation

from ..data.splits import Split
from ..data.tokens import TokenRows
from ..tasks import TargetScale, Task, kind_of
from ..tasks.metrics import compute
from .encoder import encoder_for
from .single import adapter_outputs

_ROWS_IN_TRAINING: Final = 32
"""Rows in a batch: as fast as more rows, and no more memory than training needs."""


_TIMED_ROWS: Final = 64
"""Rows on which the time of an evaluation is estimated."""


class Scorer:
    """Scores an adapter in a model while it is trained, always in float32.

    Args:
        model: An adapters model.
        slot: The adapter and head in it.
        task: Names the metrics.
        evaluated: The rows to score on, with their labels and tokenised, by the prefix of their metrics.
        exact_lengths: Never pad.
        exactly: Opens a block in which the model computes in float32.
        written_out: Whether the fast engine covers the adapters (see ``adapter_program.covers``). Where it also
            computes the base, it is made for each evaluation: its packed matrices would take memory in every step.
        setup: The active adapters, a composition block of the adapters library; None: the adapter in ``slot``.
        target_scale: The unit of the scores, which the head in the model learns without; None: its outputs are answers.

    Examples:
        >>> scorer = Scorer(model, slot, task, {"eval": (split, rows)}, exact_lengths=False, exactly=nullcontext)
        >>> scorer.scores()
        {'eval/accuracy': 0.91, 'eval/loss': 0.24}
    """

    def __init__(
        self,
        model: Any,
        slot: str,
        task: Task,
        evaluated: Mapping[str, tuple[Split, TokenRows]],
        *,
        exact_lengths: bool,
        exactly: Callable[[], AbstractContextManager[Any]],
        written_out: bool = False,
        setup: Any = None,
        target_scale: TargetScale | None = None,
    ) -> None:
        self._target_scale = target_scale
        self._model, self._slot, self._task, self._setup = model, slot, task, setup
        self._evaluated, self._exact_lengths, self._exactly = evaluated, exact_lengths, exactly
        self._written_out = written_out

    def scores(self) -> dict[str, float]:
        """The task's metrics and the mean loss with the model's current weights."""
        return {
            f"{prefix}/{metric}": value
            for prefix, (split, rows) in self._evaluated.items()
            for metric, value in measure(self._task, self._answers(rows), split).items()
        }

    def seconds(self) -> float:
        """An estimate of the seconds that ``scores`` takes, from a sample of the rows."""
        total = 0.0
        for _, rows in self._evaluated.values():
            sample = rows.take(range(0, len(rows), math.ceil(len(rows) / _TIMED_ROWS)))
            self._outputs(sample.take(range(1)))  # the first forward pass takes longer
            started = time.monotonic()
            self._outputs(sample)
            total += (time.monotonic() - started) * len(rows.ids) / len(sample.ids)
        return total

    def _answers(self, rows: TokenRows) -> torch.Tensor:
        """The outputs, in the unit of the labels."""
        outputs = self._outputs(rows)
        return outputs if self._target_scale is None else self._target_scale.restore(outputs)

    def _outputs(self, rows: TokenRows) -> torch.Tensor:
        self._model.eval()
        with self._exactly():
            outputs = adapter_outputs(
                self._model,
                self._slot,
                rows,
                exact_lengths=self._exact_lengths,
                batch_rows=_ROWS_IN_TRAINING,
                setup=self._setup,
                encoder=encoder_for(self._model, "fp32") if self._written_out else None,
            )
        self._model.train()
        return outputs


def evaluation_of(task: Task, split: Split) -> Evaluation:
    """What a score of a task's primary metric on a split is computed on, and so with which others it compares.

    F1 of one class does not compare with F1 of the other on the same rows.
    """
    fingerprint = split.content
    if task.primary == "f1":
        fingerprint = hashlib.sha256(f"{fingerprint} f1 {task.labels[task.positive_id]}".encode()).hexdigest()
    return Evaluation(fingerprint=fingerprint, rows=len(split))


def measure(task: Task, logits: torch.Tensor, split: Split) -> dict[str, float]:
    """The task's metrics of a head's outputs, and the mean loss, in the unit of the labels.

    Args:
        task: Names the metrics.
        logits: ``(rows, labels)``, or ``(rows, 1)`` for a regression.
        split: The rows with their labels.
    """
    labels, kind = torch.tensor(split.labels()), kind_of(task)
    if labels.is_floating_point():
        # The square of a score may be too large for float32.
        logits, labels = logits.double(), labels.double()
    scores = compute(task.metrics, kind.scored(logits).numpy(), labels.numpy(), positive=task.positive_id)
    return {**scores, "loss": float(kind.loss(logits, labels))}
