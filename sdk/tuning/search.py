"""A search: checked against the study that the registry has, then trained trial by trial, or several together.

Several processes may work on one study. Each reads the trials, takes the first interrupted one or proposes the next
one, and starts it under its number; the registry refuses a number that another process has started meanwhile.

Trials together advance step by step, so that the order in which they end, and with it what the sampler and the pruner
know, depends on their numbers of steps and on their scores, never on time.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pointsman.registry import Registry, Version
from pointsman.registry.errors import ConflictError, PointsmanError, PrunedError, SettingsError, TrainingError

from ..bases.load import load_base, read_base
from ..data.source import DataSource
from ..training.prepare import PreparedTraining, prepare
from ..training.progress import Progress, Report
from ..training.request import TrainRequest
from ..training.run_many import run_many
from ..training.settings import TrainSettings
from ..training.together import why_alone
from .fields import Fixed, check_values
from .space import Space, format_params
from .studies import Study, StudyDefinition, Trial, TrialState

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

_MAY_CHANGE: Final = frozenset({"device", "precision", "checkpoint_every", "report_to"})
"""Settings that a study may continue with otherwise, as on another machine."""


@dataclass(frozen=True, kw_only=True)
class _Running:
    """A trial that this process trains."""

    trial: Trial
    scores: dict[int, tuple[float | None, float]] = field(default_factory=dict)
    """The epochs done and the score, by the step of each evaluation."""


class Search:
    """A search that is checked when it is made, before anything is trained.

    Args:
        registry: Where the trials are recorded.
        fixed: What all trials have in common.
        space: What is searched.
        base: The base, as ``train`` takes it.
        source: Where the rows come from.
        adapter: The adapter to make versions of.
        study: The study's name.
        seed: The sampler's.
        together: As for ``tune``.
        pruner: As for ``tune``.
        report: Called with the progress of each training.
        on_trial: As for ``tune``.

    Raises:
        PointsmanError: The study has another definition, or a value of the space cannot be trained.
    """

    def __init__(
        self,
        registry: Registry,
        fixed: Fixed,
        space: Space,
        *,
        base: str,
        source: DataSource,
        adapter: str,
        study: str,
        seed: int,
        together: int,
        pruner: "BasePruner | bool",
        report: Report,
        on_trial: Callable[[Trial], None],
    ) -> None:
        from . import proposals  # noqa: PLC0415 - Optuna is an extra

        self._proposals = proposals
        self._registry, self._fixed, self._space = registry, fixed, space
        self._base, self._source, self._adapter = base, source, adapter
        self._seed, self._together, self._report, self._on_trial = seed, together, report, on_trial
        self.alone: str | None = None
        """Why a trial that this process trained could share no pass."""
        self._trials: list[Trial] = []
        self._running: dict[str, _Running] = {}
        """By the items of their origins."""
        self._error: PointsmanError | None = None
        self._pruner = proposals.default_pruner() if pruner is True else pruner or None
        self._grain = float(fixed.options["eval_every"])
        self._data = source.load(fixed.task)
        self._base_files = read_base(base, known=registry.base_names())
        self.metric = f"eval/{self._data.task.primary}"
        """The primary metric."""
        self._study = Study(registry, study, adapter=adapter, metric=self.metric)
        loaded = load_base(base)
        shared = {**fixed.overrides, **{name: fixed.options[name] for name in fixed.options.keys() - _MAY_CHANGE}}
        self._definition = StudyDefinition(
            base=loaded.record,
            data=self._data.fingerprint,
            data_source=self._data.source,
            named={"task": fixed.task, "method": fixed.method, "adapter": adapter},
            space={name: str(dimension) for name, dimension in space.dimensions.items()},
            fixed=json.loads(json.dumps(shared)),
            measured={"primary": source.primary, "positive": source.positive},
        )
        self._study.check(self._definition)
        rows = len(self._data.splits["train"])
        check_values(space, fixed, base=loaded, rows=min(rows, fixed.options.get("max_train_rows", rows)))

    def run(self, count: int) -> list[Trial]:
        """Train until the study has so many trials, or all combinations were tried.

        Trials that other processes are running count, and are not waited for.

        Args:
            count: The number of trials of the study.

        Returns:
            All trials of the study, also those of other processes.

        Raises:
            PointsmanError: A trial cannot be trained at all; those that run with it go on to their end. One that fails
                during its training ends only itself.
        """
        run_many(
            self._choose(count),
            at_once=self._together,
            registry=self._registry,
            started=lambda prepared: self._on_trial(self._running[_item(prepared)].trial),
            ended=lambda prepared, outcome: self._settle(self._running.pop(_item(prepared)).trial, outcome),
            report=self._watch,
        )
        if self._error is not None:
            raise self._error
        return self._study.trials()

    def _choose(self, count: int) -> Iterator[PreparedTraining]:
        """The training of each trial, chosen by what has ended when it is asked for."""
        while self._error is None and (trial := self._next(count)) is not None:
            try:
                prepared = self._prepare(trial)
            except PointsmanError as error:
                self._settle(trial, error)
            else:
                scores = {point.step: (point.epoch, point.value) for point in trial.points}
                self._running[str(trial.number)] = _Running(trial=trial, scores=scores)
                self.alone = self.alone or why_alone(prepared)
                yield prepared

    def _next(self, count: int) -> Trial | None:
        """The first interrupted trial, or a new one; None if nothing is left to do."""
        trials = self._trials = self._study.trials()
        if interrupted := [trial for trial in trials if trial.state is TrialState.INTERRUPTED]:
            return interrupted[0]
        if len(trials) >= count:
            return None
        number = max((trial.number for trial in trials), default=-1) + 1
        params = self._proposals.propose(self._space, trials, number=number, seed=self._seed, grain=self._grain)
        return None if params is None else Trial(number=number, params=params, state=TrialState.NEW)

    def _prepare(self, trial: Trial) -> PreparedTraining:
        """The training of a new trial, or of an interrupted one that goes on.

        Raises:
            ConflictError: Another process has resumed it meanwhile.
        """
        resumed = None
        if trial.run is None:
            request = TrainRequest.of(
                self._fixed.task,
                base=self._base,
                method=self._fixed.method,
                overrides=self._fixed.fields(trial.params),
                source=self._source,
                name=self._adapter,
                settings=TrainSettings.of(self._fixed.settings(trial.params)),
                origin=self._definition.origin(self._study.name, trial),
            )
        else:
            resumed = self._registry.check_resumable(trial.run)
            # The rows are the recorded ones, which may have another name now.
            request = replace(TrainRequest.of_run(resumed, base=self._base), source=self._source)
        return prepare(request, registry=self._registry, data=self._data, base_files=self._base_files, resumed=resumed)

    def _settle(self, trial: Trial, outcome: Version | PointsmanError) -> None:
        """Take a trial's outcome, before the next trial is chosen."""
        self._trials = self._study.trials()
        recorded = next((other for other in self._trials if other.number == trial.number), trial)
        if (
            isinstance(outcome, Version)
            # A trial that is not recorded as ended would be tried again and again.
            or (isinstance(outcome, TrainingError) and recorded.state.ended)
            # Another process has started, or resumed, the trial meanwhile.
            or (isinstance(outcome, ConflictError) and recorded.state is not trial.state)
        ):
            self._on_trial(recorded)
            return
        error = outcome
        if isinstance(outcome, SettingsError):
            params = format_params(trial.params)
            error = SettingsError(f"trial {trial.number}, {params}, cannot be trained: {outcome}")
            error.__cause__ = outcome
        self._error = self._error or error

    def _watch(self, progress: Progress) -> None:
        """Report a training's progress, and prune it where it is not promising beside the trials that have ended."""
        self._report(progress)
        # After the last step, pruning saves nothing.
        if self._pruner is None or progress.metrics is None or progress.step >= progress.steps:
            return
        assert progress.origin is not None  # every trial has one
        scores, score = self._running[progress.origin.item].scores, progress.metrics[self.metric]
        scores[progress.step] = progress.epoch, score
        values = {
            self._proposals.progress(step, epoch, self._grain): value
            for step, (epoch, value) in sorted(scores.items())
            # A resumed trial repeats what came after its checkpoint.
            if step <= progress.step and not math.isnan(value)
        }
        if not math.isnan(score) and self._proposals.is_hopeless(
            self._pruner, self._space, self._trials, values, grain=self._grain
        ):
            raise PrunedError(
                f"pruned after step {progress.step} of {progress.steps}: the best {self.metric} so far, "
                f"{max(values.values()):.4f}, is not promising beside the other trials of the study "
                f"'{self._study.name}'"
            )


def _item(prepared: PreparedTraining) -> str:
    """The item of a trial's training."""
    assert prepared.request.origin is not None  # every trial has one
    return prepared.request.origin.item
