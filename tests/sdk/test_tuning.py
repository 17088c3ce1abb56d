"""A search remembers itself in the registry alone: it goes on anywhere, loses no trial and does none twice."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.pruners import BasePruner, ThresholdPruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from pointsman.registry import Registry, RunStatus
from pointsman.registry.errors import ConflictError, PointsmanError, SettingsError, TrainingError
from pointsman.sdk import Progress, tune
from pointsman.sdk.tuning.studies import Trial, TrialState
from pointsman.sdk.tuning.tune import TuneResult

SPACE = {"learning_rate": "1e-4..1e-2:log", "reduction_factor": "4,8,16"}
SMALL: dict[str, Any] = {
    "data": "sample",
    "max_steps": 4,
    "eval_every": 1,
    "max_train_rows": 32,
    "max_eval_rows": 16,
    "max_length": 16,
    "batch_size": 8,
    "space": SPACE,
}
NEVER: BasePruner = ThresholdPruner(lower=2.0, n_warmup_steps=2)
"""Prunes at the second evaluation: no accuracy reaches 2."""


class Onlooker(BasePruner):
    """Prunes nothing, and keeps what it was shown: of the trial, and of the others."""

    def __init__(self) -> None:
        self.trial: list[dict[int, float]] = []
        self.others: list[list[dict[int, float]]] = []

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        self.trial.append(dict(trial.intermediate_values))
        self.others.append([dict(other.intermediate_values) for other in study.get_trials()])
        return False


@pytest.fixture(scope="module")
def begun(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a study of four completed trials. For reading only: see ``study``."""
    path = tmp_path_factory.mktemp("study") / "home"
    with Registry(path) as registry:
        tune("sst2", base=str(tiny_base), trials=4, registry=registry, **SMALL)
    return path


@pytest.fixture
def study(begun: Path, tmp_path: Path) -> Iterator[Registry]:
    """A copy of it, to go on with."""
    shutil.copytree(begun, tmp_path / "begun")
    with Registry(tmp_path / "begun") as registry:
        yield registry


@pytest.fixture
def copy(begun: Path, tmp_path: Path) -> Iterator[Registry]:
    """Another copy."""
    shutil.copytree(begun, tmp_path / "copy")
    with Registry(tmp_path / "copy") as registry:
        yield registry


def interrupt(at: int) -> Any:
    """A report that is Ctrl-C after so many steps."""

    def report(progress: Progress) -> None:
        if progress.step == at:
            raise KeyboardInterrupt

    return report


def outcome(result: TuneResult) -> list[tuple[Any, ...]]:
    """What a search came to, without what is never the same twice."""
    return [(trial.number, dict(trial.params), trial.state, trial.score) for trial in result.trials]


def test_every_trial_is_a_run_and_a_version(study: Registry, tiny_base: Path) -> None:
    """And to ask for as many trials as there are does nothing but tell of them."""
    before = study.runs()
    told: list[Trial] = []
    result = tune("sst2", base=str(tiny_base), trials=4, registry=study, on_trial=told.append, **SMALL)
    assert study.runs() == before
    assert told == []
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3]
    assert (result.study, result.adapter, result.metric) == ("sst2-seq_bn", "sst2-tune", "eval/accuracy")
    assert [run.uid for run in reversed(before)] == [trial.run for trial in result.trials]
    assert len({tuple(trial.params.items()) for trial in result.trials}) == 4
    for trial, run in zip(result.trials, reversed(before), strict=True):
        assert trial.state is TrialState.COMPLETE
        assert run.settings["origin"]["study"] == "sst2-seq_bn"
        assert run.settings["origin"]["trial"] == trial.number
        assert run.settings["origin"]["params"] == trial.params
        assert run.settings["learning_rate"] == trial.params["learning_rate"]
        assert run.settings["config"]["reduction_factor"] == trial.params["reduction_factor"]
        assert run.settings["seed"] == 0
        assert trial.ref == run.version
        assert trial.score == max(point.value for point in study.history(f"run:{run.uid}", "eval/accuracy"))
    assert result.best is not None
    assert result.best.ref == study.version("sst2-tune@best").ref
    assert result.ranked[0] == result.best
    assert [trial.score for trial in result.ranked] == sorted((trial.score for trial in result.trials), reverse=True)
    assert result.exhausted is False


