"""A search under way: what it is is checked against what the registry has of it, and then trial follows trial."""

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from pointsman.registry import Origin, Registry
from pointsman.registry.errors import ConflictError, PrunedError, SettingsError, TrainingError

from ..bases.load import load_base
from ..data.source import DataSource
from ..training.loop import Progress, Report
from ..training.train import resume, train
from .fields import Fixed, check_values
from .space import Space, format_params
from .studies import TRIAL, Identity, Study, Trial, TrialState

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

_MAY_CHANGE: Final = frozenset({"device", "precision", "checkpoint_every", "report_to"})
"""Settings that a search may go on with otherwise: on another machine, say."""


class Search:
    """A study, checked when it is made, before anything is trained.

    Args:
        registry: Where the trials are recorded.
        fixed: What is the same in all of them.
        space: What is searched.
        base: The base, as ``train`` takes it.
        source: Where the rows come from.
        adapter: The adapter to make versions of.
        study: The study's name.
        seed: The sampler's.
        pruner: As for ``tune``.
        report: Called as each training goes on.
        on_trial: Called when a trial begins or goes on, and when it has ended.

    Raises:
        PointsmanError: The study is of something else, or the space has what cannot be trained.
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
        there = source.load(fixed.task)
        self._metric = f"eval/{there.task.primary}"
        self._study = Study(registry, study, adapter=adapter, metric=self._metric)
        loaded = load_base(base)
        same = {**fixed.overrides, **{name: fixed.options[name] for name in fixed.options.keys() - _MAY_CHANGE}}
        self._identity = Identity(
            base=loaded.record,
            data=there.fingerprint,
            data_source=there.source,
            named={"task": fixed.task, "method": fixed.method, "adapter": adapter},
            space={name: str(dimension) for name, dimension in space.dimensions.items()},
            fixed=json.loads(json.dumps(same)),
        )
        self._study.check(self._identity)
        rows = len(there.splits["train"])
        check_values(space, fixed, base=loaded, rows=min(rows, fixed.options.get("max_train_rows", rows)))

    @property
    def metric(self) -> str:
        """The primary metric."""
        return self._metric

    def run(self, trials: int) -> list[Trial]:
        """Go on until there are so many trials, or nothing is left to try; returns all of them.

        Raises:
            ConflictError: A trial is running in another process.
            PointsmanError: A trial cannot be trained at all; one that fails in its training only ends itself.
        """
        found = self._study.trials()
        while (trial := self._next(found, trials)) is not None:
            self._on_trial(trial)
            found = self._try(trial, found)
            self._on_trial(next(other for other in found if other.number == trial.number))
        return found

    def _next(self, found: Sequence[Trial], trials: int) -> Trial | None:
        """The trial that was interrupted, or a new one."""
        for trial in found:
            if trial.state is TrialState.RUNNING:
                raise ConflictError(
                    f"trial {trial.number} of the study '{self._study.name}' is running still (run {trial.run}), in "
                    "another process: wait for it or stop it, since each trial is chosen by those before it"
                )
        if interrupted := [trial for trial in found if trial.state is TrialState.INTERRUPTED]:
            return interrupted[0]
        if len(found) >= trials:
            return None
        number = max((trial.number for trial in found), default=-1) + 1
        params = self._proposals.propose(self._space, found, number=number, seed=self._seed, grain=self._grain)
        return None if params is None else Trial(number=number, params=params)

    def _try(self, trial: Trial, found: Sequence[Trial]) -> list[Trial]:
        """Train, and return all trials as they are then."""
        watch = self._watch(trial, found)
        try:
            if trial.run is not None:
                resume(trial.run, registry=self._registry, report=watch)
            else:
                self._train(trial, watch)
        except TrainingError:
            after = self._study.trials()
            # Where nothing of it is recorded, it would fail again and again.
            if not any(other.number == trial.number and other.state.ended for other in after):
                raise
            return after
        except SettingsError as error:
            raise SettingsError(
                f"trial {trial.number}, {format_params(trial.params)}, cannot be trained: {error}"
            ) from error
        return self._study.trials()

    def _train(self, trial: Trial, watch: Report) -> None:
        source, fixed = self._source, self._fixed
        train(
            fixed.task,
            base=self._base,
            method=fixed.method,
            overrides=fixed.fields(trial.params),
            data=source.data,
            validation=source.validation,
            text=source.text,
            label=source.label,
            name=self._adapter,
            registry=self._registry,
            report=watch,
            origin=Origin(
                kind=TRIAL,
                name=self._study.name,
                item=str(trial.number),
                details={
                    "params": dict(trial.params),
                    "space": self._identity.space,
                    "fixed": self._identity.fixed,
                },
            ),
            **fixed.settings(trial.params),
        )

    def _watch(self, trial: Trial, found: Sequence[Trial]) -> Report:
        """Reports, and gives the trial up where it promises too little beside those that have ended."""
        reached = {point.step: (point.epoch, point.value) for point in trial.points}

        def watch(progress: Progress) -> None:
            self._report(progress)
            # After the last step, there is nothing left to spare.
            if self._pruner is None or progress.metrics is None or progress.step >= progress.steps:
                return
            score = progress.metrics[self._metric]
            reached[progress.step] = progress.epoch, score
            values = {
                self._proposals.progress(step, epoch, self._grain): value
                for step, (epoch, value) in sorted(reached.items())
                # Of a trial that was interrupted, what came after its checkpoint will come once more.
                if step <= progress.step and not math.isnan(value)
            }
            if not math.isnan(score) and self._proposals.is_hopeless(
                self._pruner, self._space, found, values, grain=self._grain
            ):
                raise PrunedError(
                    f"pruned after step {progress.step} of {progress.steps}: {self._metric} {max(values.values()):.4f} "
                    f"at best promises too little beside the other trials of the study '{self._study.name}'"
                )

        return watch
