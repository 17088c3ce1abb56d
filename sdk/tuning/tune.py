"""Search for hyperparameters: trial after trial, each a run in the registry and each completed one a version.

Optuna says what to try next and what to give up (see ``proposals``); what was tried is read from the registry (see
``studies``), so that a search goes on wherever and whenever it is asked for again.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pointsman.registry import Registry
from pointsman.registry.errors import SettingsError
from pointsman.registry.refs import check_name

from ..core.registries import open_registry
from ..data.source import DataSource
from ..methods import DEFAULT_METHOD, find_method
from ..training.progress import Report, quiet
from ..training.settings import TrainSettings
from .fields import Fixed, check_names, default_space
from .search import Search
from .space import Dimension, Space
from .studies import Trial, TrialState

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

TRIALS: Final = 20
EVAL_EVERY: Final = 0.25
"""Of an epoch: pruning needs scores early."""

_ABSENT: Final = "a search needs Optuna, which is not installed: pip install 'pointsman[tune]'"


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """What a search has come to."""

    study: str
    adapter: str
    """The adapter whose versions the completed trials are."""
    metric: str
    """The primary metric; greater is better."""
    space: Space
    options: Mapping[str, Any]
    """The settings that were the same in every trial."""
    trials: tuple[Trial, ...]
    """By number."""

    @property
    def ranked(self) -> tuple[Trial, ...]:
        """The completed trials, the best first, then what was pruned, and what failed; of equals the newest first."""
        order = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.INTERRUPTED, TrialState.RUNNING)

        def place(trial: Trial) -> tuple[int, float, int]:
            score = -math.inf if trial.score is None or math.isnan(trial.score) else trial.score
            return order.index(trial.state), -score, -trial.number

        return tuple(sorted(self.trials, key=place))

    @property
    def best(self) -> Trial | None:
        """The completed trial with the greatest score, of equals the newest, as ``@best``; None where none has one."""
        for first in self.ranked[:1]:
            if first.state is TrialState.COMPLETE and first.score is not None and not math.isnan(first.score):
                return first
        return None

    @property
    def exhausted(self) -> bool:
        """Whether every combination of the space was tried."""
        return self.space.size is not None and self.space.size <= len(self.trials)


def _ignore(_: Trial) -> None:
    pass


def tune(
    task: str,
    *,
    base: str,
    method: str = DEFAULT_METHOD,
    trials: int = TRIALS,
    space: Space | Mapping[str, str | Dimension] | None = None,
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    validation: str | Path | None = None,
    text: Sequence[str] | str = (),
    label: str = "label",
    name: str | None = None,
    study: str | None = None,
    seed: int = 0,
    pruner: "BasePruner | bool" = True,
    registry: Registry | None = None,
    report: Report = quiet,
    on_trial: Callable[[Trial], None] = _ignore,
    **options: Any,
) -> TuneResult:
    """Search for the settings and the method's configuration that do best, until there are so many trials in all.

    Every trial is a run in the registry, and every one that is completed the next version of one adapter, whose
    ``@best`` is the winner. Trials that are recorded already count: called again, it goes on where it was, begins with
    a trial that was interrupted, and proposes what it would have proposed. Only one process at a time may do so.

    Args:
        task: As for ``train``.
        base: As for ``train``.
        method: As for ``train``.
        trials: How many trials there are to be in all.
        space: What to search, by the name of a setting or of a field of the method's configuration, as
            ``{"learning_rate": "1e-4..1e-2:log", "reduction_factor": "4,8,16"}``; by default the learning rate and how
            much the method can learn.
        overrides: Fields of the method's configuration that are the same in every trial.
        data: As for ``train``.
        validation: As for ``train``.
        text: As for ``train``.
        label: As for ``train``.
        name: The adapter to make versions of; by default ``TASK-tune``.
        study: The search's name, which says what belongs to it; by default ``TASK-METHOD``.
        seed: Of the search, and of every trial's training, unless ``seed`` is searched.
        pruner: Whether to give up a trial whose best score so far is below the median of those before it, where they
            had come as far; or a pruner of Optuna's that judges by such scores alone.
        registry: As for ``train``.
        report: As for ``train``, of every trial.
        on_trial: Called with every trial before it begins or goes on, and when it has ended.
        **options: Fields of ``TrainSettings`` that are the same in every trial; ``eval_every`` is 0.25 by default.

    Returns:
        All trials of the study, also those of earlier calls.

    Raises:
        SettingsError: A space with nothing to search, or with what cannot be trained; Optuna is not installed.
        ConflictError: The study has trials of another base, task, method, space or of other data or settings, or one
            of them is running still.
        PointsmanError: As ``train``; a trial that fails in its training only ends itself.
    """
    if find_spec("optuna") is None:
        raise SettingsError(_ABSENT)
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise SettingsError(f"trials has to be a whole number, 1 or more; found {trials!r}")
    chosen = find_method(method).name
    settings = {"eval_every": EVAL_EVERY, "seed": seed, **{k: v for k, v in options.items() if v is not None}}
    TrainSettings.of(settings)
    searched = space if isinstance(space, Space) or space is None else Space.of(space)
    if searched is not None and "seed" in searched.dimensions:
        del settings["seed"]
    fixed = Fixed(task=task, method=chosen, overrides=dict(overrides or {}), options=settings)
    searched = searched or default_space(fixed)
    check_names(searched, fixed)
    adapter, study = check_name(name or f"{task}-tune"), study or f"{task}-{chosen}"
    with open_registry(registry) as opened:
        opened.check_writable()
        search = Search(
            opened,
            fixed,
            searched,
            base=base,
            source=DataSource.of(data, validation, text, label),
            adapter=adapter,
            study=study,
            seed=seed,
            pruner=pruner,
            report=report,
            on_trial=on_trial,
        )
        return TuneResult(
            study=study,
            adapter=adapter,
            metric=search.metric,
            space=searched,
            options=settings,
            trials=tuple(search.run(trials)),
        )