def test_more_trials_add_to_those_there_are_and_are_the_same_wherever(
    study: Registry, copy: Registry, tiny_base: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, TrialState]] = []

    def tell(trial: Trial) -> None:
        told.append((trial.number, trial.state))

    first = tune("sst2", base=str(tiny_base), trials=6, registry=study, on_trial=tell, pruner=False, **SMALL)
    assert told == [(n, state) for n in (4, 5) for state in (TrialState.RUNNING, TrialState.COMPLETE)]
    assert len(study.runs()) == 6
    assert "study" not in "".join(capfd.readouterr())  # Optuna says nothing
    tune("sst2", base=str(tiny_base), trials=5, registry=copy, pruner=False, **SMALL)
    second = tune("sst2", base=str(tiny_base), trials=6, registry=copy, pruner=False, **SMALL)
    assert outcome(first) == outcome(second)


def test_a_trial_that_was_interrupted_is_taken_up_first(study: Registry, copy: Registry, tiny_base: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune("sst2", base=str(tiny_base), trials=5, registry=study, checkpoint_every=1, report=interrupt(3), **SMALL)
    (interrupted, *others) = study.runs()
    assert (interrupted.status, len(others)) == (RunStatus.INTERRUPTED, 4)
    told: list[Trial] = []
    result = tune("sst2", base=str(tiny_base), trials=5, registry=study, on_trial=told.append, **SMALL)
    assert [(trial.number, trial.state, trial.run) for trial in told] == [
        (4, TrialState.INTERRUPTED, interrupted.uid),
        (4, TrialState.COMPLETE, interrupted.uid),
    ]
    assert len(study.runs()) == 5
    assert [point.step for point in study.history(f"run:{interrupted.uid}", "eval/accuracy")] == [1, 2, 3, 4]
    assert outcome(result) == outcome(tune("sst2", base=str(tiny_base), trials=5, registry=copy, **SMALL))


KILL = """
import os, signal, sys
import torch
from pointsman.registry import Registry
from pointsman.sdk import tune
from test_tuning import SMALL

torch.set_num_threads(1)

def report(progress):
    if progress.step == 2:
        os.kill(os.getpid(), signal.SIGKILL)

tune("sst2", base=sys.argv[1], registry=Registry(sys.argv[2]), trials=5, report=report, **SMALL)
"""


@pytest.mark.slow
def test_a_trial_that_was_killed_is_taken_up_as_well(study: Registry, tiny_base: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", KILL, str(tiny_base), str(study.home)]
    assert subprocess.run(command, check=False, env=environment, capture_output=True).returncode == -9
    (killed, *others) = study.runs()
    assert (killed.status, len(others)) == (RunStatus.INTERRUPTED, 4)
    result = tune("sst2", base=str(tiny_base), trials=5, registry=study, **SMALL)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3, 4]
    assert result.trials[4].run == killed.uid
    assert result.trials[4].state is TrialState.COMPLETE
    assert [point.step for point in study.history(f"run:{killed.uid}", "eval/accuracy")] == [1, 2, 3, 4]


def test_a_pruned_trial_is_a_finished_run_without_a_version(study: Registry, tiny_base: Path) -> None:
    result = tune("sst2", base=str(tiny_base), trials=5, registry=study, pruner=NEVER, checkpoint_every=1, **SMALL)
    pruned = result.trials[4]
    run = study.runs()[0]
    assert (pruned.state, pruned.run, pruned.ref) == (TrialState.PRUNED, run.uid, None)
    assert (run.status, run.version) == (RunStatus.FINISHED, None)
    assert run.error == pruned.error
    assert run.error is not None
    history = study.history(f"run:{run.uid}", "eval/accuracy")
    assert [point.step for point in history] == [1, 2]
    assert pruned.score == max(point.value for point in history)
    assert run.error.startswith(f"pruned after step 2 of 4: eval/accuracy {pruned.score:.4f} at best ")
    # A checkpoint was written after the first step, and nobody could take it up.
    assert not study.run_directory(run.uid).exists()
    assert len(study.versions(name="sst2-tune")) == 4
    # It counts, and is not taken up.
    assert outcome(tune("sst2", base=str(tiny_base), trials=5, registry=study, **SMALL)) == outcome(result)
    assert result.ranked[-1] == pruned  # whatever it had reached


@pytest.mark.parametrize("every", [1, None])
def test_a_trial_that_goes_on_is_judged_by_what_it_has_come_to(
    every: int | None, study: Registry, tiny_base: Path
) -> None:
    """With a checkpoint of the second step, or with none, so that it begins anew; never after its last step."""
    with pytest.raises(KeyboardInterrupt):
        tune(
            "sst2", base=str(tiny_base), trials=5, registry=study, checkpoint_every=every, report=interrupt(3), **SMALL
        )
    onlooker = Onlooker()
    trials = tune("sst2", base=str(tiny_base), trials=5, registry=study, pruner=onlooker, **SMALL).trials
    histories = [{point.step: point.value for point in trial.points} for trial in trials]
    assert [sorted(history) for history in histories] == [[1, 2, 3, 4]] * 5
    steps = [3] if every else [1, 2, 3]
    assert onlooker.trial == [{n: histories[4][n] for n in range(1, step + 1)} for step in steps]
    assert onlooker.others == [histories[:4]] * len(steps)


def test_a_trial_that_goes_on_may_still_be_pruned(study: Registry, tiny_base: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune("sst2", base=str(tiny_base), trials=5, registry=study, report=interrupt(1), **SMALL)
    result = tune("sst2", base=str(tiny_base), trials=5, registry=study, pruner=NEVER, **SMALL)
    assert result.trials[4].state is TrialState.PRUNED
    assert len(study.runs()) == 5


def test_a_trial_that_fails_ends_only_itself(study: Registry, tiny_base: Path) -> None:
    """Its history and message are kept, and it is not tried again."""

    def report(progress: Progress) -> None:
        if study.runs()[0].settings["origin"]["trial"] == 4 and progress.step == 2:
            raise TrainingError("the loss became nan")

    result = tune("sst2", base=str(tiny_base), trials=6, registry=study, report=report, pruner=False, **SMALL)
    assert [trial.state.value for trial in result.trials] == [*["complete"] * 4, "failed", "complete"]
    assert result.trials[4].error == "the loss became nan"
    assert [point.step for point in result.trials[4].points] == [1, 2]
    assert study.runs()[1].status is RunStatus.FAILED
    assert outcome(tune("sst2", base=str(tiny_base), trials=6, registry=study, **SMALL)) == outcome(result)


def test_a_trial_that_cannot_be_trained_at_all_ends_the_search(registry: Registry, tiny_base: Path) -> None:
    """Nothing of it is recorded, so it would be proposed again and again: 128 / 5 is no multiple of phm_dim."""
    small = SMALL | {"space": {"reduction_factor": "4..8"}}
    with pytest.raises(SettingsError, match=r"trial \d, reduction_factor=[567], cannot be trained: .*"):
        tune("sst2", base=str(tiny_base), method="compacter++", trials=5, registry=registry, **small)
    assert all(run.status is RunStatus.FINISHED for run in registry.runs())


def test_a_small_space_is_gone_through_once(registry: Registry, tiny_base: Path) -> None:
    small = SMALL | {"space": {"seed": "3,4", "batch_size": "8"}, "max_steps": 1, "batch_size": None}
    result = tune("sst2", base=str(tiny_base), trials=5, registry=registry, **small)
    assert result.exhausted
    runs = registry.runs()
    assert sorted(run.seed for run in runs) == [3, 4]
    assert [run.settings["batch_size"] for run in runs] == [8, 8]
    assert sorted(tuple(trial.params.items()) for trial in result.trials) == [
        (("batch_size", 8), ("seed", 3)),
        (("batch_size", 8), ("seed", 4)),
    ]


def test_a_version_that_was_removed_leaves_its_score(study: Registry, tiny_base: Path) -> None:
    before = tune("sst2", base=str(tiny_base), trials=4, registry=study, **SMALL)
    assert before.best is not None
    assert before.best.ref is not None
    study.remove(before.best.ref)
    after = tune("sst2", base=str(tiny_base), trials=4, registry=study, **SMALL)
    assert outcome(after) == outcome(before)
    assert after.best is not None
    assert (after.best.run, after.best.ref) == (before.best.run, None)


def test_one_that_was_killed_with_its_version_registered_is_complete(study: Registry, tiny_base: Path) -> None:
    run, version = study.runs()[0], study.version("sst2-tune@1")
    origin = {**run.settings["origin"], "trial": 4, "params": {"learning_rate": 0.001, "reduction_factor": 4}}
    recorder = study.start_run("sst2-tune", **started(run, origin))
    study.add_version(
        "sst2-tune",
        files={name.name: study.read_file(version, name.name) for name in version.files},
        task=version.task,
        method=version.method,
        config=version.config,
        base=version.base,
        max_length=version.max_length,
        parameters=version.parameters,
        metrics={"eval/accuracy": 0.25},
        primary_metric="eval/accuracy",
        run=recorder.uid,
    )
    with pytest.raises(ConflictError, match="trial 4 of the study 'sst2-seq_bn' is running still"):
        tune("sst2", base=str(tiny_base), trials=5, registry=study, **SMALL)
    recorder.finish(RunStatus.INTERRUPTED)
    last = tune("sst2", base=str(tiny_base), trials=5, registry=study, **SMALL).trials[4]
    assert (last.state, last.score, last.ref) == (TrialState.COMPLETE, 0.25, "sst2-tune@5")


def started(run: Any, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What starts a run like another, as a part of something else."""
    return {
        "task": run.task,
        "method": run.method,
        "base": run.base,
        "settings": {**run.settings, "origin": origin},
        "data": run.data,
        "environment": run.environment,
        "seed": run.seed,
    }


# What is asked for otherwise, and what the refusal says of it.
OTHERWISE: list[tuple[dict[str, Any], Sequence[str]]] = [
    ({"method": "lora", "space": {"learning_rate": "1e-4..1e-2:log"}}, ["method seq_bn there and lora here"]),
    (
        {"method": "lora", "space": {"r": "4,8"}},
        ["space: r not set there and 4,8 here", "space: reduction_factor 4,8,16"],
    ),
    ({"space": SPACE | {"reduction_factor": "4,8"}}, ["space: reduction_factor 4,8,16 there and 4,8 here"]),
    ({"overrides": {"dropout": 0.1}}, ["dropout not set there and 0.1 here"]),
    ({"max_steps": 5}, ["max_steps 4 there and 5 here"]),
    ({"max_steps": None, "epochs": 1}, ["max_steps 4 there and not set here", "epochs not set there and 1 here"]),
    ({"seed": 1}, ["seed 0 there and 1 here"]),
    ({"name": "mine"}, ["adapter sst2-tune there and mine here"]),
    ({"task": "cola"}, ["task sst2 there and cola here", "data from sample (synthetic) there and other rows here"]),
]


@pytest.mark.parametrize("place", range(len(OTHERWISE)))
def test_a_study_is_of_one_thing(place: int, study: Registry, tiny_base: Path) -> None:
    changes, said = OTHERWISE[place]
    asked = {"task": "sst2", "study": "sst2-seq_bn", "name": "sst2-tune", **SMALL, **changes}
    with pytest.raises(ConflictError) as refused:
        tune(asked.pop("task"), base=str(tiny_base), trials=5, registry=study, **asked)
    assert "the study 'sst2-seq_bn' is of something else" in str(refused.value)
    assert "--study NAME" in str(refused.value)
    for text in said:
        assert text in str(refused.value)
    assert len(study.runs()) == 4


def test_a_study_is_of_one_base_but_of_any_device_and_name(
    study: Registry, tiny_base: Path, other_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConflictError, match=f"base '{tiny_base}' .* there and '{other_base}' .* here"):
        tune("sst2", base=str(other_base), trials=5, registry=study, **SMALL)
    moved = shutil.copytree(tiny_base, tmp_path / "moved")
    result = tune("sst2", base=str(moved), trials=4, registry=study, precision="fp32", checkpoint_every=7, **SMALL)
    assert len(result.trials) == 4


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"space": {}}, "the space is empty"),
    ({"space": {"reduction_factor": "4"}}, "nothing to search"),
    ({"space": {"r": "4,8"}}, "there is no 'r' to search; of the training, there is: epochs, .*of seq_bn: .*dropout"),
    ({"space": {"learning_rat": "1..2"}}, "there is no 'learning_rat' to search; .* learning_rate, "),
    ({"space": {"lora.r": "4,8"}}, "unknown part of seq_bn 'lora'"),
    ({"space": {"eval_every": "1,2"}}, "eval_every is fixed and searched at once"),
    ({"space": {"device": "cpu,cuda"}}, "device cannot be searched: .* cannot be compared"),
    ({"space": {"batch_size": "8,16"}}, "batch_size is fixed and searched at once"),
    ({"space": {"dropout": "0,0.1"}, "overrides": {"dropout": 0.2}}, "dropout is fixed and searched at once"),
    ({"space": {"weight_decay": "0..2.0"}}, r"the space has weight_decay=2.0, .*: weight_decay must be .* at most 1"),
    ({"space": {"learning_rate": "0.001,fast"}}, "the space has learning_rate=fast, .* must be a number"),
    ({"space": {"reduction_factor": "-1..8"}}, "the space has reduction_factor=-1, which cannot be trained: .*"),
    ({"space": {"reduction_factor": "4,many"}}, "the space has reduction_factor=many, which cannot be trained: .*"),
    ({"space": {"non_linearity": "relu,foo"}}, "the space has non_linearity=foo, which cannot be trained: .*"),
    ({"space": {"max_length": "16,1000"}, "max_length": None}, "the space has max_length=1000, "),
    ({"space": {"epochs": "1..3"}}, "the space has epochs=1, .* epochs or max_steps, not both"),
    ({"space": {"epochs": "1,2", "max_steps": "4,8"}, "max_steps": None}, "epochs=1 max_steps=4, .* not both"),
    ({"space": {"batch_size": "8,64"}, "batch_size": None}, "the space has batch_size=64, .* the 32 training rows"),
    ({"space": {"seed": "0,1,2"}, "trials": 0}, "trials has to be a whole number, 1 or more; found 0"),
    ({"trials": True}, "trials has to be a whole number"),
    ({"study": "a\nb"}, "a study's name"),
    ({"seed": -1}, "seed must be"),
    ({"lr": 0.1}, "unknown setting 'lr'"),
    ({"name": "Mine"}, "Mine"),
    ({"method": "lora+nothing"}, "unknown method 'nothing'"),
    ({"task": "nothing"}, "nothing"),
]


@pytest.mark.parametrize("place", range(len(REFUSED)))
def test_what_cannot_be_searched_is_refused_before_the_first_trial(
    place: int, registry: Registry, tiny_base: Path
) -> None:
    changes, said = REFUSED[place]
    asked = {"task": "sst2", "trials": 5, **SMALL, **changes}
    with pytest.raises(PointsmanError, match=said):
        tune(asked.pop("task"), base=str(tiny_base), registry=registry, **asked)
    assert registry.runs() == []


def test_without_optuna(monkeypatch: pytest.MonkeyPatch, registry: Registry, tiny_base: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingsError, match=r"pip install 'pointsman\[tune\]'"):
        tune("sst2", base=str(tiny_base), registry=registry, **SMALL)
