"""What to try next, and what to give up: Optuna's, on a study that is made anew from the trials the registry has.

Nothing of Optuna's is stored. Its sampler is seeded by the search's seed and the number of the trial: the same trials
give the same next parameters, in whatever process.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as State

from .space import Dimension, Range, Space, Value
from .studies import Trial, TrialState

_ATTEMPTS: Final = 50
_STARTUP: Final = 4
"""Trials that are complete before one is pruned."""

# What fails, as a loss that diverges, is to be kept away from as what is pruned; Optuna would forget its own FAIL.
_STATES: Final = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.FAILED: State.PRUNED,
}


def default_pruner() -> BasePruner:
    """Gives up what is below the median of the trials that came so far."""
    return MedianPruner(n_startup_trials=_STARTUP)


def propose(space: Space, trials: Sequence[Trial], *, number: int, seed: int, grain: float) -> dict[str, Value] | None:
    """The parameters to try next, none that were tried before; None where all were.

    Args:
        space: The space.
        trials: Those that were.
        number: The next one's.
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
    # It keeps to what is best; of what can be counted, the first that is left.
    if space.size is None:
        return params
    return next(params for index in range(space.size) if (params := space.combination(index)) not in tried)


def is_hopeless(
    pruner: BasePruner, space: Space, trials: Sequence[Trial], values: Mapping[int, float], *, grain: float
) -> bool:
    """Whether to give a trial up.

    Args:
        pruner: One that judges by intermediate values alone.
        space: The space.
        trials: All there are; those that have ended count.
        values: What the trial has come to, by ``progress``, the last one last.
        grain: As for ``progress``.
    """
    trial = optuna.trial.create_trial(state=State.RUNNING, intermediate_values=dict(values))
    return bool(values and pruner.prune(_study(space, trials, grain=grain), trial))


def progress(step: int, epoch: float | None, grain: float) -> int:
    """Where in its training an evaluation was made, so that trials are compared where they have come as far.

    Batches may be of different sizes: evaluations that are made every so much of an epoch are told by that.

    Args:
        step: The optimiser step.
        epoch: Passes over the rows until then.
        grain: ``eval_every``: so many steps, or, below 1, so much of an epoch.
    """
    return step if grain >= 1 or epoch is None else round(epoch / grain)


def _study(
    space: Space, trials: Sequence[Trial], *, grain: float, sampler: TPESampler | None = None
) -> optuna.study.Study:
    with _quietly():
        study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(space)
    study.add_trials([_frozen(trial, distributions, grain) for trial in trials if trial.state in _STATES])
    return study


def _frozen(trial: Trial, distributions: dict[str, BaseDistribution], grain: float) -> FrozenTrial:
    scored = trial.score is not None and trial.score == trial.score
    state = _STATES[trial.state] if scored or trial.state is not TrialState.COMPLETE else State.PRUNED
    return optuna.trial.create_trial(
        state=state,
        value=trial.score if state is State.COMPLETE else None,
        params=dict(trial.params),
        distributions=distributions,
        intermediate_values={
            progress(point.step, point.epoch, grain): point.value
            for point in trial.points
            if point.value == point.value
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
    """A number with as few digits as tell a thousand of the range apart, three at least: it can be typed."""
    if not isinstance(dimension, Range) or dimension.whole:
        return value
    assert isinstance(value, float)
    near = (dimension.high - dimension.low) / 2000
    for digits in range(3, 17):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= near and dimension.low <= short <= dimension.high:
            return short
    return value


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Optuna's line for each study that is made."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
