"""Trials together: the same trials, in an order that is known, of which each is what it is alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from pointsman.registry import Registry, RunStatus
from pointsman.registry.errors import PrunedError, SettingsError, TrainingError
from pointsman.sdk import Progress, train, tune
from pointsman.sdk.tuning.studies import Trial, TrialState
from pointsman.sdk.tuning.tune import TuneResult

from same_training import check_same

SMALL: dict[str, Any] = {
    "data": "sample",
    "max_steps": 4,
    "eval_every": 1,
    "max_train_rows": 32,
    "max_eval_rows": 16,
    "max_length": 16,
    "batch_size": 8,
    "precision": "fp32",
    "space": {"learning_rate": "1e-4..1e-2:log", "reduction_factor": "4,8,16"},
}


class Told:
    """What was told of trials, in order; raises an error at a step of a trial."""

    def __init__(self, **errors: tuple[int, BaseException]) -> None:
        self.events: list[str] = []
        self._errors = errors

    def on_trial(self, trial: Trial) -> None:
        self.events.append(f"{trial.number} {trial.state}")

    def report(self, progress: Progress) -> None:
        assert progress.origin is not None
        self.events.append(f"{progress.origin.item}:{progress.step}")
        step, error = self._errors.get(f"trial{progress.origin.item}", (0, None))
        if progress.step == step and error is not None:
            raise error

    @property
    def states(self) -> list[str]:
        return [event for event in self.events if " " in event]


def _check_alone(registry: Registry, base: Path, trial: Trial, **changes: Any) -> None:
    """Check that a complete trial is the training of its parameters alone."""
    assert trial.ref is not None
    options = {key: value for key, value in (SMALL | changes).items() if key != "space"}
    params = dict(trial.params)
    overrides = {"reduction_factor": params.pop("reduction_factor")}
    alone = train("sst2", base=str(base), registry=registry, name="alone", overrides=overrides, **options | params)
    check_same(registry, registry.version(trial.ref), alone, tolerance=1e-5)


def _search(registry: Registry, base: Path, told: Told, **options: Any) -> TuneResult:
    return tune(
        "sst2", base=str(base), registry=registry, on_trial=told.on_trial, report=told.report, **SMALL | options
    )


def test_each_is_what_it_is_alone_and_the_next_joins(registry: Registry, tiny_base: Path) -> None:
    """One is pruned and one fails: the next joins in its place at once, in the pass of the others."""
    told = Told(trial1=(2, PrunedError("not promising")), trial3=(1, TrainingError("the loss became nan")))
    result = _search(registry, tiny_base, told, trials=5, together=3, pruner=False, max_steps=6)
    assert told.states == [
        *("0 new", "1 new", "2 new", "1 pruned", "3 new", "3 failed", "4 new"),
        *("0 complete", "2 complete", "4 complete"),
    ]
    assert [trial.state.value for trial in result.trials] == ["complete", "pruned", "complete", "failed", "complete"]
    assert len({trial.params["reduction_factor"] for trial in result.trials}) > 1
    for trial in result.trials:
        if trial.state is TrialState.COMPLETE:
            _check_alone(registry, tiny_base, trial, max_steps=6)
        else:
            assert trial.ref is None
    assert result.alone is None


def test_the_first_ten_trials_are_those_of_a_search_one_after_another(
    registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    """The sampler draws these by their numbers alone; and the same search is the same once more."""
    together = _search(registry, tiny_base, told := Told(), trials=5, together=3)
    with Registry(tmp_path / "again") as other:
        again = _search(other, tiny_base, told_again := Told(), trials=5, together=3)
    with Registry(tmp_path / "apart") as other:
        apart = _search(other, tiny_base, Told(), trials=5, pruner=False)
    assert told.events == told_again.events
    assert [(trial.params, trial.state) for trial in together.trials] == [
        (trial.params, trial.state) for trial in again.trials
    ]
    assert [trial.params for trial in together.trials] == [trial.params for trial in apart.trials]
    scores = {trial.number: trial.score for trial in together.trials if trial.state is TrialState.COMPLETE}
    assert len(scores) >= 3
    assert scores == pytest.approx({number: apart.trials[number].score for number in scores})


class Onlooker(BasePruner):
    """Prunes nothing, and keeps of how many others it was shown the scores."""

    def __init__(self) -> None:
        self.others: list[int] = []

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        self.others.append(len(study.get_trials()))
        return False


def test_a_trial_is_judged_beside_those_that_have_ended_by_then(registry: Registry, tiny_base: Path) -> None:
    told, pruner = Told(trial1=(2, PrunedError("not promising"))), Onlooker()
    _search(registry, tiny_base, told, trials=3, together=2, pruner=pruner)
    # Trials 0 and 1 at step 1, 0 at step 2 and, without 1, at step 3; 2 at step 1 beside 0, and then alone.
    assert pruner.others == [0, 0, 0, 1, 1, 2, 2]


def test_trials_that_can_share_no_pass_wait_for_its_end(registry: Registry, tiny_base: Path) -> None:
    told = Told()
    space = {"learning_rate": "1e-4..1e-2:log", "max_length": "8,16"}
    result = _search(registry, tiny_base, told, trials=5, together=4, pruner=False, space=space, max_length=None)
    lengths = {str(trial.number): trial.params["max_length"] for trial in result.trials}
    assert set(lengths.values()) == {8, 16}
    running: set[str] = set()
    most = 0
    for event in told.states:
        number, state = event.split()
        running ^= {number}
        assert len({lengths[each] for each in running}) <= 1, (event, running)
        most = max(most, len(running))
        assert (state == "new") == (number in running)
    assert most > 1
    assert {trial.state for trial in result.trials} == {TrialState.COMPLETE}


def test_another_method_trains_one_trial_after_another(registry: Registry, tiny_base: Path) -> None:
    told = Told()
    result = _search(registry, tiny_base, told, trials=2, together=3, method="lora", space={"r": "2,4"})
    assert told.states == ["0 new", "0 complete", "1 new", "1 complete"]
    assert result.alone is not None
    assert result.alone.endswith("found lora on a bert base on cpu")


def test_what_cannot_be_trained_at_all_ends_the_search_after_those_beside_it(
    registry: Registry, tiny_base: Path
) -> None:
    told = Told(trial1=(2, SettingsError("it does not work")))
    with pytest.raises(SettingsError, match=r"trial 1, .*, cannot be trained: it does not work"):
        _search(registry, tiny_base, told, trials=9, together=3, pruner=False)
    assert told.states == ["0 new", "1 new", "2 new", "0 complete", "2 complete"]


def test_ctrl_c_interrupts_all_and_the_same_call_goes_on(registry: Registry, tiny_base: Path) -> None:
    told = Told(trial1=(2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        _search(registry, tiny_base, told, trials=4, together=3, pruner=False, checkpoint_every=1)
    assert [run.status for run in registry.runs()] == [RunStatus.INTERRUPTED] * 3
    told = Told()
    result = _search(registry, tiny_base, told, trials=4, together=3, pruner=False)
    assert told.states[:3] == ["0 interrupted", "1 interrupted", "2 interrupted"]
    assert len(registry.runs()) == 4
    for trial in result.trials:
        _check_alone(registry, tiny_base, trial)


KILLED = """
import os, signal, sys
import torch
from pointsman.registry import Registry
from pointsman.sdk import tune

