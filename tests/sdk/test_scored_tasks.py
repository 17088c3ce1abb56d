"""The primary metric and the positive class of a task: chosen, recorded, and followed by whatever scores."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointsman.registry import Base, Registry
from pointsman.registry.errors import ConflictError, SettingsError
from pointsman.sdk import Switcher, evaluate, train, train_like, tune
from pointsman.sdk.data import load_task_data
from pointsman.sdk.data.source import DataSource
from pointsman.sdk.engines.scoring import evaluation_of
from pointsman.sdk.tasks import GLUE, Task, custom_task
from pointsman.sdk.tasks.metrics import compute
from pointsman.sdk.training.diagnosis import diagnose

SMALL: dict[str, Any] = {"epochs": 1, "batch_size": 32, "max_length": 16}


def write(path: Path, rows: list[tuple[str, str]], names: tuple[str, str] = ("text", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    """Sixty mails, twelve of which are fraud: class 0 by the alphabet, and the rarer one."""
    rows = [
        (f"a {'dull' if number % 5 else 'gripping'} story {number}", "ok" if number % 5 else "fraud")
        for number in range(60)
    ]
    return write(tmp_path / "mails.csv", rows)


def test_f1_is_of_the_positive_class() -> None:
    predicted, right = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1]), np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert compute(["f1"], predicted, right) == {"f1": pytest.approx(0.9474, abs=1e-4)}  # and nothing learned
    assert compute(["f1"], predicted, right, positive=0) == {"f1": 0.0}


def test_a_task_is_measured_otherwise() -> None:
    task = custom_task("mails", text=["text"], label="label", labels=["fraud", "ok"])
    assert (task.primary, task.positive, task.positive_id) == ("accuracy", None, 1)
    other = task.measured_by(primary="eval/f1", positive="fraud")
    assert (other.metrics, other.primary, other.positive_id) == (("f1", "accuracy", "matthews_correlation"), "f1", 0)
    assert Task.from_dict(other.to_dict()) == other
    assert other.measured_by() == other
    assert custom_task("mails", text=["t"], label="l", labels=["a", "b"], primary="f1_macro").metrics[0] == "f1_macro"
    stored = {key: value for key, value in task.to_dict().items() if key != "positive"}
    assert Task.from_dict(stored) == task  # as an earlier release stored it: of class 1


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"positive": "fraude"}, r"unknown class of 'mails' to be positive 'fraude'; did you mean fraud\?"),
        ({"primary": "acuracy"}, "unknown classification metric 'acuracy'; known: accuracy, f1, f1_macro"),
        ({"primary": "pearson"}, "unknown classification metric 'pearson'"),
        ({"primary": 3}, "primary must be a name; found 3"),
    ],
)
def test_a_wrong_name_lists_those_known(mails: Path, chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        DataSource.of(mails, None, "text", "label", **chosen).load("mails")


@pytest.mark.parametrize(
    ("task", "chosen", "said"),
    [
        ("mrpc", {"positive": "equivalent"}, "'mrpc' is a task of GLUE, whose F1 is of class 1"),
        ("mrpc", {"primary": "pearson"}, "unknown metric of 'mrpc' 'pearson'; known: accuracy, f1"),
        ("stsb", {"primary": "accuracy"}, "unknown metric of 'stsb' 'accuracy'"),
    ],
)
def test_glue_keeps_its_definitions(task: str, chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        DataSource.of("sample", None, (), "label", **chosen).load(task)
    assert DataSource.of("sample", None, (), "label").load(task).task == GLUE[task]
    scored = DataSource.of("sample", None, (), "label", primary="f1").load("mrpc")
    assert (scored.task.primary, scored.task.positive_id) == ("f1", 1)
    assert scored.fingerprint == load_task_data("mrpc", "sample").fingerprint


def test_the_positive_class_is_the_rarer_one_of_the_training_rows(mails: Path, tmp_path: Path) -> None:
    assert DataSource.of(mails, None, "text", "label").load("mails").task.positive == "fraud"
    assert DataSource.of(mails, None, "text", "label", positive="ok").load("mails").task.positive == "ok"
    even = write(tmp_path / "even.csv", [(f"text {number}", "ab"[number % 2]) for number in range(40)])
    assert DataSource.of(even, None, "text", "label").load("even").task.positive == "b"
    three = write(tmp_path / "three.csv", [(f"text {number}", "abc"[number % 3]) for number in range(60)])
    assert DataSource.of(three, None, "text", "label").load("three").task.positive is None
    with pytest.raises(SettingsError, match="a positive class is one of two; found 'a', and 3 classes"):
        DataSource.of(three, None, "text", "label", positive="a").load("three")


def test_an_evaluation_is_of_texts_and_labels_and_not_of_their_file(tmp_path: Path) -> None:
    rows = [(f"text {number}", "yes" if number % 3 else "no") for number in range(30)]
    train_rows = write(tmp_path / "train.csv", rows)

    def evaluated(name: str, validation: list[tuple[str, str]], more: list[tuple[str, str]] = (), **chosen: Any) -> Any:  # type: ignore[assignment]
        data = write(tmp_path / "more.csv", [*rows, *more]) if more else train_rows
        source = DataSource.of(data, write(tmp_path / name, validation), "text", "label", **chosen)
        loaded = source.load("own")
        return evaluation_of(loaded.task, loaded.splits["validation"])

    first = evaluated("one.csv", rows[:9])
    assert first.rows == 9
    assert evaluated("another.csv", rows[:9]) == first
    # Another class in training moves the classes' ids, and the same rows stay the same.
    assert evaluated("one.csv", rows[:9], [(f"more {number}", "maybe") for number in range(3)]) == first
    assert evaluated("one.csv", rows[:8]) != first
    assert evaluated("one.csv", rows[8::-1]) != first
    assert evaluated("one.csv", [*rows[:8], (rows[8][0], "yes" if rows[8][1] == "no" else "no")]) != first
    # F1 of one class does not compare with F1 of the other; for accuracy, the class is nothing.
    assert evaluated("one.csv", rows[:9], positive="yes") == evaluated("one.csv", rows[:9], positive="no") == first
    of_yes, of_no = (evaluated("one.csv", rows[:9], primary="f1", positive=name) for name in ("yes", "no"))
    assert len({first, of_yes, of_no}) == 3


def test_trainings_follow_what_was_chosen(registry: Registry, tiny_base: Path, mails: Path) -> None:
    own: dict[str, Any] = {"base": str(tiny_base), "data": mails, "registry": registry}
    plain = train("mails", **own, **SMALL)
    assert (plain.primary_metric, plain.task["positive"]) == ("eval/accuracy", "fraud")
    chosen = train("mails", **own, primary="f1", positive="ok", **SMALL)
    assert (chosen.primary_metric, chosen.task["positive"]) == ("eval/f1", "ok")
    assert chosen.score == chosen.metrics["eval/f1"]
    assert chosen.run is not None
    assert registry.run(chosen.run).data["given"]["positive"] == "ok"
    # Of the same rows, and of another metric; the newest is of F1.
    assert registry.best("mails").version == chosen
    assert [version.ref for version in registry.best("mails").left_out] == [plain.ref]
    like = train_like(chosen.ref, registry=registry, seed=1)
    assert (like.primary_metric, like.task["positive"], like.evaluation) == ("eval/f1", "ok", chosen.evaluation)
    other = train_like(chosen.ref, registry=registry, positive="fraud")
    assert (other.primary_metric, other.task["positive"]) == ("eval/f1", "fraud")
    assert other.evaluation != chosen.evaluation
    again = train_like(plain.ref, registry=registry, seed=2)
    assert (again.primary_metric, again.evaluation) == ("eval/accuracy", plain.evaluation)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        # All rows are scored by what the version's task says.
        of_ok, of_fraud = (evaluate(switcher, version.ref, data=mails)["f1"] for version in (chosen, other))
        answers = switcher.predict(other.ref, [f"a {'dull' if n % 5 else 'gripping'} story {n}" for n in range(60)])
        predicted = np.array([0 if answer.label == "fraud" else 1 for answer in answers])
        right = np.array([1 if number % 5 else 0 for number in range(60)])
        assert of_fraud == pytest.approx(compute(["f1"], predicted, right, positive=0)["f1"])
        assert of_ok > of_fraud
        # Versions of one task that are measured otherwise answer together.
        assert switcher.task(f"average({chosen.ref}, {other.ref})").labels == ("fraud", "ok")


def test_a_study_is_ranked_by_what_was_chosen(registry: Registry, tiny_base: Path, mails: Path) -> None:
    own: dict[str, Any] = {"base": str(tiny_base), "data": mails, "registry": registry, "study": "s", **SMALL}
    result = tune("mails", **own, space={"learning_rate": "1e-3,1e-2"}, trials=1, primary="f1", positive="ok")
    assert result.metric == "eval/f1"
    assert result.best is not None
    assert registry.best("mails-tune").version.ref == result.best.ref
    with pytest.raises(ConflictError, match="primary: f1 in the study, not set now; positive: ok in the study"):
        tune("mails", **own, space={"learning_rate": "1e-3,1e-2"}, trials=2)


@pytest.mark.parametrize(("correlation", "said"), [(0.0, 1), (0.4, 0)])
def test_a_high_f1_of_nothing_learned_is_said_to_be_that(registry: Registry, correlation: float, said: int) -> None:
    base = Base(fingerprint="ab" * 32, name="t", model_type="bert", hidden_size=8, layers=2, parameters=1, size=4)
    with registry.start_run(
        "a", task="t", method="seq_bn", base=base, settings={}, data={}, environment={}, seed=0
    ) as run:
        run.log({"train/loss": 0.3, "eval/f1": 0.9474, "eval/loss": 0.3}, step=1)
    metrics = {"eval/f1": 0.9474, "eval/matthews_correlation": correlation}
    fields: dict[str, Any] = {"files": {"f": b"x"}, "task": {"name": "t"}, "method": "seq_bn", "config": {}}
    version = registry.add_version(
        "a", **fields, base=base, max_length=8, parameters=1, metrics=metrics, primary_metric="eval/f1", run=run.uid
    )
    found = [finding.text for finding in diagnose(registry, version)]
    assert len(found) == said
    assert all(
        "eval/f1 is 0.947, but eval/matthews_correlation 0.000 is about that of a guess" in text for text in found
    )
