"""Training registers what it says, remembers how it went, and ends honestly."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from transformers import TrainerCallback

from pointsman.registry import Registry, RunStatus
from pointsman.registry.errors import BaseNotFoundError, DataError, PointsmanError, SettingsError, TrainingError
from pointsman.sdk import Progress, Switcher, TrainSettings, train
from pointsman.sdk.data import load_task_data
from pointsman.sdk.tasks import GLUE
from pointsman.sdk.tasks.metrics import compute
from pointsman.sdk.training.resolved import ResolvedSettings
from pointsman.sdk.training.weight_average import WeightAverage

SMALL: dict[str, Any] = {
    "data": "sample",
    "epochs": 1,
    "max_train_rows": 96,
    "max_eval_rows": 40,
    "max_length": 32,
    "batch_size": 32,
}


def test_a_version_scores_what_its_metrics_say(registry: Registry, tiny_base: Path) -> None:
    """And what they say is what predict gives from the stored files, recomputed from the labels here."""
    version = train("mrpc", base=str(tiny_base), registry=registry, **SMALL | {"epochs": 3})
    split = load_task_data("mrpc", "sample").splits["validation"].head(40)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        answers = switcher.predict("mrpc", split.texts())
    predicted = np.array([GLUE["mrpc"].labels.index(str(answer.label)) for answer in answers])
    expected = compute(("accuracy", "f1"), predicted, split.labels())
    assert {key: version.metrics[f"eval/{key}"] for key in expected} == pytest.approx(expected)
    assert version.score == version.metrics["eval/accuracy"]
    assert registry.version("mrpc@best") == version


def test_a_run_remembers_everything(registry: Registry, tiny_base: Path) -> None:
    version = train("sst2", base=str(tiny_base), registry=registry, overrides={"reduction_factor": 8}, **SMALL)
    assert version.run is not None
    run = registry.run(version.run)
    assert run.status is RunStatus.FINISHED
    assert run.version == version.ref
    assert run.settings["learning_rate"] == 1e-3
    assert run.settings["config"] == version.config
    assert run.settings["steps"] == 3
    assert version.config["reduction_factor"] == 8
    assert run.data["rows"] == {"train": 96, "eval": 40}
    assert run.data["fingerprint"] == load_task_data("sst2", "sample").fingerprint
    assert run.environment["packages"]["adapters"] == "1.3.0"
    assert [point.step for point in registry.history("sst2", "train/loss")] == [1, 2, 3]
    assert [point.step for point in registry.history("sst2", "eval/accuracy")] == [3]
    assert {summary.key for summary in registry.summaries("sst2")} == {
        "eval/accuracy",
        "eval/loss",
        "train/learning_rate",
        "train/loss",
        "train/samples_per_second",
    }
    assert {path.name for path in registry.home.iterdir()} == {"registry.db", "registry.db-journal", "objects", "cache"}


def test_the_history_can_be_read_while_it_grows(registry: Registry, tiny_base: Path) -> None:
    seen: list[int] = []

    def look(progress: Progress) -> None:
        with Registry(registry.home) as other:
            (run,) = other.runs()
            assert run.status is RunStatus.RUNNING
            seen.append(sum(summary.count for summary in other.summaries(f"run:{run.uid}")))

    train("sst2", base=str(tiny_base), registry=registry, report=look, **SMALL | {"max_train_rows": 2000, "epochs": 2})
    assert seen == sorted(seen)
    assert seen[-1] > 0


def test_the_best_checkpoint_is_kept_not_the_last(registry: Registry, tiny_base: Path) -> None:
    options = {**SMALL, "epochs": 3, "eval_every": 1, "learning_rate": 0.01}
    version = train("sst2", base=str(tiny_base), registry=registry, **options)
    points = registry.history("sst2", "eval/accuracy")
    assert len(points) == 9
    assert version.score == max(point.value for point in points)


def test_what_is_scored_and_kept_is_the_mean_of_the_latest_steps(
    registry: Registry, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every evaluation, not at the last alone; and the learning rate, once it is reached, is kept."""
    means: list[torch.Tensor] = []

    class Watched(WeightAverage):
        def add(self, step: int) -> None:
            super().add(step)
            means.append(torch.cat([mean.clone() for mean in self.mean.values()]))

    monkeypatch.setattr("pointsman.sdk.training.loop.WeightAverage", Watched)
    options = {**SMALL, "max_train_rows": 320, "epochs": 2, "eval_every": 5}
    version = train("sst2", base=str(tiny_base), registry=registry, **options)
    assert len(means) == 20
    losses = {point.value: point.step for point in registry.history("sst2", "eval/loss")}
    best = losses[version.metrics["eval/loss"]]
    stored = {}
    for file in ("adapter.safetensors", "model_head.safetensors"):
        stored |= load(registry.read_file(version, file))
    kept = torch.cat([tensor.reshape(-1) for tensor in stored.values()])
    assert torch.equal(kept.sort().values, means[best - 1].sort().values)
    rates = [point.value for point in registry.history("sst2", "train/learning_rate")]
    assert rates[0] < 1e-3
    assert rates[2:] == [1e-3] * 18


