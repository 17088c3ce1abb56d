"""The training loop: adapters' AdapterTrainer, with our batches, our precision, and one callback that runs the show."""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from adapters import AdapterTrainer
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pointsman.registry import RunRecorder
from pointsman.registry.errors import TrainingError

from .averaging import TAIL, WeightAverage
from .inference import precision
from .settings import TrainSettings
from .tokens import LengthBuckets, TokenRows

WARMUP: Final = 0.06

_POINTS: Final = 250
"""Loss points that a run leaves; each is the mean over the steps since the last."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training has come."""

    step: int
    steps: int
    epoch: float
    loss: float
    """Mean over the steps since the last report."""
    samples_per_second: float
    """Of the steps since the last report, evaluations left out."""
    seconds_left: float
    """Evaluations included."""
    metrics: Mapping[str, float] | None = None
    """The scores, where this report follows an evaluation."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best checkpoint of a training, in memory."""

    step: int
    score: float
    metrics: Mapping[str, float]
    weights: Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What a training does besides stepping."""

    evaluate: Callable[[], Mapping[str, float]]
    """Score the model as it is now."""
    snapshot: Callable[[], Mapping[str, torch.Tensor]]
    """Copy the trained weights."""
    report: Callable[[Progress], None]
    """Tell whoever watches."""


class LabelledRows(Dataset[Any]):
    """Tokenised rows with their labels, as batches of model inputs.

    Args:
        rows: The inputs.
        labels: ``(rows,)``, int64 classes or float32 scores.
    """

    def __init__(self, rows: TokenRows, labels: torch.Tensor) -> None:
        self.rows = rows
        self.labels = labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """A padded batch; torch's DataLoader asks for whole batches where a data set offers them."""
        return {**self.rows.batch(rows), "labels": self.labels[rows]}


def run(
    model: Any,
    data: LabelledRows,
    settings: TrainSettings,
    *,
    primary: str,
    exact_lengths: bool,
    autocast: torch.dtype | None,
    recorder: RunRecorder,
    hooks: Hooks,
) -> Best:
    """Train the active adapter of a model and return the best checkpoint that an evaluation found.

    The learning rate rises over the first steps and stays; after the last step the weights are the mean over the last
    fifth of the steps.

    Args:
        model: An adapters model with one adapter active and trainable.
        data: The training rows.
        settings: Completed settings.
        primary: The metric that says which checkpoint is best; greater is better.
        exact_lengths: Never pad.
        autocast: Compute matrix products in this type; None for the model's own.
        recorder: Gets loss, learning rate and speed some 250 times, and every evaluation's metrics.
        hooks: What else to do.

    Raises:
        TrainingError: The loss is no longer a finite number.
    """
    # The trainer wants a directory of its own, though all that it would write there is the conductor's to keep.
    with tempfile.TemporaryDirectory() as directory:
        arguments = _arguments(settings, model.device, directory)
        buckets = LengthBuckets(
            data.rows.lengths, batch_size=settings.batch_size, seed=settings.seed, exact_lengths=exact_lengths
        )
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=data,
            buckets=buckets,
            autocast=autocast,
        )
        trainer.remove_callback(PrinterCallback)
        conductor = _Conductor(
            trainer.meter,
            settings,
            average=WeightAverage(parameter for parameter in model.parameters() if parameter.requires_grad),
            primary=primary,
            recorder=recorder,
            hooks=hooks,
            steps_per_epoch=len(buckets),
        )
        trainer.add_callback(conductor)
        trainer.train()
    if conductor.best is None:
        raise TrainingError("the training ended before its first evaluation")
    return conductor.best


@dataclass
class _Meter:
    """What the steps since the last report came to."""

    losses: list[torch.Tensor] = field(default_factory=list)
    rows: int = 0

    def read(self) -> tuple[float, int]:
        """The mean loss and the number of rows; starts anew."""
        loss, rows = float(torch.stack(self.losses).float().mean()), self.rows
        self.losses, self.rows = [], 0
        return loss, rows


