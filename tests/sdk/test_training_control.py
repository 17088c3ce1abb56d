"""Stopping, evaluating, accumulating, weighing, telling others: what a training can be asked for besides learning."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EarlyStoppingCallback, TrainerCallback

from pointsman.registry import Registry, RunStatus
from pointsman.registry.errors import SettingsError, TrainingError
from pointsman.sdk import Progress, Switcher, train
from pointsman.sdk.data import load_task_data
from pointsman.sdk.tasks import GLUE
from pointsman.sdk.training.objective import class_weights, loss_of
from pointsman.sdk.training.pace import Pace

SMALL: dict[str, Any] = {
    "data": "sample",
    "epochs": 2,
    "max_train_rows": 64,
    "max_eval_rows": 20,
    "max_length": 16,
    "batch_size": 8,
}


def _steps(registry: Registry, metric: str) -> list[int]:
    return [point.step for point in registry.history("sst2", metric)]


@pytest.mark.parametrize(
    ("options", "trained", "evaluated"),
    [
        ({}, 16, [8, 16]),
        ({"eval_every": 5}, 16, [5, 10, 15, 16]),
        ({"eval_every": 0.25}, 16, [2, 4, 6, 8, 10, 12, 14, 16]),
        ({"epochs": 1.5}, 12, [8, 12]),
        ({"epochs": None, "max_steps": 3}, 3, [3]),
        ({"epochs": None, "max_steps": 20}, 20, [8, 16, 20]),
        ({"gradient_accumulation": 3}, 6, [3, 6]),
        ({"gradient_accumulation": 100}, 2, [1, 2]),
    ],
)
def test_steps_and_evaluations_come_where_they_are_due(
    options: dict[str, Any], trained: int, evaluated: list[int], registry: Registry, tiny_base: Path
) -> None:
    train("sst2", base=str(tiny_base), registry=registry, **SMALL | options)
    assert _steps(registry, "train/loss") == list(range(1, trained + 1))
    assert _steps(registry, "eval/accuracy") == evaluated


def test_an_accumulated_step_is_the_step_of_a_larger_batch(registry: Registry, tmp_path: Path) -> None:
    """Without dropout, and where all rows go into one step, in whatever order."""
    from transformers import BertModel

    from helpers import make_tiny_base

    base = make_tiny_base(tmp_path / "base", seed=0)
    model = BertModel.from_pretrained(base)
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    model.save_pretrained(base)
    logits = []
    for name, options in (("one", {"batch_size": 64}), ("many", {"batch_size": 7, "gradient_accumulation": 10})):
        train("sst2", base=str(base), registry=registry, name=name, precision="fp32", **SMALL | options | {"epochs": 3})
        with Switcher(str(base), registry=registry) as switcher:
            logits.append(switcher.logits(name, ["a gripping film", "two dull hours"]))
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=1e-4)


class Watching(TrainerCallback):
    """Writes down what it is told, and asks for something at a step."""

    def __init__(self, step: int = 0, wish: str = "") -> None:
        self.events: list[tuple[str, int]] = []
        self.logs: list[dict[str, float]] = []
        self._step, self._wish = step, wish

    def on_train_begin(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        self.events.append(("begin", state.global_step))
        assert about["model"].active_head is not None
        assert state.max_steps == 16
        assert args.per_device_train_batch_size == 8

    def on_step_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        self.events.append(("step", state.global_step))
        if state.global_step == self._step:
            setattr(control, self._wish, True)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **about: Any) -> None:
        self.logs.append(logs)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **about: Any) -> None:
        self.events.append(("evaluate", state.global_step))
        assert "eval_accuracy" in metrics

    def on_save(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        self.events.append(("save", state.global_step))

    def on_train_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        self.events.append(("end", state.global_step))


def test_callbacks_are_told_what_a_trainer_would_tell_them(registry: Registry, tiny_base: Path) -> None:
    watching = Watching()
    train("sst2", base=str(tiny_base), registry=registry, callbacks=[watching], checkpoint_every=12, **SMALL)
    steps = [("step", step) for step in range(1, 17)]
    expected = [("begin", 0), *steps[:8], ("evaluate", 8), *steps[8:12], ("save", 12), *steps[12:]]
    assert watching.events == [*expected, ("evaluate", 16), ("end", 16)]
    assert {"loss", "learning_rate", "samples_per_second"} <= watching.logs[0].keys()
    assert [logs["loss"] for logs in watching.logs if "loss" in logs] == [
        point.value for point in registry.history("sst2", "train/loss")
    ]


@pytest.mark.parametrize(
    ("wish", "event"), [("should_training_stop", "evaluate"), ("should_evaluate", "evaluate"), ("should_save", "save")]
)
def test_what_callbacks_ask_for_is_done(wish: str, event: str, registry: Registry, tiny_base: Path) -> None:
    watching = Watching(5, wish)
    version = train("sst2", base=str(tiny_base), registry=registry, callbacks=[watching], **SMALL)
    assert (event, 5) in watching.events
    assert _steps(registry, "train/loss")[-1] == (5 if wish == "should_training_stop" else 16)
    assert registry.run(str(version.run)).status is RunStatus.FINISHED


class AtEnds(TrainerCallback):
    """Asks for an evaluation at the end of an epoch, and for a checkpoint after every evaluation."""

    def __init__(self) -> None:
        self.saved: list[int] = []

    def on_epoch_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        control.should_evaluate = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        self.saved.append(state.global_step)


def test_wishes_at_an_epochs_end_and_after_an_evaluation_are_done(registry: Registry, tiny_base: Path) -> None:
    ends = AtEnds()
    train("sst2", base=str(tiny_base), registry=registry, callbacks=[ends], eval_every=5, **SMALL)
    assert _steps(registry, "eval/accuracy") == [5, 8, 10, 15, 16]
    assert ends.saved == [5, 8, 10, 15, 16]


def test_transformers_own_early_stopping_stops(registry: Registry, tiny_base: Path) -> None:
    early = EarlyStoppingCallback(early_stopping_patience=2, early_stopping_threshold=1.0)  # nothing gains so much
    train("sst2", base=str(tiny_base), registry=registry, callbacks=[early], eval_every=2, **SMALL)
    assert _steps(registry, "eval/accuracy") == [2, 4, 6]


class Spoil(TrainerCallback):
    """Makes every trained weight NaN after a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        if state.global_step == self._step:
            for parameter in about["model"].parameters():
                if parameter.requires_grad:
                    parameter.data.fill_(float("nan"))