def test_of_equal_scores_the_lower_validation_loss_is_kept(registry: Registry, tiny_base: Path) -> None:
    """And a tie is no gain: patience runs on."""
    options = SMALL | {"learning_rate": 1e-4, "eval_every": 1, "max_eval_rows": 6, "patience": 2, "epochs": 9}
    version = train("sst2", base=str(tiny_base), registry=registry, **options)
    run = f"run:{version.run}"
    scores, losses = ([point.value for point in registry.history(run, f"eval/{key}")] for key in ("accuracy", "loss"))
    tied = [loss for score, loss in zip(scores, losses, strict=True) if score == max(scores)]
    assert min(tied) < tied[0]
    assert version.metrics["eval/accuracy"] == max(scores)
    assert version.metrics["eval/loss"] == min(tied)
    assert len(scores) - 1 - scores.index(max(scores)) == 2


def test_patience_stops_early(registry: Registry, tiny_base: Path) -> None:
    train("sst2", base=str(tiny_base), registry=registry, eval_every=1, patience=1, **SMALL | {"epochs": 50})
    points = [point.value for point in registry.history("sst2", "eval/accuracy")]
    assert len(points) < 150
    assert points[-1] <= max(points[:-1])


def test_the_same_seed_gives_the_same_weights(registry: Registry, tiny_base: Path) -> None:
    first, same, other = (
        train("sst2", base=str(tiny_base), registry=registry, seed=seed, **SMALL) for seed in (1, 1, 2)
    )
    assert first.digest == same.digest != other.digest
    assert (first.number, same.number, other.number) == (1, 2, 3)


@pytest.mark.parametrize("task", [name for name, task in GLUE.items() if task.trainable])
def test_every_task_of_glue_trains(task: str, registry: Registry, tiny_base: Path) -> None:
    version = train(task, base=str(tiny_base), registry=registry, **SMALL)
    expected = {f"eval/{metric}" for metric in (*GLUE[task].metrics, "loss")}
    if task == "mnli":
        expected |= {"eval_mismatched/accuracy", "eval_mismatched/loss"}
    assert set(version.metrics) == expected


def test_the_table_of_trainable_tasks_is_complete() -> None:
    assert sum(task.trainable for task in GLUE.values()) == 9


