"""Trainings together are what each is alone: the same losses, scores and weights, and a run of its own."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointsman.registry import Registry, RunStatus
from pointsman.registry.errors import NotFoundError, PointsmanError, PrunedError, SettingsError, TrainingError
from pointsman.sdk import Progress, resume, train, train_many

from same_training import check_same, values_of

SMALL: dict[str, Any] = {
    "task": "sst2",
    "data": "sample",
    "epochs": 2,
    "max_train_rows": 60,
    "max_eval_rows": 20,
    "max_length": 16,
    "batch_size": 8,
    "eval_every": 4,
    "precision": "fp32",
}
UNLIKE: list[dict[str, Any]] = [
    {"seed": 0},
    {"seed": 1, "learning_rate": 0.01, "name": "other"},
    {"seed": 2, "schedule": "cosine", "class_weights": {"negative": 3.0}, "weight_decay": 0.1},
    {"seed": 3, "gradient_accumulation": 3, "average": 0.0, "max_grad_norm": None},
    {"seed": 4, "epochs": 9, "learning_rate": 1e-6, "patience": 2},
    {"seed": 5, "epochs": 1, "max_train_rows": 50},
]


def test_each_is_its_training_alone(registry: Registry, tiny_base: Path) -> None:
    common = {**SMALL, "base": str(tiny_base)}
    versions = train_many([{**common, **each} for each in UNLIKE], registry=registry)
    assert sorted(version.ref for version in versions) == ["other@1", *(f"sst2@{number}" for number in range(1, 6))]
    for version, each in zip(versions, UNLIKE, strict=True):
        alone = train(**{**common, **each, "name": "alone"}, registry=registry)
        check_same(registry, version, alone, tolerance=1e-5)
        run, right = registry.run(str(version.run)), registry.run(str(alone.run))
        assert (run.status, run.seed, run.settings, run.data) == (
            RunStatus.FINISHED,
            each["seed"],
            right.settings,
            right.data,
        )
        assert not registry.run_directory(run.uid).exists()  # its checkpoint is gone
    steps = [max(values_of(registry, version.run)["train/loss"]) for version in versions]
    assert steps[4] == 3 * 4  # of its 72: two evaluations without a better score
    assert steps[:4] + steps[5:] == [16, 16, 16, 6, 7]


def test_in_bf16_each_is_near_its_training_alone(registry: Registry, tiny_base: Path) -> None:
    common = {**SMALL, "base": str(tiny_base), "precision": "bf16", "registry": registry}
    versions = train_many([{"seed": 0}, {"seed": 1, "learning_rate": 3e-3}], **common)
    check_same(registry, versions[0], train(**common, seed=0), tolerance=0.02)
    check_same(registry, versions[1], train(**common, seed=1, learning_rate=3e-3), tolerance=0.02)


def test_adapters_of_the_upper_layers_train_together(registry: Registry, tiny_base: Path) -> None:
    common = {**SMALL, "base": str(tiny_base), "overrides": {"leave_out": [0], "reduction_factor": 4}}
    versions = train_many([{"seed": 0}, {"seed": 1}], registry=registry, **common)
    for seed, version in enumerate(versions):
        alone = train(**common, seed=seed, registry=registry)
        assert values_of(registry, version.run)["train/loss"] == pytest.approx(
            values_of(registry, alone.run)["train/loss"], rel=1e-5
        )


def test_adapters_of_several_sizes_train_together(registry: Registry, tiny_base: Path) -> None:
    common = {**SMALL, "base": str(tiny_base), "registry": registry}
    sizes = [{"overrides": {"reduction_factor": factor}} for factor in (16, 4, {"0": 2, "default": 8})]
    for version, size in zip(train_many(sizes, **common), sizes, strict=True):
        alone = train(**common, **size)
        check_same(registry, version, alone, tolerance=1e-5)
        assert registry.run(str(version.run)).settings == registry.run(str(alone.run)).settings


def test_rows_of_pairs_and_scores_train_together(registry: Registry, tiny_base: Path) -> None:
    common = {**SMALL, "base": str(tiny_base), "task": "stsb"}
    for seed, version in enumerate(train_many([{"seed": 0}, {"seed": 1}], registry=registry, **common)):
        alone = train(**common, seed=seed, registry=registry)
        assert version.metrics == pytest.approx(alone.metrics, rel=1e-4, abs=1e-4)


def test_one_that_fails_leaves_the_others_alone(registry: Registry, tiny_base: Path) -> None:
    each = [{"name": "a", "seed": 0}, {"name": "lost", "seed": 1}, {"name": "b"}]

    def fail(progress: Progress) -> None:
        run = registry.run(progress.run)
        if run.adapter == "lost" and progress.step == 5:
            raise TrainingError("the weights diverged")

    with pytest.raises(TrainingError, match="the weights diverged"):
        train_many(each, base=str(tiny_base), registry=registry, report=fail, **SMALL)
    statuses = {run.adapter: run.status for run in registry.runs()}
    assert statuses == {"a": RunStatus.FINISHED, "lost": RunStatus.FAILED, "b": RunStatus.FINISHED}
    assert registry.version("b").metrics == registry.version("a").metrics  # of one seed
    with pytest.raises(NotFoundError):
        registry.version("lost")


def test_those_that_are_pruned_leave_the_pass(registry: Registry, tiny_base: Path) -> None:
    reported: list[str] = []

    def prune(progress: Progress) -> None:
        reported.append(progress.run)
        if progress.metrics is not None and registry.run(progress.run).seed > 0:
            raise PrunedError("not promising")

    trainings = [{"seed": seed} for seed in range(3)]
    with pytest.raises(TrainingError, match="2 of 3 trainings failed: 2: not promising; 3: not promising"):
        train_many(trainings, base=str(tiny_base), registry=registry, report=prune, **SMALL)
    runs = {run.seed: run for run in registry.runs()}
    assert {seed: run.status for seed, run in runs.items()} == {
        0: RunStatus.FINISHED,
        1: RunStatus.PRUNED,
        2: RunStatus.PRUNED,
    }
    assert reported.count(runs[0].uid) == 16
    assert reported.count(runs[1].uid) == 4
    assert registry.version("sst2").run == runs[0].uid


KILLED = """
import os, signal, sys
import torch
from pointsman.registry import Registry
from pointsman.sdk import train_many

