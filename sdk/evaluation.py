"""Score adapters: the metrics of a task on labelled rows, always in float32 unless a Switcher was opened otherwise."""

from pathlib import Path
from typing import Any

import torch

from pointsman.registry.errors import DataError, SettingsError

from .data import load_task_data
from .inference import outputs
from .metrics import compute
from .splits import Split
from .switcher import Switcher
from .tasks import Task, glue_task
from .tokens import TokenRows


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


def score(model: Any, slot: str, task: Task, rows: TokenRows, split: Split, *, exact_lengths: bool) -> dict[str, float]:
    """The task's metrics of an adapter in a model, and the mean loss.

    Args:
        model: An adapters model in evaluation mode.
        slot: The adapter and head in it.
        task: Says which metrics.
        rows: The inputs, tokenised.
        split: The same rows with their labels.
        exact_lengths: Never pad.
    """
    return measure(task, outputs(model, slot, rows, exact_lengths=exact_lengths), split)


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
