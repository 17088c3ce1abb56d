"""Settings say what cannot work before anything is loaded, and schedules are what they are called."""

import json
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.registry.errors import SettingsError
from pointsman.sdk import TrainSettings
from pointsman.sdk.training.optimiser import learning_rate
from pointsman.sdk.training.resolved import Epochs, ResolvedSettings, Steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be over 0 and at most 10000; found 0"),
        ({"epochs": math.inf}, "epochs must be over 0"),
        ({"epochs": "3"}, "epochs must be a number; found '3'"),
        ({"max_steps": 0}, "max_steps must be a whole number, at least 1; found 0"),
        ({"max_steps": 2.5}, "max_steps must be a whole number"),
        ({"max_steps": 5, "epochs": 1}, "epochs or max_steps, not both"),
        ({"learning_rate": -1.0}, "learning_rate must be over 0 and at most 10; found -1"),
        ({"learning_rate": math.nan}, "learning_rate must be over 0"),
        ({"schedule": "step"}, "schedule must be one of constant, linear, cosine; found 'step'"),
        ({"warmup": 1.5}, "warmup must be at least 0 and at most 1; found 1.5"),
        ({"average": -0.1}, "average must be at least 0 and at most 1"),
        ({"weight_decay": 2}, "weight_decay must be at least 0 and at most 1; found 2"),
        ({"max_grad_norm": 0}, "max_grad_norm must be over 0"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"gradient_accumulation": 0}, "gradient_accumulation must be a whole number, at least 1; found 0"),
        ({"eval_every": 2.5}, "eval_every must be a number of steps, or below 1; found 2.5"),
        ({"eval_every": 0}, "eval_every must be over 0"),
        ({"patience": 0}, "patience must be a whole number"),
        ({"checkpoint_every": -3}, "checkpoint_every must be a whole number"),
        ({"seed": -1}, "seed must be a whole number, at least 0"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"max_length": 4}, "max_length must be at least 8; found 4"),
        ({"precision": "fp16"}, "precision must be one of auto, bf16, fp32; found 'fp16'"),
        ({"class_weights": "even"}, "class_weights must be 'balanced' or numbers by label; found 'even'"),
        ({"class_weights": {}}, "class_weights must be 'balanced' or numbers by label"),
        ({"class_weights": {"a": -1}}, "class_weights: the weight of 'a' must be at least 0; found -1"),
        ({"max_length": 16.5}, "max_length must be a whole number, at least 1; found 16.5"),
        ({"max_length": "64"}, "max_length must be a whole number, at least 1; found '64'"),
        ({"device": None}, "device must be a name, as cpu or cuda:1; found None"),
        ({"class_weights": {0: 1.0}}, "the labels in class_weights must be strings; found 0"),
        ({"eval_each": 3}, "unknown setting 'eval_each'; did you mean eval_every?; known: epochs, max_steps"),
    ],
)
def test_what_cannot_work_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        TrainSettings.of(options)
    assert message in str(refusal.value)


def test_numbers_of_numpy_and_lone_names_are_taken() -> None:
    settings = TrainSettings(batch_size=np.int64(8), learning_rate=np.float64(0.5), report_to="wandb", seed=np.int64(3))
    assert (settings.batch_size, settings.report_to) == (8, ("wandb",))
    assert TrainSettings(report_to=None).report_to == ()


def test_resolved_settings_leave_nothing_open(resolved: Callable[..., ResolvedSettings]) -> None:
    settings = resolved(TrainSettings(), rows=8551)
    unset = {field.name for field in fields(settings) if getattr(settings, field.name) is None}
    assert unset == {
        "class_weights", "max_train_rows", "max_eval_rows", "eval_every", "patience", "checkpoint_every",
    }  # fmt: skip
    assert settings.length == Epochs(8.0)
    assert settings.max_length == 64  # the tiny base's limit
    assert settings.precision in ("bf16", "fp32")


def test_recorded_settings_are_the_settings_of_the_same_training(resolved: Callable[..., ResolvedSettings]) -> None:
    for asked in (
        TrainSettings(epochs=2.5, report_to="wandb", class_weights={"negative": 2.0}),
        TrainSettings(max_steps=7, drop_layers="0-2"),
    ):
        settings = resolved(asked)
        recorded = json.loads(json.dumps(settings.to_dict()))
        assert recorded.keys() == {field.name for field in fields(TrainSettings)}
        assert resolved(TrainSettings.of(recorded)) == settings


def test_what_is_asked_for_is_kept(resolved: Callable[..., ResolvedSettings]) -> None:
    asked = TrainSettings(max_steps=7, learning_rate=0.5, batch_size=3, schedule="linear", report_to=("wandb",))
    settings = resolved(asked, task="cola", rows=100)
    assert (settings.length, settings.learning_rate, settings.batch_size) == (Steps(7), 0.5, 3)
    assert (settings.to_dict()["epochs"], settings.to_dict()["max_steps"]) == (None, 7)
    assert settings.average == 0  # a rate that falls to zero needs none
    with pytest.raises(SettingsError, match="batch_size 3 is more than the 2 training rows"):
        resolved(asked, task="cola", rows=2)


@given(
    steps=st.integers(1, 2000),
    warmup=st.floats(0, 1),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
)
def test_the_rate_rises_once_and_never_again(
    resolved: Callable[..., ResolvedSettings], steps: int, warmup: float, schedule: str
) -> None:
    settings = resolved(TrainSettings(learning_rate=0.1, warmup=warmup, schedule=schedule))
    rates = [learning_rate(step, steps, settings) for step in range(1, steps + 1)]
    rising = math.ceil(warmup * steps)
    assert all(0 < rate <= 0.1 for rate in rates)
    assert rates[max(rising - 1, 0)] == 0.1
    assert rates[:rising] == sorted(rates[:rising])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)
    if schedule == "constant":
        assert set(rates[rising:]) <= {0.1}


def test_schedules_have_the_known_values(resolved: Callable[..., ResolvedSettings]) -> None:
    """By hand: a rise over 2 of 10 steps, then eight steps from full height on."""
    for schedule, expected in (
        ("linear", [0.5, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("cosine", [0.5, 1, *(0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8))]),
        ("constant", [0.5] + [1.0] * 9),
    ):
        settings = resolved(TrainSettings(learning_rate=1.0, warmup=0.2, schedule=schedule))
        assert [learning_rate(step, 10, settings) for step in range(1, 11)] == pytest.approx(expected)