torch.set_num_threads(1)

def report(progress):
    if progress.step == 11:
        os.kill(os.getpid(), signal.SIGKILL)

train_many([{"seed": 0}, {"seed": 1}], base=sys.argv[1], registry=Registry(sys.argv[2]), report=report,
           checkpoint_every=5, **eval(sys.argv[3]))
"""


@pytest.mark.slow
def test_after_a_kill_each_is_resumed_alone(registry: Registry, tiny_base: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tiny_base), str(registry.home), repr(SMALL)]
    killed = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -signal.SIGKILL
    runs = registry.runs()
    assert [run.status for run in runs] == [RunStatus.INTERRUPTED] * 2
    for run in runs:
        alone = train(**SMALL, base=str(tiny_base), registry=registry, seed=run.seed, name="alone")
        version = resume(run.uid, registry=registry)
        assert version.run == run.uid
        check_same(registry, version, alone, tolerance=1e-5)


def test_ctrl_c_interrupts_all_and_gives_the_generators_back(registry: Registry, tiny_base: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt

    def generators() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

    before = generators()
    with pytest.raises(KeyboardInterrupt):
        train_many([{"seed": 0}, {"seed": 1}], base=str(tiny_base), registry=registry, report=interrupt, **SMALL)
    assert generators() == before
    assert [run.status for run in registry.runs()] == [RunStatus.INTERRUPTED] * 2
    assert list(registry.versions()) == []


def _refused(trainings: Any, message: str, registry: Registry, **common: Any) -> None:
    with pytest.raises(PointsmanError, match=message):
        train_many(trainings, registry=registry, **common)
    assert list(registry.runs()) == []


def test_what_cannot_be_trained_together_is_refused(
    registry: Registry, tiny_base: Path, bases: dict[str, Path]
) -> None:
    common = {**SMALL, "base": str(tiny_base)}
    unlike: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"method": "seq_bn"}, {"method": "lora"}, r"trainings 1 and 2 differ in method \('seq_bn' and 'lora'\)"),
        ({"task": "sst2"}, {"task": "mrpc"}, r"differ in task \('sst2' and 'mrpc'\)"),
        ({"base": str(tiny_base)}, {"base": str(bases["roberta"])}, "trainings 1 and 2 differ in base"),
        ({}, {"overrides": {"leave_out": [0]}}, r"differ in leave_out \(\[\] and \[0\]\)"),
        ({"data": "sample"}, {"data": "glue"}, "differ in rows"),
        ({"precision": "fp32"}, {"precision": "bf16"}, r"differ in precision \('fp32' and 'bf16'\)"),
        ({"max_length": 16}, {"max_length": 32}, r"differ in max_length \(16 and 32\)"),
        ({"seed": 1}, {"seed": 1}, "trainings 1 and 2 are the same; change the seed"),
        ({}, {"report_to": "tensorboard", "seed": 1}, "training 2 shares no pass: it reports to tensorboard"),
        ({}, {"seed": 1, "sead": 2}, "unknown setting 'sead'"),
    ]
    for one, other, message in unlike:
        rest = {name: value for name, value in common.items() if name not in one.keys() | other.keys()}
        filled = [
            {**{name: common[name] for name in one.keys() | other.keys() if name in common}, **each}
            for each in (one, other)
        ]
        _refused(filled, message, registry, **rest)
    for trainings in ([], None, "sst2", {"seed": 1}):
        _refused(trainings, "trainings must be a list of at least one mapping; found", registry, **common)
    _refused([{"seed": 1}, "sst2"], "training 2 must be a mapping of arguments; found 'sst2'", registry, **common)
    _refused([{"seed": 1}], "'seed' is given for all trainings and for training 1", registry, seed=2, **common)
    _refused([{"seed": 1}], "training 1 has no 'task'", registry, base=str(tiny_base))
    _refused([{"seed": 1}], "training 1 has no 'base'", registry, task="sst2")
    _refused(
        [{"seed": 1}, {"seed": 2}],
        "training 1 shares no pass: drop_layers is 0-1.*train one after another",
        registry,
        drop_layers="0-1",
        **common,
    )


@pytest.mark.parametrize(("method", "base"), [("lora", "bert"), ("seq_bn", "distilbert"), ("double_seq_bn", "bert")])
def test_what_the_shared_pass_does_not_compute_is_refused(
    method: str, base: str, registry: Registry, bases: dict[str, Path]
) -> None:
    trainings = [{"seed": 0}, {"seed": 1}]
    with pytest.raises(SettingsError, match=f"found {method} on a {base} base on cpu; train one after another"):
        train_many(trainings, base=str(bases[base]), method=method, registry=registry, **SMALL)
    assert list(registry.runs()) == []


def test_one_alone_trains_too(registry: Registry, tiny_base: Path) -> None:
    (version,) = train_many([SMALL], base=str(tiny_base), registry=registry)
    check_same(registry, version, train(**SMALL, base=str(tiny_base), registry=registry), tolerance=0.0)