def test_an_interrupted_run_says_so_and_keeps_its_history(registry: Registry, tiny_base: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("sst2", base=str(tiny_base), registry=registry, report=interrupt, **SMALL)
    (run,) = registry.runs()
    assert run.status is RunStatus.INTERRUPTED
    assert len(registry.history(f"run:{run.uid}", "train/loss")) == 2
    assert list(registry.versions()) == []


def test_a_loss_that_is_no_number_stops_the_run(registry: Registry, tiny_base: Path) -> None:
    """Weights that are NaN from the first step on."""
    from transformers import TrainerCallback

    class Spoil(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **about: Any) -> None:
            for parameter in about["model"].parameters():
                if parameter.requires_grad:
                    parameter.data.fill_(math.nan)

    with pytest.raises(TrainingError, match="loss became nan at step 1 of 3"):
        train("sst2", base=str(tiny_base), registry=registry, callbacks=[Spoil()], **SMALL)
    (run,) = registry.runs()
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert "lower the learning rate (it was 0.001)" in run.error
    assert math.isnan(registry.history(f"run:{run.uid}", "train/loss")[0].value)
    assert list(registry.versions()) == []


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"task": "sst3"}, PointsmanError, "sst2"),
        ({"task": "ax"}, SettingsError, "mnli"),
        ({"task": "reviews", "data": None}, PointsmanError, "reviews"),
        ({"method": "lore"}, PointsmanError, "lora"),
        ({"overrides": {"reduction": 2}}, SettingsError, "reduction_factor"),
        ({"name": "No Good"}, PointsmanError, "not valid"),
        ({"epochs": 0}, SettingsError, "epochs must be over 0"),
        ({"learning_rate": -1}, SettingsError, "learning_rate"),
        ({"learning_rate": math.nan}, SettingsError, "learning_rate"),
        ({"batch_size": 97}, SettingsError, "more than the 96 training rows"),
        ({"max_length": 65}, SettingsError, "8 to 64 tokens"),
        ({"max_length": 2}, SettingsError, "at least 8"),
        ({"seed": -1}, SettingsError, "seed"),
        ({"precision": "fp8"}, SettingsError, "bf16"),
        ({"device": "gpu"}, PointsmanError, "'cpu' always works"),
        ({"eval_each": 3}, SettingsError, "eval_every"),
        ({"text": ["a"]}, SettingsError, "GLUE"),
        ({"label": "stars"}, SettingsError, "GLUE"),
        ({"data": "nowhere"}, DataError, "nowhere"),
        ({"base": 5}, BaseNotFoundError, "found 5"),
        ({"registry": "home"}, SettingsError, r"Registry\('DIR'\) opens one; found 'home'"),
        ({"callbacks": 5}, SettingsError, "TrainerCallback; found 5"),
        ({"callbacks": ["print"]}, SettingsError, "TrainerCallback; found 'print'"),
        ({"callbacks": TrainerCallback()}, SettingsError, "one alone"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_recorded(
    arguments: dict[str, Any], kind: type[Exception], message: str, registry: Registry, tiny_base: Path
) -> None:
    given = {"task": "sst2", "base": str(tiny_base), "registry": registry, **SMALL, **arguments}
    with pytest.raises(kind, match=message):
        train(given.pop("task"), **given)
    assert list(registry.runs()) == []
    assert list(registry.versions()) == []


def test_settings_of_another_kind_are_refused(registry: Registry, tiny_base: Path) -> None:
    settings: Any = {"epochs": 1}
    with pytest.raises(SettingsError, match="settings must be TrainSettings"):
        train("sst2", base=str(tiny_base), registry=registry, data="sample", settings=settings)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_field_that_needs_another_package_says_so(registry: Registry, tiny_base: Path) -> None:
    with pytest.raises(SettingsError, match="requires the package torchvision"):
        train("sst2", base=str(tiny_base), registry=registry, overrides={"stochastic_depth": 0.1}, **SMALL)


@pytest.mark.parametrize(
    ("options", "task", "rows", "epochs", "rate"),
    [
        ({}, "wnli", 635, 8, 1e-3),
        ({}, "mrpc", 635, 12, 1e-3),
        ({}, "cola", 8_551, 8, 1e-3),
        ({}, "reviews", 50_000, 4, 1e-3),
        ({}, "mrpc", 50_000, 4, 1e-3),
        ({}, "mnli", 392_702, 2, 1e-3),
        ({"epochs": 1.5}, "wnli", 635, 1.5, 1e-3),
        ({"epochs": 20}, "mnli", 392_702, 20, 1e-3),
        ({"max_steps": 100}, "wnli", 640, None, 1e-3),
        ({"learning_rate": 0.1}, "wnli", 635, 8, 0.1),
    ],
)
def test_epochs_follow_the_number_of_rows_and_the_task(
    options: dict[str, Any],
    task: str,
    rows: int,
    epochs: float | None,
    rate: float,
    *,
    resolved: Callable[..., ResolvedSettings],
) -> None:
    settings = resolved(TrainSettings(**options), task=task, rows=rows)
    assert (settings.to_dict()["epochs"], settings.learning_rate) == (epochs, rate)


@pytest.mark.parametrize(("task", "rows", "batch_size"), [("sst2", 100, 16), ("cola", 100, 32), ("cola", 20, 20)])
def test_the_batch_size_follows_the_task(
    task: str, rows: int, batch_size: int, resolved: Callable[..., ResolvedSettings]
) -> None:
    assert resolved(TrainSettings(), task=task, rows=rows).batch_size == batch_size
