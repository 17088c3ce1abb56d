"""Checking a training changes nothing, and gathers what it runs with; and a training gives back what it borrows."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointsman.registry import Registry
from pointsman.registry.errors import Action, Advice, SettingsError, TrainingError
from pointsman.sdk import Progress, TrainSettings, resume, train
from pointsman.sdk.bases.load import read_base
from pointsman.sdk.data.source import DataSource
from pointsman.sdk.training.prepare import prepare
from pointsman.sdk.training.random_state import RandomState
from pointsman.sdk.training.request import TrainRequest
from pointsman.sdk.training.session import run_training

SMALL: dict[str, Any] = {"max_train_rows": 64, "max_eval_rows": 20, "max_length": 16, "batch_size": 8, "epochs": 1}


def _request(base: Path, task: str = "sst2", **options: Any) -> TrainRequest:
    return TrainRequest.of(
        task,
        base=str(base),
        method="seq_bn",
        overrides=None,
        source=DataSource(data="sample"),
        name=None,
        settings=TrainSettings.of({**SMALL, **options}),
    )


def _generators() -> tuple[Any, ...]:
    state = RandomState.current()
    return state.tensors["random.cpu"].tolist(), state.numbers["python"], state.numbers["numpy"]


def test_preparing_changes_nothing(registry: Registry, tiny_base: Path) -> None:
    files, before = sorted(registry.home.rglob("*")), _generators()
    prepared = prepare(_request(tiny_base), registry=registry)
    assert _generators() == before
    assert list(registry.runs()) == []
    assert sorted(registry.home.rglob("*")) == files
    assert (len(prepared.train_rows), prepared.primary_metric) == (64, "eval/accuracy")
    assert {prefix: len(split) for prefix, split in prepared.evaluations.items()} == {"eval": 20}
    assert prepared.settings.precision in ("bf16", "fp32")


def test_two_validation_splits_have_a_prefix_each(registry: Registry, tiny_base: Path) -> None:
    prepared = prepare(_request(tiny_base, "mnli"), registry=registry)
    assert list(prepared.evaluations) == ["eval", "eval_mismatched"]
    assert prepared.primary_metric == "eval/accuracy"


def test_what_is_loaded_once_is_used(registry: Registry, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = _request(tiny_base)
    data, base_files = request.source.load("sst2"), read_base(str(tiny_base))

    def load(*_: Any) -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr(DataSource, "load", load)
    monkeypatch.setattr("pointsman.sdk.training.prepare.read_base", load)
    prepared = prepare(request, registry=registry, data=data, base_files=base_files)
    assert prepared.data is data
    assert run_training(prepared, registry=registry).ref == "sst2@1"


def test_a_tracker_that_is_unknown_is_refused_before_the_training(registry: Registry, tiny_base: Path) -> None:
    with pytest.raises(SettingsError, match="unknown tracker for report_to 'tensorbord'; did you mean tensorboard"):
        prepare(_request(tiny_base, report_to="tensorbord"), registry=registry)


def test_a_training_gives_the_callers_generators_back(registry: Registry, tiny_base: Path) -> None:
    """At its end, after an error, and after a resumed run; and it does not depend on them."""

    def interrupt(progress: Progress) -> None:
        torch.rand(1), np.random.rand(), random.random()
        raise KeyboardInterrupt

    digests = []
    options = {"base": str(tiny_base), "registry": registry, "data": "sample", "checkpoint_every": 2, **SMALL}
    for seed in (7, 8):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        before = _generators()
        with pytest.raises(KeyboardInterrupt):
            train("sst2", report=interrupt, **options)
        assert _generators() == before
        resumed = resume(registry.runs()[0].uid, registry=registry)
        assert _generators() == before
        digests += [resumed.digest, train("sst2", **options).digest]
        assert _generators() == before
        assert torch.initial_seed() == seed
    assert len(set(digests)) == 1


@pytest.mark.parametrize(("rate", "lower"), [(0.01, 0.003), (10, 0.001)])
def test_a_loss_that_diverges_advises_a_lower_rate(
    registry: Registry, tiny_base: Path, rate: float, lower: float
) -> None:
    from transformers import TrainerCallback

    class Spoil(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
            for parameter in about["model"].parameters():
                if parameter.requires_grad:
                    parameter.data.fill_(float("nan"))

    with pytest.raises(TrainingError, match="lower the learning rate") as failure:
        train(
            "sst2",
            base=str(tiny_base),
            registry=registry,
            data="sample",
            callbacks=[Spoil()],
            learning_rate=rate,
            **SMALL,
        )
    (run,) = registry.runs()
    assert failure.value.advice == Advice(Action.TRAIN_LIKE, {"ref": f"run:{run.uid}", "learning_rate": lower})