torch.set_num_threads(1)

def report(progress):
    if progress.origin.item == "2" and progress.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)

tune("sst2", base=sys.argv[1], registry=Registry(sys.argv[2]), report=report, trials=3, together=3, pruner=False,
     checkpoint_every=1, **eval(sys.argv[3]))
"""


@pytest.mark.slow
def test_trials_that_were_killed_go_on_together(registry: Registry, tiny_base: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tiny_base), str(registry.home), repr(SMALL)]
    killed = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    uids = {run.uid for run in registry.runs()}
    assert len(uids) == 3
    told = Told()
    result = _search(registry, tiny_base, told, trials=3, together=3, pruner=False)
    assert told.states[:3] == ["0 interrupted", "1 interrupted", "2 interrupted"]
    # Of the last one the third step was not saved yet, or was.
    assert {event for event in told.events if event[0] == "0"} - {"0 interrupted", "0 complete"} == {"0:4"}
    assert {trial.run for trial in result.trials} == uids
    for trial in result.trials:
        assert [point.step for point in trial.points] == [1, 2, 3, 4]
        _check_alone(registry, tiny_base, trial)


@pytest.mark.parametrize("given", [0, True, "2", 1.5])
def test_a_number_of_trials_is_checked_first(given: Any, registry: Registry, tiny_base: Path) -> None:
    with pytest.raises(SettingsError, match="together must be an integer of at least 1; found"):
        _search(registry, tiny_base, Told(), trials=2, together=given)
    assert list(registry.runs()) == []
