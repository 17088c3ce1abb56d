"""Run prepared trainings together: every step is one pass over the batches of all of them.

The frozen base is multiplied once with the rows of all batches. Everything else is each training's own, as if it ran
alone: its adapter and head, optimiser, schedule, random generators, history, checkpoints, early stop and version. The
numbers are the same except for rounding. A training that ends leaves the pass, and the others go on.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch

from pointsman.registry import Registry, Version
from pointsman.registry.errors import PointsmanError, SettingsError

from ..engines.bert_training import BertTrainingEngine, supports_training
from ..engines.encoder_layers import BERT_TYPES
from .prepare import PreparedTraining
from .progress import Report, quiet
from .random_state import RandomState, preserved_generators
from .session import load_training_base, memory_explained, training_steps
from .step import Step, Steps


def run_together(
    prepared: Sequence[PreparedTraining], *, registry: Registry, report: Report = quiet
) -> list[Version | PointsmanError]:
    """Train together, and register the best weights of each as the next version of its adapter.

    Args:
        prepared: The trainings, at least one, that share base, task and configuration.
        registry: Where they are recorded and registered.
        report: Called after every record of any of them, which ``Progress.run`` tells apart.

    Returns:
        Of each its version, or the error that it ended with.

    Raises:
        SettingsError: They cannot be trained together; nothing is recorded.
        PointsmanError: The base cannot be loaded.

    Examples:
        >>> run_together([prepare(request, registry=registry) for request in requests], registry=registry)
    """
    first, together = prepared[0], len(prepared)
    with preserved_generators(), memory_explained(first, together=together):
        base = load_training_base(first, registry)
        if not supports_training(base.model, first.config):
            raise SettingsError(
                f"trainings together compute the method seq_bn, in Pfeiffer's form, on a CPU and on bases of the types "
                f"{', '.join(sorted(BERT_TYPES))}; found {first.request.method} on a {base.model.config.model_type} "
                f"base on {first.device}; train one after another"
            )
        trainings = [
            _Training(training_steps(each, base.sharing(), registry=registry, report=report)) for each in prepared
        ]
        try:
            for training in trainings:
                training.advance()
            # Whoever leaves, the base's matrices stay packed in one engine.
            engine = next((_engine(training.step) for training in trainings if training.step is not None), None)
            while engine is not None and (active := [each for each in trainings if each.step is not None]):
                with memory_explained(first, together=together):
                    _compute(engine, active)
                for training in active:
                    training.advance()
        except BaseException as error:
            for training in trainings:
                training.end(error)
            raise
    return [training.outcome for training in trainings if training.outcome is not None]


class _Training:
    """A training among others, with the random generators that it would have alone.

    Args:
        steps: Its steps, not yet begun.
    """

    def __init__(self, steps: Steps[Version]) -> None:
        self._steps = steps
        self._random: RandomState | None = None
        self.step: Step | None = None
        """The step to compute; None before the first and after the last."""
        self.outcome: Version | PointsmanError | None = None
        """Its version or its error, once it has ended."""

    def advance(self) -> None:
        """Go on to the next step, or to the end."""
        self.step = None
        with self.turn():
            try:
                self.step = next(self._steps)
            except StopIteration as end:
                self.outcome = end.value
            except PointsmanError as error:
                self.outcome = error

    def end(self, error: BaseException) -> None:
        """Record an error that ends all trainings, unless it has ended before."""
        with suppress(PointsmanError, type(error)):
            self._steps.throw(error)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A block in which the random generators of the process are in the state of this training."""
        if self._random is not None:
            self._random.restore()
        try:
            yield
        finally:
            self._random = RandomState.current()


def _compute(engine: BertTrainingEngine, trainings: Sequence[_Training]) -> None:
    """Compute the current step of every training, and add up the gradients of each."""
    steps = [(training, training.step) for training in trainings if training.step is not None]
    for number in range(max(len(step.batches) for _, step in steps)):
        # With gradient accumulation, the last step of an epoch may have fewer passes.
        passing = [(training, step) for training, step in steps if number < len(step.batches)]
        started, labels = [], []
        for training, step in passing:
            with training.turn():
                batch = step.batch(number)
                started.append(_engine(step).start(batch.inputs))
                labels.append(batch.labels)
        losses = []
        for (training, step), states, truth in zip(passing, engine.encode(started), labels, strict=True):
            with training.turn():
                losses.append(step.loss_of(_engine(step).finish(states), truth))
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        for (_, step), loss in zip(passing, losses, strict=True):
            step.add(loss)


def _engine(step: Step) -> BertTrainingEngine:
    forward = step.objective.forward
    assert isinstance(forward, BertTrainingEngine)
    return forward
