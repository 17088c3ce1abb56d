"""What a training minimises: the outputs of a batch, and their loss."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from pointsman.registry.errors import SettingsError, unknown

from ..core.devices import autocast_to
from ..engines.bert_training import BertTrainingEngine
from ..tasks import Task, kind_of
from .layer_drop import with_random_drop

Forward = Callable[[Mapping[str, Tensor]], Tensor]
"""Model inputs, ``(rows, tokens)`` each, to outputs, ``(rows, outputs)`` in float32."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs, ``(rows, outputs)``, and labels, ``(rows,)``, to the sum of the rows' losses."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the steps minimise, and what the evaluations score."""

    forward: Forward
    loss: Loss
    evaluate: Callable[[], Mapping[str, float]]
    """Scores the current weights; metrics by name."""
    primary_metric: str
    """The metric that selects the best weights; greater is better."""
    device: torch.device
    lower_rate: float
    """The learning rate to try where the weights diverge."""
    loss_unit: float = 1.0
    """What a loss of 1 is recorded as: the squared error in the user's unit that a regression's loss is a part of."""


def forward_of(
    model: Any, slot: str, *, with_engine: bool, autocast: torch.dtype | None, drop_layers: int | range = 0
) -> Forward:
    """The forward pass of a model's adapter and head in training.

    Args:
        model: An adapters model, in the mode and precision to train in, with the adapter in ``slot`` active.
        slot: The adapter and head in it.
        with_engine: Compute with ``BertTrainingEngine``: for a float32 model that it supports, and no range of layers
            to drop.
        autocast: Compute matrix products in this type; None for the model's own.
        drop_layers: A range skips the adapters of the lowest layers, another number of them for each batch. Adapters
            that a number leaves out are not in the model.
    """
    if with_engine:
        return BertTrainingEngine(model, slot, dtype=autocast or torch.float32)

    def forward(inputs: Mapping[str, Tensor]) -> Tensor:
        with autocast_to(model.device, autocast):
            outputs: Tensor = model(**inputs, head=slot).logits
        return outputs.float()

    return forward if isinstance(drop_layers, int) else with_random_drop(forward, drop_layers)


def loss_of(task: Task, weights: Tensor | None, *, penalty: Callable[[], Tensor] | None = None) -> Loss:
    """The sum over rows of the cross entropy, or of the squared error of a regression.

    Args:
        task: The task, a classification or a regression.
        weights: The weight of each class, ``(classes,)``; None: 1.
        penalty: The regularisation of the trained weights, a scalar added to each row's loss; None: none.
    """
    rows_loss = partial(kind_of(task).loss, weights=weights, reduction="sum")
    if penalty is None:
        return rows_loss
    return lambda outputs, labels: rows_loss(outputs, labels) + len(labels) * penalty()


def class_weights(task: Task, weights: str | Mapping[str, float] | None, labels: NDArray[Any]) -> Tensor | None:
    """The weight of each class in the loss, ``(classes,)`` in float32; None where all are 1.

    Args:
        task: The task, with its classes.
        weights: ``balanced`` gives every class the same total over the rows, and the rows a mean of 1 (King & Zeng
            2001); numbers by label leave 1 for the other labels.
        labels: The class ids of the training rows, ``(rows,)``.

    Raises:
        SettingsError: The task has no classes, none of that name, or all weights are 0.
    """
    if weights is None:
        return None
    if task.is_regression:
        raise SettingsError(f"'{task.name}' learns a score and has no classes; leave class_weights out")
    if isinstance(weights, str):
        counts = Counter(labels.tolist())
        even = len(labels) / len(counts)
        return torch.tensor([even / counts[index] if counts[index] else 1.0 for index in range(task.num_labels)])
    for label in weights:
        if label not in task.labels:
            raise unknown(SettingsError, f"class of {task.name} for class_weights", label, task.labels)
    tensor = torch.tensor([float(weights.get(label, 1.0)) for label in task.labels])
    if not tensor.any():
        raise SettingsError("class_weights are all 0, so nothing would be learned; give at least one class more")
    return tensor
