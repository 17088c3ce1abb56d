"""The training loop: batches of like length, steps, records, evaluations, checkpoints; it can be taken up anywhere."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from pointsman.registry import RunRecorder
from pointsman.registry.errors import TrainingError

from ..data.tokens import TokenRows
from .callbacks import Callbacks
from .checkpoints import Checkpoint, Checkpoints, RandomState
from .optimiser import Optimiser, learning_rate
from .pace import Pace
from .schedule import Schedule
from .weight_average import WeightAverage

POINTS: Final = 250
"""Loss points that a run leaves; each is the mean over the steps since the last."""


CHECKPOINT_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training has come."""

    run: str
    """The run's uid."""
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


Report = Callable[[Progress], None]
"""What is told how far a training has come."""


def quiet(_: Progress) -> None:
    """Tell nobody."""


@dataclass(kw_only=True)
class Best:
    """The best weights that an evaluation found, and what it found."""

    step: int
    score: float
    metrics: Mapping[str, float]
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Tokenised rows with their labels: ``(rows,)``, int64 classes or float32 scores."""

    rows: TokenRows
    labels: Tensor
    rounded_to: int | None = None
    """Pad to one of few lengths, and to no more than this."""

    def batch(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Model inputs for some rows, and their labels."""
        return {**self.rows.batch(rows, rounded_to=self.rounded_to), "labels": self.labels[rows]}


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What is trained, and how it is scored."""

    forward: Callable[[Mapping[str, Tensor]], Tensor]
    """A batch to outputs, ``(rows, outputs)``."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """Outputs and labels to the sum of the rows' losses."""
    evaluate: Callable[[], Mapping[str, float]]
    """Score the weights as they are now."""
    primary: str
    """The metric that says which weights are best; greater is better."""
    device: torch.device


@dataclass
class _Meter:
    """What the steps since the last record came to."""

    losses: list[Tensor] = field(default_factory=list)
    rows: int = 0

    def read(self) -> tuple[list[float], int]:
        """The loss of each step, and the number of rows; starts anew."""
        losses, rows = torch.stack(self.losses).tolist(), self.rows
        self.losses, self.rows = [], 0
        return losses, rows


