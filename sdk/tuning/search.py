"""A search: checked against the study that the registry has, then trained trial by trial.

Several processes may work on one study. Each reads the trials, takes the first interrupted one or proposes the next
one, and starts it under its number; the registry refuses a number that another process has started meanwhile.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from pointsman.registry import Registry
from pointsman.registry.errors import ConflictError, PrunedError, SettingsError, TrainingError

from ..bases.load import load_base, read_base
from ..data.source import DataSource
from ..training.prepare import prepare
from ..training.progress import Progress, Report
from ..training.request import TrainRequest
from ..training.session import run_training
from ..training.settings import TrainSettings
from .fields import Fixed, check_values
from .space import Space, format_params
from .studies import Study, StudyDefinition, Trial, TrialState

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

_MAY_CHANGE: Final = frozenset({"device", "precision", "checkpoint_every", "report_to"})
"""Settings that a study may continue with otherwise, as on another machine."""


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
        pruner: As for ``tune``.
        report: Called with the progress of each training.
        on_trial: Called when a trial starts or resumes, and when it has ended.

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
        pruner: "BasePruner | bool",
        report: Report,
        on_trial: Callable[[Trial], None],
    ) -> None:
        from . import proposals  # noqa: PLC0415 - Optuna is an extra

        self._proposals = proposals
        self._registry, self._fixed, self._space = registry, fixed, space
        self._base, self._source, self._adapter = base, source, adapter
        self._seed, self._report, self._on_trial = seed, report, on_trial
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
            PointsmanError: A trial cannot be trained at all. One that fails during its training ends only itself.
        """
        trials = self._study.trials()
        while (trial := self._next(trials, count)) is not None:
            try:
                trials = self._try(trial, trials)
            except ConflictError:
                trials = self._study.trials()
                # Another process has started, or resumed, the trial meanwhile; else it is a conflict of this process.
                if not any(other.number == trial.number and other.state is not trial.state for other in trials):
                    raise
        return trials

    def _next(self, trials: Sequence[Trial], count: int) -> Trial | None:
        """The first interrupted trial, or a new one; None if nothing is left to do."""
        if interrupted := [trial for trial in trials if trial.state is TrialState.INTERRUPTED]:
            return interrupted[0]
        if len(trials) >= count:
            return None
        number = max((trial.number for trial in trials), default=-1) + 1
        params = self._proposals.propose(self._space, trials, number=number, seed=self._seed, grain=self._grain)
        return None if params is None else Trial(number=number, params=params, state=TrialState.NEW)

    def _try(self, trial: Trial, trials: Sequence[Trial]) -> list[Trial]:
        """Train a trial, and return all trials of the study after it."""
        self._on_trial(trial)
        try:
            self._train(trial, self._watch(trial, trials))
        except TrainingError:
            trials = self._study.trials()
            # A trial that is not recorded as ended would be tried again and again.
            if not any(other.number == trial.number and other.state.ended for other in trials):
                raise
        except SettingsError as error:
            raise SettingsError(
                f"trial {trial.number}, {format_params(trial.params)}, cannot be trained: {error}"
            ) from error
        else:
            trials = self._study.trials()
        self._on_trial(next(other for other in trials if other.number == trial.number))
        return list(trials)

    def _train(self, trial: Trial, report: Report) -> None:
        """Start a new trial, or resume an interrupted one.

        Raises:
            ConflictError: Another process has started or resumed it meanwhile.
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
            request = TrainRequest.of_run(resumed, base=self._base)
        prepared = prepare(
            request, registry=self._registry, data=self._data, base_files=self._base_files, resumed=resumed
        )
        run_training(prepared, registry=self._registry, report=report, resumed=resumed)

    def _watch(self, trial: Trial, trials: Sequence[Trial]) -> Report:
        """A report that prunes the trial where it is not promising beside those that have ended."""
        scores = {point.step: (point.epoch, point.value) for point in trial.points}

        def watch(progress: Progress) -> None:
            self._report(progress)
            # After the last step, pruning saves nothing.
            if self._pruner is None or progress.metrics is None or progress.step >= progress.steps:
                return
            score = progress.metrics[self.metric]
            scores[progress.step] = progress.epoch, score
            values = {
                self._proposals.progress(step, epoch, self._grain): value
                for step, (epoch, value) in sorted(scores.items())
                # A resumed trial repeats what came after its checkpoint.
                if step <= progress.step and not math.isnan(value)
            }
            if not math.isnan(score) and self._proposals.is_hopeless(
                self._pruner, self._space, trials, values, grain=self._grain
            ):
                raise PrunedError(
                    f"pruned after step {progress.step} of {progress.steps}: the best {self.metric} so far, "
                    f"{max(values.values()):.4f}, is not promising beside the other trials of the study "
                    f"'{self._study.name}'"
                )

        return watch