@pytest.mark.parametrize("options", [{}, {"checkpoint_every": 1}])
def test_weights_that_are_no_numbers_are_never_registered(
    options: dict[str, Any], registry: Registry, tiny_base: Path
) -> None:
    """Spoilt by the last step, after its loss was computed; and not kept as a checkpoint either."""
    with pytest.raises(TrainingError, match=r"outputs are no longer finite numbers at step 3 of 3"):
        train(
            "sst2", base=str(tiny_base), registry=registry, callbacks=[Spoil(3)], average=0.0,
            **SMALL | {"epochs": None, "max_steps": 3} | options,
        )  # fmt: skip
    assert list(registry.versions()) == []
    kept = [path.name for path in (registry.home / "runs").rglob("*.safetensors")]
    assert kept == (["step-000000002.safetensors"] if options else [])


def test_what_is_never_padded_is_not_padded_to_try_it_either(registry: Registry, tiny_base: Path) -> None:
    """Positions from a row's end: rows that are shorter only do in batches of their own length."""
    options = SMALL | {"batch_size": 64, "epochs": 1, "max_length": 32}
    train("sst2", base=str(tiny_base), registry=registry, method="loreft", overrides={"suffix_positions": 5}, **options)


def test_trackers_are_told(registry: Registry, tiny_base: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    version = train("sst2", base=str(tiny_base), registry=registry, report_to=["tensorboard"], **SMALL)
    written = EventAccumulator(str(registry.home / "logs" / str(version.run))).Reload()
    losses = [(event.step, pytest.approx(event.value)) for event in written.Scalars("train/loss")]
    assert [(point.step, point.value) for point in registry.history("sst2", "train/loss")] == losses
    assert [event.step for event in written.Scalars("eval/accuracy")] == [8, 16]


def test_unknown_trackers_are_refused(registry: Registry, tiny_base: Path) -> None:
    for name, message in (("tensorbord", "did you mean tensorboard"), ("wandb", "report_to wandb: .*wandb")):
        with pytest.raises(SettingsError, match=message):
            train("sst2", base=str(tiny_base), registry=registry, report_to=[name], **SMALL)
    assert list(registry.runs()) == []


def test_classes_count_what_they_are_said_to() -> None:
    task, labels = GLUE["sst2"], torch.tensor([0, 0, 0, 1]).numpy()
    outputs = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    of_rows = -torch.log_softmax(outputs, dim=1)[[0, 1], [0, 0]]
    balanced = class_weights(task, "balanced", labels)
    assert balanced is not None
    torch.testing.assert_close(balanced, torch.tensor([4 / 6, 4 / 2]))  # n / (classes * count)
    assert class_weights(task, None, labels) is None
    for weights, factor in ((None, 1.0), (balanced, 4 / 6), (class_weights(task, {"negative": 3}, labels), 3.0)):
        loss = loss_of(task, weights)(outputs, torch.tensor([0, 0]))
        torch.testing.assert_close(loss, factor * of_rows.sum())
    with pytest.raises(SettingsError, match="class_weights are all 0"):
        class_weights(task, {"negative": 0, "positive": 0}, labels)
    squared = loss_of(GLUE["stsb"], None)(torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 1.0]))
    assert squared == 5.0