class Training:
    """One training, from its first step or from a checkpoint to its last.

    Args:
        learner: What is trained.
        data: The training rows.
        plan: The steps.
        optimiser: Of the trained weights.
        recorder: Gets loss, learning rate and speed some 250 times, and every evaluation's metrics.
        checkpoints: Where checkpoints go.
        audience: The callbacks of others.
        report: Called after every record.
        evaluation_seconds: What an evaluation is thought to take.
    """

    def __init__(
        self,
        learner: Learner,
        data: LabelledRows,
        plan: Schedule,
        *,
        optimiser: Optimiser,
        recorder: RunRecorder,
        checkpoints: Checkpoints,
        audience: Callbacks,
        report: Report,
        evaluation_seconds: float,
    ) -> None:
        self._learner, self._data, self._plan, self._settings = learner, data, plan, plan.settings
        self._optimiser, self._recorder, self._checkpoints = optimiser, recorder, checkpoints
        self._audience, self._report = audience, report
        self._evaluation_seconds = evaluation_seconds
        assert self._settings.average is not None
        self._average = WeightAverage(optimiser.vectors, self._settings.average)
        self._meter = _Meter()
        self._best: Best | None = None
        self._step = self._evaluated = self._without_gain = 0
        self._saved = time.monotonic()
        self._last: Progress | None = None
        self._pace: Pace

    def run(self, checkpoint: Checkpoint | None = None) -> Best:
        """Train, and return the best weights.

        Args:
            checkpoint: Go on from it.

        Raises:
            TrainingError: The loss is no longer a finite number.
        """
        self._rehearse()
        if checkpoint is not None:
            self._load(checkpoint)
        plan, audience = self._plan, self._audience
        self._pace = Pace(
            steps=plan.steps,
            done=self._step,
            evaluations=plan.evaluations_after(self._step),
            evaluation_seconds=self._evaluation_seconds,
        )
        stopped = audience.control.should_training_stop
        audience.begin(self._step, self._epoch)
        audience.control.should_training_stop |= stopped
        while self._step < plan.steps and not self._stopped:
            number, start = divmod(self._step, plan.steps_per_epoch)
            audience.epoch_begins(self._step, self._epoch)
            for batches in plan.epoch(number)[start : start + plan.steps - self._step]:
                audience.step_begins()
                self._learn(batches)
                audience.step_ended(self._step, self._epoch)
                self._after_step()
                if self._stopped:
                    break
            audience.epoch_ended(self._step, self._epoch)
            self._do(record=False, evaluate=False, save=False)
        self._do(record=True, evaluate=True, save=False)  # where a callback has stopped it
        audience.end()
        assert self._best is not None
        return self._best

    def _rehearse(self) -> None:
        """Compute the largest batch there is, and forget it: what memory does not do for shows now, not in an hour.

        Memory that was had once for the largest does for all others.
        """
        random = RandomState.now()
        largest = self._plan.buckets.largest()
        self._loss(largest, len(largest)).backward()  # type: ignore[no-untyped-call]
        self._optimiser.forget()
        random.restore()

    @property
    def _stopped(self) -> bool:
        patience = self._settings.patience
        exhausted = patience is not None and self._without_gain >= patience
        return exhausted or bool(self._audience.control.should_training_stop)

    @property
    def _epoch(self) -> float:
        return self._step / self._plan.steps_per_epoch

    def _learn(self, batches: list[list[int]]) -> None:
        rows = sum(map(len, batches))
        total = torch.zeros((), device=self._learner.device)
        for chosen in batches:
            loss = self._loss(chosen, rows)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self._step += 1
        self._optimiser.step(learning_rate(self._step, self._plan.steps, self._settings))
        self._meter.losses.append(total)
        self._meter.rows += rows

    def _loss(self, chosen: list[int], rows: int) -> Tensor:
        """The loss of a batch, as a part of the mean over so many rows."""
        batch = {name: tensor.to(self._learner.device) for name, tensor in self._data.batch(chosen).items()}
        labels = batch.pop("labels")
        return self._learner.loss(self._learner.forward(batch), labels) / rows

    def _after_step(self) -> None:
        step, steps = self._step, self._plan.steps
        self._average.add(step)
        evaluate = step == steps or step % self._plan.evaluate_every == 0
        every = self._settings.checkpoint_every
        save = step % every == 0 if every else time.monotonic() - self._saved > CHECKPOINT_SECONDS
        self._do(record=step % math.ceil(steps / POINTS) == 0, evaluate=evaluate, save=save)

    def _do(self, *, record: bool, evaluate: bool, save: bool) -> None:
        """Record, evaluate and save where it is due, or where a callback asks for it."""
        control = self._audience.control
        if record or evaluate or save or control.should_log or control.should_evaluate or control.should_save:
            recorded = self._record()
            if (evaluate or control.should_evaluate) and (self._best is None or self._evaluated != self._step):
                metrics = self._evaluate()
                if self._last is not None:
                    self._report(replace(self._last, metrics=metrics, seconds_left=self._pace.seconds_left))
            elif recorded and self._last is not None:
                self._report(self._last)
            self._pace.paused()
        if save or control.should_save:
            self._save()

    def _record(self) -> bool:
        """Log what the steps since the last record came to; False if there were none."""
        if not self._meter.losses:
            return False
        losses, rows = self._meter.read()  # waits for the device
        seconds = self._pace.stepped(self._step)
        loss = sum(losses) / len(losses)
        values = {
            "train/loss": loss,
            "train/learning_rate": learning_rate(self._step, self._plan.steps, self._settings),
            "train/samples_per_second": rows / seconds,
        }
        self._recorder.log(values, step=self._step, epoch=self._epoch)
        if not math.isfinite(loss):
            wrong = next(index for index, value in enumerate(losses) if not math.isfinite(value))
            raise self._diverged(f"the loss became {losses[wrong]}", self._step - len(losses) + 1 + wrong)
        self._last = Progress(
            run=self._recorder.uid,
            step=self._step,
            steps=self._plan.steps,
            epoch=self._epoch,
            loss=loss,
            samples_per_second=rows / seconds,
            seconds_left=self._pace.seconds_left,
        )
        self._audience.logged(values, self._step)
        self._pace.paused()
        return True

    def _diverged(self, what: str, step: int) -> TrainingError:
        kept = self._checkpoints.step
        where = "no checkpoint was written before" if kept is None else f"the checkpoint of step {kept} is kept"
        precise = "" if self._settings.precision == "fp32" else ", or train with --precision fp32"
        return TrainingError(
            f"{what} at step {step} of {self._plan.steps}; {where}. Lower the learning rate (it was "
            f"{self._settings.learning_rate:g}){precise}, and train as before otherwise: "
            f"registry train --like run:{self._recorder.uid} --lr {(self._settings.learning_rate or 0) / 3:.1g}"
        )

    def _evaluate(self) -> Mapping[str, float]:
        with self._average.applied():
            return self._judge(self._learner.evaluate())

    def _judge(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """Record what an evaluation of the weights as they are has found, and keep them if they are the best so far."""
        self._recorder.log(metrics, step=self._step, epoch=self._epoch)
        if not all(math.isfinite(value) for name, value in metrics.items() if name.endswith("/loss")):
            raise self._diverged("the outputs are no longer finite numbers", self._step)
        score, best = metrics[self._learner.primary], self._best
        if best is None or score > best.score or (math.isnan(best.score) and not math.isnan(score)):
            best = Best(step=self._step, score=score, metrics=metrics, weights=self._optimiser.snapshot())
            self._best, self._without_gain = best, 0
        else:
            self._without_gain += 1
        self._pace.evaluated()
        self._evaluated = self._step
        self._audience.evaluated(metrics, self._step, best=best.score)
        return metrics

    def _save(self) -> None:
        """Write a checkpoint, once all that was logged before it is on the disk.

        Weights that are no longer finite do not take the place of good ones: the next loss will stop the training.
        """
        if not all(bool(vector.isfinite().all()) for vector in self._optimiser.vectors.values()):
            return
        self._recorder.flush()
        best = self._best
        tensors = dict(self._optimiser.state())
        tensors |= {f"mean.{name}": mean for name, mean in self._average.mean.items()}
        state: dict[str, Any] = {
            "without_gain": self._without_gain,
            "evaluated": self._evaluated,
            "stopped": bool(self._audience.control.should_training_stop),
            "best": None,
        }
        if best is not None:
            tensors |= {f"best.{name}": vector for name, vector in best.weights.items()}
            state["best"] = {"step": best.step, "score": best.score, "metrics": dict(best.metrics)}
        self._checkpoints.save(Checkpoint(step=self._step, tensors=tensors, state=state, random=RandomState.now()))
        self._audience.saved()
        self._saved = time.monotonic()
        self._pace.paused()

    def _load(self, checkpoint: Checkpoint) -> None:
        tensors, state = checkpoint.tensors, checkpoint.state
        self._step, self._without_gain = checkpoint.step, state["without_gain"]
        self._evaluated = state["evaluated"]
        self._audience.control.should_training_stop = state["stopped"]
        self._optimiser.load_state(tensors, steps=checkpoint.step)
        self._average.load(_under("mean.", tensors))
        if state["best"] is not None:
            device = self._learner.device
            weights = {name: tensor.to(device) for name, tensor in _under("best.", tensors).items()}
            self._best = Best(weights=weights, **state["best"])
        checkpoint.random.restore()


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
