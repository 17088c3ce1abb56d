"""What a search tries next and what it gives up: nothing is trained here."""

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna
import pytest

from pointsman.registry import MetricPoint
from pointsman.sdk.core.messages import without_messages
from pointsman.sdk.methods import METHODS
from pointsman.sdk.tuning.fields import Fixed, check_names, default_space
from pointsman.sdk.tuning.proposals import STUDY_LOGGER, default_pruner, is_hopeless, progress, propose
from pointsman.sdk.tuning.space import Space
from pointsman.sdk.tuning.studies import Trial, TrialState
from pointsman.sdk.tuning.tune import TuneResult

LINE = Space.parse(["x=0.0..1.0", "y=1..8", "z=a,b"])


def trial(number: int, score: float | None, *, state: TrialState = TrialState.COMPLETE, **more: Any) -> Trial:
    params = {"x": number / 100, "y": 1 + number % 8, "z": "ab"[number % 2]}
    return Trial(number=number, params=params, state=state, score=score, **more)


def points(*values: float) -> list[MetricPoint]:
    """Evaluations after every fifth step, of ten in an epoch."""
    return [MetricPoint(5 * n, value, n / 2, 0.0) for n, value in enumerate(values, start=1)]


def test_proposals_follow_from_the_seed_and_the_trials() -> None:
    trials = [trial(number, number / 20) for number in range(15)]
    first = propose(LINE, trials, number=15, seed=0, grain=1)
    assert first == propose(LINE, trials, number=15, seed=0, grain=1)
    assert first != propose(LINE, trials, number=15, seed=1, grain=1)
    assert first != propose(LINE, trials, number=16, seed=0, grain=1)
    assert first != propose(LINE, trials[:14], number=15, seed=0, grain=1)
    assert first is not None
    assert set(first) == {"x", "y", "z"}


def test_proposals_go_where_scores_are_high_and_away_from_what_failed() -> None:
    """The higher x is, the better; but from 0.5 on, each trial fails."""

    def proposed(trials: Sequence[Trial]) -> list[float]:
        found = [propose(LINE, trials, number=30 + seed, seed=seed, grain=1) for seed in range(40)]
        return [params["x"] for params in found if params is not None]  # type: ignore[misc]

    good = [trial(number, number / 100) for number in range(0, 50, 5)]
    failed = [trial(number, None, state=TrialState.FAILED) for number in range(51, 100, 5)]
    assert sum(x > 0.5 for x in proposed(good)) >= 30
    assert sum(0.25 < x < 0.55 for x in proposed([*good, *failed])) >= 35


def test_numbers_can_be_typed_and_are_in_their_range() -> None:
    for text in ("1e-4..3e-3:log", "0.0..1", "1..1.001", "0.99951..0.99952", "-5.0..1e6", "1e-300..1e300:log"):
        space = Space.parse([f"x={text}"])
        (dimension,) = space.dimensions.values()
        found = [propose(space, [], number=number, seed=0, grain=1) for number in range(30)]
        xs = [params["x"] for params in found if params is not None]
        assert len(set(xs)) >= 28
        assert all(dimension.low <= x <= dimension.high for x in xs)  # type: ignore[union-attr, operator]
    xs = [params["x"] for number in range(30) if (params := propose(LINE, [], number=number, seed=0, grain=1))]
    assert max(len(repr(x)) for x in xs) <= len("0.0123")


def test_no_combination_is_proposed_twice_and_none_is_left_out() -> None:
    space = Space.parse(["a=1..4", "b=x,y,z"])
    trials: list[Trial] = []
    while (params := propose(space, trials, number=len(trials), seed=0, grain=1)) is not None:
        # The first is the best by far: a sampler left to itself would hardly leave it.
        trials.append(Trial(number=len(trials), params=params, state=TrialState.COMPLETE, score=-float(len(trials))))
    assert len({tuple(trial.params.items()) for trial in trials}) == len(trials) == 12


