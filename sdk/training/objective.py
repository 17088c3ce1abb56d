"""What a training minimises: the outputs of a batch, and their loss."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pointsman.registry.errors import SettingsError, unknown

from ..core.devices import autocast_to
from ..engines.bert_training import BertTrainingEngine
from ..tasks import Task
from .layer_drop import with_random_drop
from .settings import BALANCED, layers_to_drop

Forward = Callable[[Mapping[str, Tensor]], Tensor]


def forward_of(
    model: Any, slot: str, *, fused: bool, autocast: torch.dtype | None, drop_layers: int | str = 0
) -> Forward:
    """What computes the outputs of a model's adapter and head in training, ``(rows, outputs)`` in float32.

    Args:
        model: An adapters model, in the mode and precision to train in, with the adapter in ``slot`` active.
        slot: The adapter and head in it.
        fused: By what is written out for speed, of a model in float32 that ``can_fuse``, with no range of layers to
            drop.
        autocast: Compute matrix products in this type; None for the model's own.
        drop_layers: As a range, skip the adapters of so many of the lowest layers, drawn anew for each batch; the
            adapters that a number drops for good are not in the model.
    """
    if fused:
        return BertTrainingEngine(model, slot, dtype=autocast or torch.float32)
    dropped = layers_to_drop(drop_layers)

    def forward(batch: Mapping[str, Tensor]) -> Tensor:
        with autocast_to(model.device, autocast):
            outputs: Tensor = model(**batch, head=slot).logits
        return outputs.float()

    return forward if isinstance(dropped, int) else with_random_drop(forward, dropped)


def loss_of(
    task: Task, weights: Tensor | None, *, penalty: Callable[[], Tensor] | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """The sum over rows of cross entropy, or of the squared error of a regression.

    Args:
        task: Says which.
        weights: What each class counts, ``(classes,)``; None: 1.
        penalty: What the trained weights cost, a number that is added to each row's loss; None: nothing.
    """

    def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(outputs[:, 0], labels, reduction="sum")

    def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels, weight=weights, reduction="sum")

    of_rows = squared_error if task.is_regression else cross_entropy
    if penalty is None:
        return of_rows
    return lambda outputs, labels: of_rows(outputs, labels) + len(labels) * penalty()


def class_weights(task: Task, asked: str | Mapping[str, float] | None, labels: NDArray[Any]) -> Tensor | None:
    """What each class counts in the loss, ``(classes,)`` in float32; None where all count 1.

    Args:
        task: Says which classes there are.
        asked: ``balanced``, which gives every class the same total over the rows and the rows a mean of 1 (King & Zeng
            2001), or numbers by label, where a label that is not named counts 1.
        labels: The class ids of the training rows, ``(rows,)``.

    Raises:
        SettingsError: The task has no classes, or none of that name.
    """
    if asked is None:
        return None
    if task.is_regression:
        raise SettingsError(f"'{task.name}' learns a score and has no classes: leave class_weights out")
    if asked == BALANCED:
        counts = Counter(labels.tolist())
        even = len(labels) / len(counts)
        return torch.tensor([even / counts[index] if counts[index] else 1.0 for index in range(task.num_labels)])
    assert isinstance(asked, Mapping)
    for label in asked:
        if label not in task.labels:
            raise unknown(SettingsError, f"class of {task.name} for class_weights", label, task.labels)
    found = torch.tensor([float(asked.get(label, 1.0)) for label in task.labels])
    if not found.any():
        raise SettingsError("class_weights are all 0: nothing would be learned; give at least one class more")
    return found
