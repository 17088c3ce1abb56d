"""The training loop: steps, records, evaluations and checkpoints, from the first step or from any checkpoint."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from pointsman.registry import Origin, RunRecorder
from pointsman.registry.errors import Action, Advice, DatabaseError, TrainingError

from .callbacks import Callbacks
from .checkpoints import Checkpoint, Checkpoints
from .objective import Objective
from .optimiser import Optimiser, learning_rate
from .outage import RETRY_SECONDS
from .pace import Pace
from .progress import Progress, Report
from .random_state import RandomState
from .rows import LabelledRows
from .schedule import Schedule
from .step import Step, Steps
from .weight_average import WeightAverage

_log = logging.getLogger(__name__)

POINTS: Final = 250
"""The number of loss points that a run records; each is the mean over the steps since the last."""

CHECKPOINT_SECONDS: Final = 30.0
"""Between two checkpoints, where the settings give no number of steps."""


@dataclass(frozen=True, kw_only=True)
class BestWeights:
    """The trained weights with the best score so far, and their scores."""

    step: int
    score: float
    """Of the primary metric."""
    metrics: Mapping[str, float]
    weights: Mapping[str, Tensor]
    """The optimiser's vectors by name."""


@dataclass
class _StepRecords:
    """The losses and the number of rows of the steps since the last record."""

    losses: list[Tensor] = field(default_factory=list)
    rows: int = 0

    def take(self) -> tuple[list[float], int]:
        """The loss of each step, and the number of rows; the next steps start from none."""
        losses, rows = torch.stack(self.losses).tolist(), self.rows
        self.losses, self.rows = [], 0
        return losses, rows


