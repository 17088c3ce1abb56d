"""Score adapters: the metrics of a task on labelled rows, always in float32 unless a Switcher was opened otherwise."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import torch

from pointsman.registry.errors import DataError, SettingsError

from .data import load_task_data
from .data.splits import Split
from .inference import outputs
from .metrics import compute
from .switching.switcher import Switcher
from .tasks import Task, glue_task
from .tokens import TokenRows

_ROWS_IN_TRAINING: Final = 32
"""Rows in a batch: as fast as more, and training's own memory does for it."""

_ROWS_TO_JUDGE_BY: Final = 64


def evaluate(
    switcher: Switcher,
    ref: str,
    *,
    data: str | Path | None = None,
    task: str | None = None,
    split: str | None = None,
    max_rows: int | None = None,
) -> dict[str, float]:
    """Score a registered version on a split of GLUE.

    Args:
        switcher: A Switcher on the version's base.
        ref: The version.
        data: A directory in the hub's or GLUE's own layout, ``sample``, or None for the hub.
        task: The task to score it on; by default its own. ``ax``, which has no training data, is scored on mnli's.
        split: The split; by default the first that the task is evaluated on.
        max_rows: Only the first so many rows.

    Returns:
        The task's metrics, and the mean ``loss``.

    Raises:
        TaskNotFoundError: GLUE has no such task.
        SettingsError: The version has learned something else than the task asks.
        DataError: The split has no labels: those of GLUE's test splits are not published.
    """
    learned = switcher.task(ref)
    asked = glue_task(task or learned.name)
    if learned.name not in (asked.name, asked.scored_with) or learned.labels != asked.labels:
        raise SettingsError(
            f"'{ref}' learned {learned.name}: it cannot be scored on {asked.name}, "
            f"which is scored on an adapter of {asked.scored_with or asked.name}"
        )
    name = split or asked.validation[0]
    rows = load_task_data(asked, data, splits=[name]).splits[name]
    if not rows.labelled:
        raise DataError(
            f"the split '{name}' of {asked.name} has no labels here, so there is nothing to score against: "
            "predict it, and send the predictions to the benchmark's server"
        )
    if max_rows is not None:
        rows = rows.head(max_rows)
    return measure(asked, switcher.logits(ref, rows.texts()), rows)


class Scorer:
    """Scores an adapter in a model, again and again as it is trained, always in float32.

    Args:
        model: An adapters model.
        slot: The adapter and head in it.
        task: Says which metrics.
        evaluated: The rows to score on, with their labels and tokenised, by the prefix of their metrics.
        exact_lengths: Never pad.
        exactly: Opens a block in which the model computes in float32.
        setup: What is active, where that is not the adapter in ``slot``.
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
        setup: Any = None,
    ) -> None:
        self._model, self._slot, self._task, self._setup = model, slot, task, setup
        self._evaluated, self._exact_lengths, self._exactly = evaluated, exact_lengths, exactly

    def scores(self) -> dict[str, float]:
        """The task's metrics and the mean loss of the weights as they are now."""
        return {
            f"{prefix}/{metric}": value
            for prefix, (split, rows) in self._evaluated.items()
            for metric, value in measure(self._task, self._outputs(rows), split).items()
        }

    def seconds(self) -> float:
        """How long ``scores`` may take, judged by some rows."""
        total = 0.0
        for _, rows in self._evaluated.values():
            some = rows.take(range(0, len(rows), math.ceil(len(rows) / _ROWS_TO_JUDGE_BY)))
            self._outputs(some.take(range(1)))  # the first pass of all takes longer
            began = time.monotonic()
            self._outputs(some)
            total += (time.monotonic() - began) * len(rows.ids) / len(some.ids)
        return total

    def _outputs(self, rows: TokenRows) -> torch.Tensor:
        self._model.eval()
        with self._exactly():
            found = outputs(
                self._model,
                self._slot,
                rows,
                exact_lengths=self._exact_lengths,
                batch_rows=_ROWS_IN_TRAINING,
                setup=self._setup,
            )
        self._model.train()
        return found


def measure(task: Task, logits: torch.Tensor, split: Split) -> dict[str, float]:
    """The task's metrics of a head's outputs, and the mean loss.

    Args:
        task: Says which metrics.
        logits: ``(rows, labels)``, or ``(rows, 1)`` for a regression.
        split: The rows with their labels.
    """
    labels = torch.tensor(split.labels())
    if task.is_regression:
        predictions = logits[:, 0]
        loss = torch.nn.functional.mse_loss(predictions, labels)
    else:
        predictions = logits.argmax(dim=1)
        loss = torch.nn.functional.cross_entropy(logits, labels)
    return {**compute(task.metrics, predictions.numpy(), labels.numpy()), "loss": float(loss)}
