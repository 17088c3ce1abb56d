"""Optuna's sampler and pruner, on a study that is rebuilt from the registry's trials at each call.

Nothing of Optuna's is stored. The sampler's seed is made of the search's seed and the trial's number: the same trials
give the same next parameters in every process.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as State

from ..core.messages import without_messages
from .space import Dimension, Range, Space, Value
from .studies import Trial, TrialState

STUDY_LOGGER: Final = optuna.storages.InMemoryStorage.__module__
"""The logger that writes a line for each new study."""
_ATTEMPTS: Final = 50
_STARTUP: Final = 4
"""Complete trials before the first one is pruned."""

# A failed trial, as of a diverged loss, counts like a pruned one, so that the sampler avoids its parameters; Optuna
# ignores its own FAIL.
_STATES: Final = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAILED: State.PRUNED,
}


def default_pruner() -> BasePruner:
    """Optuna's median pruner: it stops a trial whose best score is below the median of the others at that step."""
    return MedianPruner(n_startup_trials=_STARTUP)


def propose(space: Space, trials: Sequence[Trial], *, number: int, seed: int, grain: float) -> dict[str, Value] | None:
    """Propose the parameters of a trial, distinct from those of all others; None if all combinations were tried.

    Args:
        space: The space.
        trials: All trials, also those that are running.
        number: The number of the new trial.
        seed: The search's.
        grain: As for ``progress``.
    """
    tried = [dict(trial.params) for trial in trials]
    if space.size is not None and space.size <= len(tried):
        untried = (space.combination(index) for index in range(space.size))
        if all(params in tried for params in untried):
            return None
    for attempt in range(_ATTEMPTS):
        state = int(np.random.SeedSequence([seed, number, attempt]).generate_state(1)[0])
        study = _study(space, trials, grain=grain, sampler=TPESampler(seed=state))
        asked = study.ask(_distributions(space)).params
        params = {name: _short(asked[name], dimension) for name, dimension in space.dimensions.items()}
        if params not in tried:
            return params
    # The sampler keeps returning to the best parameters: take the first combination that was not tried.
    if space.size is None:
        return params
    return next(params for index in range(space.size) if (params := space.combination(index)) not in tried)


def is_hopeless(
    pruner: BasePruner, space: Space, trials: Sequence[Trial], values: Mapping[int, float], *, grain: float
) -> bool:
    """Whether to prune a trial.

    Args:
        pruner: A pruner that reads intermediate values only.
        space: The space.
        trials: All trials; only those that have ended count.
        values: The trial's scores by ``progress``, in order.
        grain: As for ``progress``.
    """
    trial = optuna.trial.create_trial(state=State.RUNNING, intermediate_values=dict(values))
    return bool(values and pruner.prune(_study(space, trials, grain=grain), trial))


def progress(step: int, epoch: float | None, grain: float) -> int:
    """The number of an evaluation within its training, by which trials are compared.

    Trials may have different batch sizes: evaluations at fractions of an epoch are counted by fractions, not by steps.

    Args:
        step: The optimiser step.
        epoch: The epochs that were done at that step.
        grain: The setting ``eval_every``: a number of steps, or, below 1, a fraction of an epoch.
    """
    return step if grain >= 1 or epoch is None else round(epoch / grain)


def _study(
    space: Space, trials: Sequence[Trial], *, grain: float, sampler: TPESampler | None = None
) -> optuna.study.Study:
    with without_messages(STUDY_LOGGER, below=logging.WARNING):
        study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(space)
    study.add_trials([_frozen(trial, distributions, grain) for trial in trials if trial.state in _STATES])
    return study


def _frozen(trial: Trial, distributions: dict[str, BaseDistribution], grain: float) -> FrozenTrial:
    scored = trial.score is not None and not math.isnan(trial.score)
    state = _STATES[trial.state] if scored or trial.state is not TrialState.COMPLETE else State.PRUNED
    return optuna.trial.create_trial(
        state=state,
        value=trial.score if state is State.COMPLETE else None,
        params=dict(trial.params),
        distributions=distributions,
        intermediate_values={
            progress(point.step, point.epoch, grain): point.value
            for point in trial.points
            if not math.isnan(point.value)
        },
    )


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    return {name: _distribution(dimension) for name, dimension in space.dimensions.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if not isinstance(dimension, Range):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _short(value: Value, dimension: Dimension) -> Value:
    """Round a float to the fewest digits, at least three, that still tell a thousand values of the range apart."""
    if not isinstance(dimension, Range) or dimension.whole:
        return value
    assert isinstance(value, float)
    near = (dimension.high - dimension.low) / 2000
    for digits in range(3, 17):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= near and dimension.low <= short <= dimension.high:
            return short
    return value