class TrainingLoop:
    """One training, from its first step or from a checkpoint to its last.

    Args:
        objective: What is minimised and scored.
        rows: The training rows.
        schedule: The steps and evaluations.
        optimiser: Of the trained weights.
        recorder: Gets loss, learning rate and speed some 250 times, and the metrics of every evaluation.
        checkpoints: Where checkpoints go.
        callbacks: transformers' callbacks and trackers.
        report: Called after every record.
        origin: What the training belongs to.
        evaluation_seconds: The estimated time of an evaluation.

    Examples:
        >>> best = drive(TrainingLoop(objective, rows, schedule, optimiser=optimiser, …).steps())
        >>> optimiser.restore(best.weights)
    """

    def __init__(
        self,
        objective: Objective,
        rows: LabelledRows,
        schedule: Schedule,
        *,
        optimiser: Optimiser,
        recorder: RunRecorder,
        checkpoints: Checkpoints,
        callbacks: Callbacks,
        report: Report,
        origin: Origin | None,
        evaluation_seconds: float,
    ) -> None:
        self._objective, self._rows, self._schedule = objective, rows, schedule
        self._settings = schedule.settings
        self._optimiser, self._recorder, self._checkpoints = optimiser, recorder, checkpoints
        self._callbacks, self._report, self._origin = callbacks, report, origin
        self._evaluation_seconds = evaluation_seconds
        self._average = WeightAverage(optimiser.vectors, self._settings.average)
        self._records = _StepRecords()
        self._best: BestWeights | None = None
        self._step = self._evaluated_step = self._without_gain = 0
        self._saved_at = time.monotonic()
        self._retry_at: float | None = None
        """When to try again to write a checkpoint; None if the last attempt succeeded."""
        self._last_progress: Progress | None = None
        self._pace: Pace

    def steps(self, checkpoint: Checkpoint | None = None) -> Steps[BestWeights]:
        """Train: yield every step to be computed, and return the best weights.

        The first is a trial of the largest batch.

        Args:
            checkpoint: The checkpoint to continue from.

        Raises:
            TrainingError: The loss or the outputs are no longer finite numbers.
        """
        yield from self._try_largest_batch()
        if checkpoint is not None:
            self._load(checkpoint)
        schedule, callbacks = self._schedule, self._callbacks
        self._pace = Pace(
            steps=schedule.steps,
            done=self._step,
            evaluations=schedule.evaluations_after(self._step),
            evaluation_seconds=self._evaluation_seconds,
        )
        stopped = callbacks.control.should_training_stop  # transformers clears the flag when a training begins
        callbacks.begin(self._step, self._epoch)
        callbacks.control.should_training_stop |= stopped
        while self._step < schedule.steps and not self._stopped:
            epoch, steps_done = divmod(self._step, schedule.steps_per_epoch)
            callbacks.epoch_begins(self._step, self._epoch)
            for batches in schedule.epoch(epoch)[steps_done : steps_done + schedule.steps - self._step]:
                callbacks.step_begins()
                step = self._step_of(batches)
                yield step
                self._learn(step)
                callbacks.step_ended(self._step, self._epoch)
                self._after_step()
                if self._stopped:
                    break
            callbacks.epoch_ended(self._step, self._epoch)
            self._record_evaluate_save(record=False, evaluate=False, save=False)
        # A callback may have stopped the training between two evaluations.
        self._record_evaluate_save(record=True, evaluate=True, save=False)
        callbacks.end()
        if self._best is None:
            raise TrainingError("the training ended without an evaluation, so there are no weights to keep")
        return self._best

    def _try_largest_batch(self) -> Steps[None]:
        """Compute the largest batch and discard the gradients, so that a lack of memory shows now and not in an hour.

        Afterwards the allocator holds enough memory for every other batch.
        """
        random = RandomState.current()
        yield self._step_of([self._schedule.buckets.largest()])
        self._optimiser.zero_gradients()
        random.restore()

    @property
    def _stopped(self) -> bool:
        patience = self._settings.patience
        exhausted = patience is not None and self._without_gain >= patience
        return exhausted or bool(self._callbacks.control.should_training_stop)

    @property
    def _epoch(self) -> float:
        return self._step / self._schedule.steps_per_epoch

    def _step_of(self, batches: list[list[int]]) -> Step:
        return Step(objective=self._objective, rows=self._rows, batches=batches)

    def _learn(self, step: Step) -> None:
        """Update the weights by the gradients of a step."""
        assert step.loss is not None
        self._step += 1
        self._optimiser.step(learning_rate(self._step, self._schedule.steps, self._settings))
        self._records.losses.append(step.loss)
        self._records.rows += step.size

    def _after_step(self) -> None:
        step, steps = self._step, self._schedule.steps
        self._average.add(step)
        evaluate = step == steps or step % self._schedule.evaluate_every == 0
        every = self._settings.checkpoint_every
        now = time.monotonic()
        save = step % every == 0 if every else now - self._saved_at > CHECKPOINT_SECONDS
        if self._retry_at is not None:
            save = now >= self._retry_at
        self._record_evaluate_save(record=step % math.ceil(steps / POINTS) == 0, evaluate=evaluate, save=save)

    def _record_evaluate_save(self, *, record: bool, evaluate: bool, save: bool) -> None:
        """Do what the schedule says, and what a callback asks for."""
        control = self._callbacks.control
        if record or evaluate or save or control.should_log or control.should_evaluate or control.should_save:
            recorded = self._record()
            if (evaluate or control.should_evaluate) and (self._best is None or self._evaluated_step != self._step):
                metrics = self._evaluate()
                if self._last_progress is not None:
                    progress = replace(self._last_progress, metrics=metrics, seconds_left=self._pace.seconds_left)
                    self._report(progress)
            elif recorded and self._last_progress is not None:
                self._report(self._last_progress)
            self._pace.paused()
        if save or control.should_save:
            self._save()

    def _record(self) -> bool:
        """Log the steps since the last record; False if there were none."""
        if not self._records.losses:
            return False
        losses, rows = self._records.take()  # waits for the device
        seconds = self._pace.stepped(self._step)
        loss = self._objective.loss_unit * sum(losses) / len(losses)
        values = {
            "train/loss": loss,
            "train/learning_rate": learning_rate(self._step, self._schedule.steps, self._settings),
            "train/samples_per_second": rows / seconds,
        }
        self._recorder.log(values, step=self._step, epoch=self._epoch)
        if not math.isfinite(loss):
            index = next(index for index, value in enumerate(losses) if not math.isfinite(value))
            raise self._diverged(f"the loss became {losses[index]}", self._step - len(losses) + 1 + index)
        self._last_progress = Progress(
            run=self._recorder.uid,
            origin=self._origin,
            step=self._step,
            steps=self._schedule.steps,
            epoch=self._epoch,
            loss=loss,
            samples_per_second=rows / seconds,
            seconds_left=self._pace.seconds_left,
        )
        self._callbacks.logged(values, self._step)
        self._pace.paused()
        return True

    def _diverged(self, reason: str, step: int) -> TrainingError:
        saved, rate = self._checkpoints.step, self._settings.learning_rate
        checkpoint = "no checkpoint was written before" if saved is None else f"the checkpoint of step {saved} is kept"
        precise = "" if self._settings.precision == "fp32" else ", or train with precision fp32"
        return TrainingError(
            f"{reason} at step {step} of {self._schedule.steps}; {checkpoint}; lower the learning rate "
            f"(it was {rate:g}){precise}",
            advice=Advice(
                Action.TRAIN_LIKE,
                {"ref": f"run:{self._recorder.uid}", "learning_rate": self._objective.lower_rate},
            ),
        )

    def _evaluate(self) -> Mapping[str, float]:
        """Score the mean of the weights, record the scores, and keep the weights if they are the best so far."""
        with self._average.applied():
            metrics = self._objective.evaluate()
            self._recorder.log(metrics, step=self._step, epoch=self._epoch)
            if not all(math.isfinite(value) for name, value in metrics.items() if name.endswith("/loss")):
                raise self._diverged("the outputs are no longer finite numbers", self._step)
            score, best = metrics[self._objective.primary_metric], self._best
            gained = best is None or score > best.score or (math.isnan(best.score) and not math.isnan(score))
            if best is None or gained or self._breaks_tie(metrics, best):
                weights = self._optimiser.snapshot()
                best = self._best = BestWeights(step=self._step, score=score, metrics=metrics, weights=weights)
            self._without_gain = 0 if gained else self._without_gain + 1
            self._pace.evaluated()
            self._evaluated_step = self._step
            self._callbacks.evaluated(metrics, self._step, best=best.score)
            return metrics

    def _breaks_tie(self, metrics: Mapping[str, float], best: BestWeights) -> bool:
        """Whether scores are as good as the best, with a lower validation loss.

        On few rows accuracies are often equal, while the loss still tells weights apart.
        """
        name = self._objective.primary_metric
        tied = metrics[name] == best.score or (math.isnan(metrics[name]) and math.isnan(best.score))
        loss = f"{name.partition('/')[0]}/loss"
        return tied and metrics[loss] < best.metrics[loss]

    def _save(self) -> None:
        """Write a checkpoint, once everything logged before it is on the disk.

        Weights that are no longer finite do not replace good ones: the next loss will stop the training.
        """
        if not all(bool(vector.isfinite().all()) for vector in self._optimiser.vectors.values()):
            return
        try:
            self._recorder.flush()
        except DatabaseError as error:
            # The last checkpoint stays, since this one would stand for a history that is not written. The recorder
            # keeps what was logged.
            if self._retry_at is None:
                _log.warning("no checkpoint at step %s, and the training goes on: %s", self._step, error)
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return
        self._retry_at = None
        best = self._best
        tensors = dict(self._optimiser.state())
        tensors |= {f"mean.{name}": mean for name, mean in self._average.mean.items()}
        state: dict[str, Any] = {
            "without_gain": self._without_gain,
            "evaluated": self._evaluated_step,
            "stopped": bool(self._callbacks.control.should_training_stop),
            "best": None,
        }
        if best is not None:
            tensors |= {f"best.{name}": vector for name, vector in best.weights.items()}
            state["best"] = {"step": best.step, "score": best.score, "metrics": dict(best.metrics)}
        random = RandomState.current()
        self._checkpoints.save(Checkpoint(step=self._step, tensors=tensors, state=state, random=random))
        self._callbacks.saved()
        self._saved_at = time.monotonic()
        self._pace.paused()

    def _load(self, checkpoint: Checkpoint) -> None:
        tensors, state = checkpoint.tensors, checkpoint.state
        self._step, self._without_gain = checkpoint.step, state["without_gain"]
        self._evaluated_step = state["evaluated"]
        self._callbacks.control.should_training_stop = state["stopped"]
        self._optimiser.load_state(tensors, steps=checkpoint.step)
        self._average.load(_with_prefix("mean.", tensors))
        if state["best"] is not None:
            device = self._objective.device
            weights = {name: tensor.to(device) for name, tensor in _with_prefix("best.", tensors).items()}
            self._best = BestWeights(weights=weights, **state["best"])
        checkpoint.random.restore()


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