def test_class_weights_that_cannot_be_are_refused(registry: Registry, tiny_base: Path) -> None:
    labels = load_task_data("stsb", "sample").splits["train"].labels()
    with pytest.raises(SettingsError, match="'stsb' learns a score and has no classes"):
        class_weights(GLUE["stsb"], "balanced", labels)
    with pytest.raises(SettingsError, match=r"unknown class of sst2 for class_weights 'good'.*negative, positive"):
        train("sst2", base=str(tiny_base), registry=registry, class_weights={"good": 2.0}, **SMALL)


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from pointsman.registry import Registry
from pointsman.sdk import train

torch.set_num_threads(1)
options = dict(base=sys.argv[1], registry=Registry(sys.argv[2]), data="sample", max_eval_rows=8, epochs=1)
train("mrpc", max_train_rows=16, batch_size=8, **options)  # what a first one sets up is there
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 200_000_000,) * 2)
train("mrpc", max_train_rows=2000, batch_size=2000, max_length=64, **options)
"""


@pytest.mark.slow
def test_where_memory_does_not_do_it_is_said_what_to_lower(registry: Registry, tiny_base: Path) -> None:
    command = [sys.executable, "-c", LITTLE_MEMORY, str(tiny_base), str(registry.home)]
    failed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert failed.returncode == 1
    said = "the memory of cpu does not do for batches of 2000 rows of up to 64 tokens: lower batch_size"
    assert said in failed.stderr.splitlines()[-1]
    assert said in str(registry.runs()[0].error)


def test_the_last_report_has_no_time_left(registry: Registry, tiny_base: Path) -> None:
    seen: list[Progress] = []
    train("sst2", base=str(tiny_base), registry=registry, report=seen.append, **SMALL)
    assert seen[-1].seconds_left == 0
    assert all(progress.seconds_left > 0 for progress in seen[:-1])


def test_every_step_counts_whether_it_is_recorded_or_not(
    registry: Registry, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes a second by a clock of our own, one in four is recorded, and evaluating takes no time."""
    now = [0.0]
    monkeypatch.setattr("pointsman.sdk.training.loop.POINTS", 4)
    monkeypatch.setattr("pointsman.sdk.training.pace.time.monotonic", lambda: now[0])

    class Ticking(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            now[0] += 1

    seen: list[Progress] = []
    options = SMALL | {"eval_every": 5}
    train("sst2", base=str(tiny_base), registry=registry, report=seen.append, callbacks=[Ticking()], **options)
    assert _steps(registry, "train/loss") == [4, 5, 8, 10, 12, 15, 16]
    speeds = [point.value for point in registry.history("sst2", "train/samples_per_second")]
    assert speeds == [8.0] * 7
    assert [(progress.step, progress.seconds_left) for progress in seen if progress.metrics is None] == [
        (step, 16 - step) for step in (4, 8, 12)
    ]


def test_the_time_left_counts_steps_and_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of our own: a slow first step, then a second a step, ten an evaluation that was thought to take four."""
    now = [0.0]
    monkeypatch.setattr("pointsman.sdk.training.pace.time.monotonic", lambda: now[0])
    pace = Pace(steps=20, done=0, evaluations=2, evaluation_seconds=4.0)
    now[0] += 9
    assert pace.stepped(1) == 9
    assert pace.seconds_left == 19 * 9 + 2 * 4
    now[0] += 9
    pace.stepped(10)
    assert pace.seconds_left == 10 * 1 + 2 * 4
    now[0] += 10
    pace.evaluated()
    assert pace.seconds_left == 10 * 1 + 10
    now[0] += 100
    pace.paused()
    now[0] += 10
    pace.stepped(20)
    assert pace.seconds_left == 10
    now[0] += 10
    pace.evaluated()
    assert pace.seconds_left == 0