@pytest.mark.filterwarnings("error")
def test_trials_are_compared_where_they_have_come_as_far() -> None:
    """Four have 0.5 after half an epoch and 0.9 after one."""
    pruner = default_pruner()
    others = [trial(number, 0.9, points=points(0.5, 0.9)) for number in range(4)]
    half, whole = progress(5, 0.5, 0.25), progress(10, 1.0, 0.25)
    assert (half, whole) == (2, 4)
    # Batches of another size: other steps, the same epochs.
    assert progress(40, 0.5, 0.25) == half
    assert progress(40, 0.5, 10) == 40
    for values, hopeless in (
        ({half: 0.4}, True),
        ({half: 0.5}, False),
        ({half: 0.6}, False),
        ({half: 0.6, whole: 0.6}, True),
        ({half: 0.95, whole: 0.6}, False),  # its best so far counts
        ({3: 0.1}, False),  # where no other was evaluated
        ({}, False),
    ):
        assert is_hopeless(pruner, LINE, others, values, grain=0.25) is hopeless, values
    assert not is_hopeless(pruner, LINE, others[:3], {half: 0.4}, grain=0.25)
    # What was pruned, failed or is NaN is no measure.
    others[0] = trial(0, None, state=TrialState.FAILED, points=points(0.5))
    assert not is_hopeless(pruner, LINE, others, {half: 0.4}, grain=0.25)
    others += [trial(number, math.nan, points=points(math.nan, math.nan)) for number in range(4, 9)]
    assert not is_hopeless(pruner, LINE, others, {half: 0.4}, grain=0.25)
    assert propose(LINE, others, number=9, seed=0, grain=0.25) is not None
    others = [trial(number, 0.9, points=points(math.nan, 0.9)) for number in range(4)]
    assert not is_hopeless(pruner, LINE, others, {half: 0.4}, grain=0.25)
    assert is_hopeless(pruner, LINE, others, {half: 0.4, whole: 0.4}, grain=0.25)


def test_the_best_trial_has_the_greatest_score_and_is_complete() -> None:
    def best(*trials: Trial) -> int | None:
        result = TuneResult(study="s", adapter="a", metric="m", space=LINE, options={}, trials=trials)
        return None if result.best is None else result.best.number

    assert best() is None
    assert best(trial(0, 0.5), trial(1, 0.7), trial(2, 0.7), trial(3, 0.6)) == 2  # as @best chooses
    assert best(trial(0, 0.9, state=TrialState.PRUNED), trial(1, 0.1)) == 1
    assert best(trial(0, math.nan), trial(1, -0.1)) == 1
    assert best(trial(0, math.nan), trial(1, None, state=TrialState.FAILED)) is None


def test_every_method_has_something_to_search() -> None:
    searched = {}
    for method in (*METHODS, "lora+seq_bn"):
        fixed = Fixed(task="sst2", method=method, overrides={}, options={})
        space = default_space(fixed)
        check_names(space, fixed)
        searched[method] = dict(text.split("=") for text in space.texts)
    assert len(searched) >= 22
    low, high = "0.0001..0.003:log", "0.001..0.03:log"
    assert searched["seq_bn"] == {"learning_rate": low, "reduction_factor": "4,8,16,32"}
    assert searched["par_bn"] == {"learning_rate": low, "reduction_factor": "2,4,8,16,32"}
    assert searched["lora"] == {"learning_rate": low, "r": "4,8,16"}
    assert searched["loreft"] == {"learning_rate": low, "r": "1,2,4,8"}
    assert searched["ia3"] == {"learning_rate": high}
    assert searched["prompt_tuning"] == {"learning_rate": high, "prompt_length": "10,20,50"}
    assert searched["lora+seq_bn"] == {"learning_rate": low, "r": "4,8,16", "reduction_factor": "4,8,16,32"}
    assert searched["unipelt"].keys() == {"learning_rate", "prefix_length", "r", "reduction_factor"}
    fixed = Fixed(task="sst2", method="lora", overrides={"r": 32}, options={"seed": 0})
    assert default_space(fixed).texts == (f"learning_rate={low}",)


def test_optuna_keeps_its_voice_elsewhere() -> None:
    """Studies of our own are silent; those that another thread makes meanwhile, and the verbosity, are left alone."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    before, listener = optuna.logging.get_verbosity(), Listener()
    optuna.logging.get_logger("optuna").addHandler(listener)
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        propose(LINE, [], number=0, seed=0, grain=1.0)
        assert said == []
        with without_messages(STUDY_LOGGER, below=logging.WARNING), ThreadPoolExecutor(1) as pool:
            pool.submit(optuna.create_study, study_name="theirs").result()
        assert [text for text in said if "theirs" in text] == said
        assert len(said) == 1
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(before)
        optuna.logging.get_logger("optuna").removeHandler(listener)
