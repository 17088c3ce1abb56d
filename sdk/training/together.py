"""Run prepared trainings together: every step is one pass over the batches of all of them.

The frozen base is multiplied once with the rows of all batches. Everything else is each training's own, as if it ran
alone: its adapter and head, optimiser, schedule, random generators, history, checkpoints, early stop and version. The
numbers are the same except for rounding. A training that ends leaves the pass, another may join in its place, and the
others go on.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Final

import torch

from pointsman.registry import Registry, Version
from pointsman.registry.errors import PointsmanError, SettingsError

from ..engines.bert_training import BertTrainingEngine
from ..engines.encoder_layers import BERT_TYPES
from .prepare import PreparedTraining
from .progress import Report, quiet
from .random_state import RandomState, preserved_generators
from .request import TrainRequest
from .resolved import ResolvedSettings
from .session import load_training_base, memory_explained, training_steps
from .settings import TrainSettings
from .step import Step, Steps

_SHARED: Final = ("device", "precision", "max_length", "drop_layers")
"""Settings that decide what the base computes."""

Started = Callable[[PreparedTraining], None]
"""Called with a training before it starts or resumes."""

Ended = Callable[[PreparedTraining, Version | PointsmanError], None]
"""Called with a training and its version, or the error that it ended with, before another takes its place."""


def ignore(_: object) -> None:
    """Do nothing about a start."""


def shared(request: TrainRequest, settings: TrainSettings | ResolvedSettings) -> dict[str, Any]:
    """What trainings of one pass have in common, by name.

    Args:
        request: A training.
        settings: Its settings, as they were requested or resolved.
    """
    fields = {"task": request.task, "base": request.base, "method": request.method, "rows": request.source}
    computed = {name: getattr(settings, name) for name in _SHARED}
    # Bottlenecks of any size stand in one pass: each is computed on its own rows.
    config = {name: value for name, value in request.config.items() if name != "reduction_factor"}
    return {**fields, **computed, **config}


def why_alone(prepared: PreparedTraining) -> str | None:
    """Why a training shares a pass with no other; None: it can share one."""
    drop_layers, trackers = prepared.settings.drop_layers, prepared.settings.report_to
    if trackers:
        return f"it reports to {', '.join(trackers)}, and trackers follow one training at a time"
    if not isinstance(drop_layers, int):
        return (
            f"drop_layers is {drop_layers[0]}-{drop_layers[-1]}, and trainings together skip the same layers in every "
            "batch"
        )
    if not prepared.with_engine:
        return (
            f"trainings together compute the method seq_bn, in Pfeiffer's form, on a CPU and on bases of the types "
            f"{', '.join(sorted(BERT_TYPES))}; found {prepared.request.method} on a {prepared.base.model_type} base on "
            f"{prepared.device}"
        )
    return None


def run_together(
    trainings: Iterable[PreparedTraining],
    *,
    at_once: int,
    registry: Registry,
    started: Started = ignore,
    ended: Ended,
    report: Report = quiet,
) -> None:
    """Train together, and register the best weights of each as the next version of its adapter.

    Args:
        trainings: The trainings, which ``shared`` the same. Each is taken when there is a place for it in the pass, so
            that an iterator may choose it by what has ended before.
        at_once: The number of trainings in the pass, at most.
        registry: Where they are recorded and registered.
        started: Called for each before it joins the pass.
        ended: Called for each when it has left the pass.
        report: Called after every record of any of them, which ``Progress.run`` tells apart.

    Raises:
        SettingsError: The first cannot be trained together with others; nothing is recorded.
        PointsmanError: The base cannot be loaded.

    Examples:
        >>> prepared = [prepare(request, registry=registry) for request in requests]
        >>> run_together(prepared, at_once=4, registry=registry, ended=lambda training, outcome: print(outcome))
    """
    queue = iter(trainings)
    first = next(queue, None)
    if first is None:
        return
    if (reason := why_alone(first)) is not None:
        raise SettingsError(f"{reason}; train one after another")
    queue = chain([first], queue)
    with preserved_generators(), memory_explained(first):
        base = load_training_base(first, registry)
        active: list[_Training] = []
        # Whoever leaves, the base's matrices stay packed in one engine.
        engine: BertTrainingEngine | None = None
        try:
            while True:
                while len(active) < at_once and (prepared := next(queue, None)) is not None:
                    started(prepared)
                    steps = training_steps(prepared, base.sharing(), registry=registry, report=report)
                    active.append(_Training(prepared, steps))
                    active[-1].advance()
                    active = _staying(active, ended)
                if not active:
                    return
                engine = engine or _engine(active[0].step)
                try:
                    with memory_explained(first, together=len(active)):
                        _compute(engine, active)
                except PointsmanError as error:
                    for training in active:
                        training.end(error)
                else:
                    for training in active:
                        training.advance()
                active = _staying(active, ended)
        except BaseException as error:
            for training in active:
                training.end(error)
            raise


class _Training:
    """A training among others, with the random generators that it would have alone.

    Args:
        prepared: The training.
        steps: Its steps, not yet begun.
    """

    def __init__(self, prepared: PreparedTraining, steps: Steps[Version]) -> None:
        self.prepared = prepared
        self._steps = steps
        self._random: RandomState | None = None
        self._step: Step | None = None
        self.outcome: Version | PointsmanError | None = None
        """Its version or its error, once it has ended."""

    @property
    def step(self) -> Step:
        """The step to compute, from the first call of ``advance`` on until it has ended."""
        assert self._step is not None
        return self._step

    def advance(self) -> None:
        """Go on to the next step, or to the end."""
        with self.turn():
            try:
                self._step = next(self._steps)
            except StopIteration as end:
                self.outcome = end.value
            except PointsmanError as error:
                self.outcome = error

    def end(self, error: BaseException) -> None:
        """Record an error that ends all trainings, unless it has ended before."""
        with suppress(PointsmanError, type(error)):
            self._steps.throw(error)
        if self.outcome is None and isinstance(error, PointsmanError):
            self.outcome = error

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A block in which the random generators of the process are in the state of this training."""
        if self._random is not None:
            self._random.restore()
        try:
            yield
        finally:
            self._random = RandomState.current()


def _staying(trainings: Sequence[_Training], ended: Ended) -> list[_Training]:
    """Those that have not ended; the others are told of."""
    for training in trainings:
        if training.outcome is not None:
            ended(training.prepared, training.outcome)
    return [training for training in trainings if training.outcome is None]


def _compute(engine: BertTrainingEngine, trainings: Sequence[_Training]) -> None:
    """Compute the current step of every training, and add up the gradients of each."""
    for number in range(max(len(training.step.batches) for training in trainings)):
        # With gradient accumulation, the last step of an epoch may have fewer passes.
        passing = [training for training in trainings if number < len(training.step.batches)]
        started, labels = [], []
        for training in passing:
            with training.turn():
                batch = training.step.batch(number)
                started.append(_engine(training.step).start(batch.inputs))
                labels.append(batch.labels)
        losses = []
        for training, states, truth in zip(passing, engine.encode(started), labels, strict=True):
            with training.turn():
                losses.append(training.step.loss_of(_engine(training.step).finish(states), truth))
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        for training, loss in zip(passing, losses, strict=True):
            training.step.add(loss)


def _engine(step: Step) -> BertTrainingEngine:
    forward = step.objective.forward
    assert isinstance(forward, BertTrainingEngine)
    return forward
