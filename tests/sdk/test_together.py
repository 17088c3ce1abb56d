"""Trainings that join a pass, leave it, or have none to share: each is what it is alone, in an order that is known."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Origin, Registry, RunStatus, Version
from pointsman.registry.errors import PointsmanError, PrunedError, SettingsError, TrainingError
from pointsman.sdk import Progress, train
from pointsman.sdk.training.prepare import PreparedTraining, prepare
from pointsman.sdk.training.request import TrainRequest
from pointsman.sdk.training.run_many import check_at_once, run_many

from same_training import check_same

SMALL: dict[str, Any] = {
    "data": "sample",
    "max_train_rows": 32,
    "max_eval_rows": 16,
    "max_length": 16,
    "batch_size": 8,
    "eval_every": 2,
    "precision": "fp32",
}
Make = Callable[..., PreparedTraining]


@pytest.fixture
def make(registry: Registry, tiny_base: Path) -> Make:
    """Prepares a training that is told apart by a name."""

    def made(name: str, **options: Any) -> PreparedTraining:
        origin = Origin(kind="test", name="together", item=name, details={})
        request = TrainRequest.of_arguments("sst2", base=str(tiny_base), origin=origin, **{**SMALL, **options})
        return prepare(request, registry=registry)

    return made


class Told:
    """What was told of trainings, in order; raises an error at a step of a training."""

    def __init__(self, **errors: tuple[int, BaseException]) -> None:
        self.events: list[str] = []
        self.outcomes: dict[str, Version | PointsmanError] = {}
        self._errors = errors

    def feed(self, *trainings: PreparedTraining) -> Iterator[PreparedTraining]:
        for training in trainings:
            self.events.append(f"{_name(training)} taken")
            yield training

    def started(self, training: PreparedTraining) -> None:
        self.events.append(f"{_name(training)} started")

    def report(self, progress: Progress) -> None:
        assert progress.origin is not None
        name = progress.origin.item
        if progress.metrics is None:
            self.events.append(f"{name}{progress.step}")
        step, error = self._errors.get(name, (0, None))
        if progress.step == step and error is not None:
            raise error

    def ended(self, training: PreparedTraining, outcome: Version | PointsmanError) -> None:
        self.events.append(f"{_name(training)} ended")
        self.outcomes[_name(training)] = outcome


def _name(training: PreparedTraining) -> str:
    assert training.request.origin is not None
    return training.request.origin.item


def test_one_joins_in_the_place_of_each_that_has_ended(registry: Registry, tiny_base: Path, make: Make) -> None:
    options: dict[str, dict[str, Any]] = {
        "a": {"max_steps": 5},
        "b": {"max_steps": 3, "seed": 1},
        "c": {"max_steps": 2, "seed": 2, "learning_rate": 0.01, "overrides": {"reduction_factor": 4}},
        "d": {"max_steps": 2, "seed": 3},
    }
    told = Told()
    feed = told.feed(*(make(name, **each) for name, each in options.items()))
    run_many(feed, at_once=2, registry=registry, started=told.started, ended=told.ended, report=told.report)
    # Evaluated at every second step and at the last one, a step is reported at once only where none is evaluated.
    steps = [event for event in told.events if not event[1:].isdigit()]
    assert steps == [
        *("a taken", "a started", "b taken", "b started", "b ended"),
        *("c taken", "c started", "a ended"),
        *("d taken", "d started", "c ended", "d ended"),
    ]
    for name, each in options.items():
        version = told.outcomes[name]
        assert isinstance(version, Version)
        alone = train("sst2", base=str(tiny_base), registry=registry, name="alone", **{**SMALL, **each})
        check_same(registry, version, alone, tolerance=1e-5)


def test_one_that_is_pruned_makes_place_at_once_and_one_that_fails_ends_alone(registry: Registry, make: Make) -> None:
    told = Told(b=(1, PrunedError("not promising")), c=(1, TrainingError("the loss became nan")))
    feed = told.feed(*(make(name, max_steps=3, seed=seed) for seed, name in enumerate("abcd")))
    run_many(feed, at_once=2, registry=registry, started=told.started, ended=told.ended, report=told.report)
    assert told.events == [
        *("a taken", "a started", "b taken", "b started", "a1", "b1", "b ended"),
        *("c taken", "c started", "c1", "a ended", "c ended"),
        *("d taken", "d started", "d1", "d ended"),
    ]
    statuses = {str(run.origin.item): run.status for run in registry.runs() if run.origin}
    assert statuses == {
        "a": RunStatus.FINISHED,
        "b": RunStatus.PRUNED,
        "c": RunStatus.FAILED,
        "d": RunStatus.FINISHED,
    }
    assert str(told.outcomes["b"]) == "not promising"
    assert str(told.outcomes["c"]) == "the loss became nan"


def test_those_that_can_share_no_pass_run_in_their_turn(registry: Registry, tiny_base: Path, make: Make) -> None:
    few = {"max_steps": 1, "eval_every": 1}
    trainings = {
        "a": {"seed": 0},
        "b": {"seed": 1},
        "shorter": {"max_length": 8},
        "lora": {"method": "lora"},
        "random": {"drop_layers": "0-1"},
        "c": {"seed": 2},
        "tracked": {"report_to": "tensorboard", "seed": 3},
    }
    told = Told()
    feed = told.feed(*(make(name, **few, **each) for name, each in trainings.items()))
    run_many(feed, at_once=3, registry=registry, started=told.started, ended=told.ended, report=told.report)
    events = [event for event in told.events if not event.endswith("1")]
    assert events == [
        *("a taken", "a started", "b taken", "b started", "shorter taken", "a ended", "b ended"),
        *("shorter started", "lora taken", "shorter ended", "lora started", "lora ended"),
        *("random taken", "random started", "random ended"),
        *("c taken", "c started", "tracked taken", "c ended", "tracked started", "tracked ended"),
    ]
    assert (registry.home / "logs").is_dir()  # of tensorboard
    for name, each in trainings.items():
        version = told.outcomes[name]
        assert isinstance(version, Version), version
        alone = train("sst2", base=str(tiny_base), registry=registry, name="alone", **SMALL | few | each)
        assert version.metrics == pytest.approx(alone.metrics, rel=1e-5)


def test_an_interrupted_run_goes_on_among_others(registry: Registry, tiny_base: Path, make: Make) -> None:
    told = Told(a=(3, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_many(
            told.feed(make("a", max_steps=6, checkpoint_every=2), make("b", max_steps=6, seed=1, checkpoint_every=2)),
            at_once=2,
            registry=registry,
            started=told.started,
            ended=told.ended,
            report=told.report,
        )
    assert told.outcomes == {}
    runs = registry.runs()
    assert [run.status for run in runs] == [RunStatus.INTERRUPTED] * 2
    resumed = [
        prepare(TrainRequest.of_run(run, base=str(tiny_base)), registry=registry, resumed=run) for run in reversed(runs)
    ]
    told = Told()
    new = make("c", max_steps=2, seed=2)
    run_many(
        told.feed(*resumed, new),
        at_once=3,
        registry=registry,
        started=told.started,
        ended=told.ended,
        report=told.report,
    )
    assert told.events[:6] == ["a taken", "a started", "b taken", "b started", "c taken", "c started"]
    assert {event for event in told.events if event[0] == "a" and event[1:].isdigit()} <= {"a3", "a4", "a5", "a6"}
    assert len(registry.runs()) == 3
    for name, seed in (("a", 0), ("b", 1)):
        version = told.outcomes[name]
        assert isinstance(version, Version)
        alone = train("sst2", base=str(tiny_base), registry=registry, name="alone", **SMALL, max_steps=6, seed=seed)
        check_same(registry, version, alone, tolerance=1e-5)


@pytest.mark.parametrize("given", [0, -1, 1.5, True, "2", None])
def test_a_number_of_trainings(given: Any) -> None:
    with pytest.raises(SettingsError, match="together must be an integer of at least 1; found"):
        check_at_once(given)
