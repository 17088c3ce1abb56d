"""``tune``: search for hyperparameters; every trial is a run in the registry, every complete one a version.

Optuna proposes and prunes trials (``proposals``). The trials are read from the registry (``studies``), so that the same
call continues a search in any process.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pointsman.registry import Registry
from pointsman.registry.errors import Action, Advice, SettingsError
from pointsman.registry.refs import check_name

from ..core.read_settings import ReadSettings
from ..core.registries import open_registry
from ..data.source import DataSource
from ..methods import DEFAULT_METHOD, find_method
from ..training.progress import Report, quiet
from ..training.run_many import check_at_once
from ..training.settings import TrainSettings
from .fields import Fixed, check_names, default_space
from .search import Search
from .space import Dimension, Space
from .studies import Trial, TrialState

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

TRIALS: Final = 20
EVAL_EVERY: Final = 0.25
"""A fraction of an epoch: pruning needs early scores."""


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """The trials of a study."""

    study: str
    adapter: str
    """The adapter that complete trials made versions of."""
    metric: str
    """The primary metric; greater is better."""
    space: Space
    options: Mapping[str, Any]
    """The settings that all trials share."""
    trials: tuple[Trial, ...]
    """By number."""
    alone: str | None = None
    """Why trials of this call trained one after another, although they were to train together."""

    @property
    def ranked(self) -> tuple[Trial, ...]:
        """The complete trials, best first, then the pruned, failed and unfinished ones; of equals the newest first."""
        order = (
            TrialState.COMPLETE,
            TrialState.PRUNED,
            TrialState.FAILED,
            TrialState.INTERRUPTED,
            TrialState.RUNNING,
            TrialState.NEW,
        )

        def place(trial: Trial) -> tuple[int, float, int]:
            score = -math.inf if trial.score is None or math.isnan(trial.score) else trial.score
            return order.index(trial.state), -score, -trial.number

        return tuple(sorted(self.trials, key=place))

    @property
    def best(self) -> Trial | None:
        """The complete trial with the greatest score, of equals the newest, as ``@best``; None if none has a score."""
        for first in self.ranked[:1]:
            if first.state is TrialState.COMPLETE and first.score is not None and not math.isnan(first.score):
                return first
        return None

    @property
    def exhausted(self) -> bool:
        """Whether all combinations of the space were tried."""
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
    reading: ReadSettings | Mapping[str, Any] | None = None,
    primary: str | None = None,
    positive: str | None = None,
    name: str | None = None,
    study: str | None = None,
    seed: int = 0,
    together: int = 1,
    pruner: "BasePruner | bool" = True,
    registry: Registry | None = None,
    report: Report = quiet,
    on_trial: Callable[[Trial], None] = _ignore,
    **options: Any,
) -> TuneResult:
    """Search for the best settings and method configuration, until the study has ``trials`` trials.

    Every trial is a run in the registry, and every complete trial is the next version of one adapter, whose ``@best``
    is the winner. Recorded trials count: the same call again continues the study, resumes interrupted trials first, and
    proposes what it would have proposed. Several processes may do so at once; no trial is trained twice, and each
    process returns when there is nothing left for it to start.

    Args:
        task: As for ``train``.
        base: As for ``train``.
        method: As for ``train``.
        trials: The number of trials of the study, those of earlier calls included.
        space: Dimensions by the name of a setting or of a field of the method's configuration, as
            ``{"learning_rate": "1e-4..1e-2:log", "reduction_factor": "4,8,16"}``; by default the learning rate and the
            method's capacity.
        overrides: Fields of the method's configuration that all trials share.
        data: As for ``train``.
        validation: As for ``train``.
        text: As for ``train``.
        label: As for ``train``.
        reading: As for ``train``.
        primary: As for ``train``; trials are ranked and pruned by it.
        positive: As for ``train``.
        name: The adapter to make versions of; by default ``TASK-tune``.
        study: The name of the study; by default ``TASK-METHOD``.
        seed: The seed of the sampler, and of every training unless ``seed`` is a dimension.
        together: The number of trials that train together, as in ``train_many``, at most. Where one ends or is pruned,
            the next joins. Each is proposed, and pruned, by what has ended until then. Trials that differ in more than
            ``train_many`` allows, and all of another method, base or device, train one after another.
        pruner: True: stop a trial whose best score is below the median of the other trials at the same point of their
            trainings; False: never; or an Optuna pruner that reads intermediate values only.
        registry: As for ``train``.
        report: As for ``train``, for every trial, which ``Progress.origin`` tells apart.
        on_trial: Called with every trial before it starts or resumes, and when it has ended; also where it did not
            start, since another process has started it meanwhile.
        **options: Fields of ``TrainSettings`` that all trials share; ``eval_every`` is 0.25 by default.

    Returns:
        All trials of the study, also those of earlier calls and other processes.

    Raises:
        SettingsError: The space has nothing to search or a value that cannot be trained, or Optuna is not installed.
        ConflictError: The study was started with another base, task, method, space, other data or other settings.
        PointsmanError: As ``train``. A trial that fails during its training ends only itself.

    Examples:
        >>> tune("sst2", base="minilm", data="glue/", trials=20).best
    """
    if find_spec("optuna") is None:
        advice = Advice(Action.INSTALL_EXTRA, {"extra": "tune"})
        raise SettingsError("a search needs Optuna, which is not installed", advice=advice)
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise SettingsError(f"trials must be an integer of at least 1; found {trials!r}")
    check_at_once(together)
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
            source=DataSource.of(data, validation, text, label, reading, primary=primary, positive=positive),
            adapter=adapter,
            study=study,
            seed=seed,
            together=together,
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
            alone=search.alone if together > 1 else None,
        )
