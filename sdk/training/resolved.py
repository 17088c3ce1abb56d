"""The settings that a training runs with: the requested settings, and a value for each that was left open."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerBase

from pointsman.registry.errors import SettingsError

from ..core.devices import has_fast_bf16
from ..data.lengths import choose_max_length
from .defaults import default_batch_size, default_epochs, default_learning_rate
from .settings import TrainSettings, layers_to_drop

AVERAGED_SHARE: Final = 0.2
"""The share of the steps that the mean of the weights covers, at a constant learning rate."""


@dataclass(frozen=True)
class Epochs:
    """The length of a training in passes over its rows."""

    number: float

    def steps(self, steps_per_epoch: int) -> int:
        """The length in optimiser steps."""
        return math.ceil(self.number * steps_per_epoch)


@dataclass(frozen=True)
class Steps:
    """The length of a training in optimiser steps."""

    number: int

    def steps(self, steps_per_epoch: int) -> int:
        """The length in optimiser steps, for any length of an epoch."""
        return self.number


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings:
    """The settings of one training with nothing left open; ``TrainSettings`` describes each field.

    A field is None only where that says something: no limit on rows or gradients, no patience, an evaluation after
    every epoch, a checkpoint every 30 seconds.
    """

    length: Epochs | Steps
    """How long to train: the setting ``epochs`` or ``max_steps``."""
    learning_rate: float
    schedule: str
    warmup: float
    average: float
    batch_size: int
    gradient_accumulation: int
    weight_decay: float
    max_grad_norm: float | None
    class_weights: str | Mapping[str, float] | None
    max_length: int
    drop_layers: int | range
    seed: int
    max_train_rows: int | None
    max_eval_rows: int | None
    eval_every: float | None
    patience: int | None
    checkpoint_every: int | None
    precision: str
    """bf16 or fp32."""
    device: str
    report_to: tuple[str, ...]

    @property
    def autocast(self) -> torch.dtype | None:
        """The type of training's matrix products; None: float32, the model's own."""
        return torch.bfloat16 if self.precision == "bf16" else None

    def to_dict(self) -> dict[str, Any]:
        """Every setting as JSON, under the names of ``TrainSettings``; a run is recorded with it."""
        values = asdict(self)
        del values["length"]
        drop = self.drop_layers
        return {
            "epochs": self.length.number if isinstance(self.length, Epochs) else None,
            "max_steps": self.length.number if isinstance(self.length, Steps) else None,
            **values,
            "drop_layers": drop if isinstance(drop, int) else f"{drop[0]}-{drop[-1]}",
            "report_to": list(self.report_to),
        }


def resolve(
    settings: TrainSettings,
    *,
    task: str,
    method: str,
    rows: int,
    config: Any,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
) -> ResolvedSettings:
    """Fill in what the settings leave open.

    Args:
        settings: The requested settings.
        task: The task's name.
        method: The adapter method's name.
        rows: The number of training rows.
        config: The base's configuration, as transformers has it.
        tokenizer: The base's tokenizer.
        device: The device to train on.

    Raises:
        SettingsError: A batch with more rows than there are, or more tokens than the base takes.
    """
    max_length = choose_max_length(settings.max_length, tokenizer, config)
    batch_size = default_batch_size(task, rows) if settings.batch_size is None else settings.batch_size
    if batch_size > rows:
        raise SettingsError(f"batch_size {batch_size} is more than the {rows} training rows")
    length: Epochs | Steps = Epochs(default_epochs(task, rows) if settings.epochs is None else settings.epochs)
    if settings.max_steps is not None:
        length = Steps(settings.max_steps)
    average = settings.average
    if average is None:
        average = AVERAGED_SHARE if settings.schedule == "constant" else 0.0
    precision = settings.precision
    if precision == "auto":
        # Recorded as what it means here, so that a run resumed on another machine computes as before.
        precision = "bf16" if has_fast_bf16(device) else "fp32"
    return ResolvedSettings(
        length=length,
        learning_rate=default_learning_rate(method) if settings.learning_rate is None else settings.learning_rate,
        schedule=settings.schedule,
        warmup=settings.warmup,
        average=average,
        batch_size=batch_size,
        gradient_accumulation=settings.gradient_accumulation,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        class_weights=settings.class_weights,
        max_length=max_length,
        drop_layers=layers_to_drop(settings.drop_layers),
        seed=settings.seed,
        max_train_rows=settings.max_train_rows,
        max_eval_rows=settings.max_eval_rows,
        eval_every=settings.eval_every,
        patience=settings.patience,
        checkpoint_every=settings.checkpoint_every,
        precision=precision,
        device=settings.device,
        report_to=settings.report_to,
    )