class _Trainer(AdapterTrainer):  # type: ignore[misc]
    """AdapterTrainer on batches of like length, in the precision and on the device that the model is on.

    Left alone, the trainer would move the model and the batches to the first GPU it finds.
    """

    def __init__(self, *, buckets: LengthBuckets, autocast: torch.dtype | None, **options: Any) -> None:
        super().__init__(**options)
        self._buckets = buckets
        self._autocast = autocast
        self.meter = _Meter()
        self.accelerator.device_placement = False

    def get_train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train_dataset, batch_sampler=self._buckets, collate_fn=lambda batch: batch)

    def compute_loss_context_manager(self) -> Any:
        return precision(self.model.device, self._autocast)

    def _prepare_inputs(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.model.device) for name, tensor in inputs.items()}

    def floating_point_ops(self, inputs: dict[str, torch.Tensor]) -> int:
        """Not counted: nobody reads it, and counting goes through all parameters at every step."""
        return 0

    def _move_model_to_device(self, model: Any, device: Any) -> None:
        pass

    def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(model, inputs, *args, **options)
        self.meter.losses.append(loss.detach())
        self.meter.rows += len(inputs["labels"])
        return loss


class _Conductor(TrainerCallback):
    """After each step: averages, records, evaluates when due, keeps the best weights, stops when nothing is gained."""

    def __init__(
        self,
        meter: _Meter,
        settings: TrainSettings,
        *,
        average: WeightAverage,
        primary: str,
        recorder: RunRecorder,
        hooks: Hooks,
        steps_per_epoch: int,
    ) -> None:
        self.best: Best | None = None
        self._meter = meter
        self._settings = settings
        self._average = average
        self._primary = primary
        self._recorder = recorder
        self._hooks = hooks
        self._evaluate_every = settings.eval_every or steps_per_epoch
        self._evaluations = self._without_gain = 0
        self._training_seconds = self._evaluation_seconds = 0.0
        self._mark = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **about: Any
    ) -> None:
        self._mark = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **about: Any) -> None:
        step, steps = state.global_step, state.max_steps
        if step > (1 - TAIL) * steps:
            self._average.add()
        if step == steps:
            self._average.apply()
        due = step == steps or step % self._evaluate_every == 0
        if not due and step % math.ceil(steps / _POINTS) != 0:
            return
        progress = self._record(state, about["lr_scheduler"].get_last_lr()[0])
        if due:
            progress = replace(progress, metrics=self._evaluate(progress))
            patience = self._settings.patience
            control.should_training_stop |= patience is not None and self._without_gain >= patience
        self._hooks.report(progress)

    def _record(self, state: TrainerState, learning_rate: float) -> Progress:
        step, steps = state.global_step, state.max_steps
        seconds = time.monotonic() - self._mark
        self._training_seconds += seconds
        loss, rows = self._meter.read()
        speed = rows / seconds
        self._mark = time.monotonic()
        self._recorder.log(
            {"train/loss": loss, "train/learning_rate": learning_rate, "train/samples_per_second": speed},
            step=step,
            epoch=state.epoch,
        )
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} by step {step} of {steps}: lower the learning rate "
                f"(it was {self._settings.learning_rate:g}), or train with precision fp32"
            )
        evaluations_left = math.ceil((steps - step) / self._evaluate_every)
        per_evaluation = self._evaluation_seconds / max(self._evaluations, 1)
        return Progress(
            step=step,
            steps=steps,
            epoch=float(state.epoch or 0.0),
            loss=loss,
            samples_per_second=speed,
            seconds_left=self._training_seconds / step * (steps - step) + per_evaluation * evaluations_left,
        )

    def _evaluate(self, progress: Progress) -> Mapping[str, float]:
        metrics = self._hooks.evaluate()
        self._recorder.log(metrics, step=progress.step, epoch=progress.epoch)
        score = metrics[self._primary]
        if self.best is None or score > self.best.score or (math.isnan(self.best.score) and not math.isnan(score)):
            self.best = Best(step=progress.step, score=score, metrics=metrics, weights=self._hooks.snapshot())
            self._without_gain = 0
        else:
            self._without_gain += 1
        self._evaluations += 1
        self._evaluation_seconds += time.monotonic() - self._mark
        self._mark = time.monotonic()
        return metrics


def _arguments(settings: TrainSettings, device: torch.device, directory: str) -> TrainingArguments:
    assert settings.epochs is not None
    arguments = TrainingArguments(
        output_dir=directory,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        lr_scheduler_type="constant_with_warmup",
        warmup_ratio=WARMUP,
        weight_decay=0.0,
        optim="adamw_torch_fused",
        seed=settings.seed,
        use_cpu=device.type == "cpu",
        # Logging, evaluating and saving are the conductor's.
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # more would be trained on at once
    return arguments
