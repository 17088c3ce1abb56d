"""Versions are scored again to the same numbers, and ax on mnli's adapter."""

from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry
from pointsman.registry.errors import DataError, SettingsError
from pointsman.sdk import Switcher, evaluate, train
from pointsman.sdk.tasks import GLUE, custom_task

from helpers import MakeVersion


def test_a_version_scores_again_what_it_scored(registry: Registry, tiny_base: Path) -> None:
    version = train("stsb", base=str(tiny_base), data="sample", registry=registry, epochs=1, max_train_rows=64,
                    max_eval_rows=50, max_length=32)  # fmt: skip
    with Registry(registry.home) as again, Switcher(str(tiny_base), registry=again) as switcher:
        metrics = evaluate(switcher, "stsb", data="sample", max_rows=50)
    assert {f"eval/{key}": value for key, value in metrics.items()} == pytest.approx(dict(version.metrics), abs=1e-6)


def test_ax_is_scored_on_mnlis_adapter(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("mnli", GLUE["mnli"])
    make_version("rte", GLUE["rte"])
    with Switcher(str(tiny_base), registry=registry) as switcher:
        assert set(evaluate(switcher, "mnli", task="ax", data="sample")) == {"matthews_correlation", "loss"}
        assert set(evaluate(switcher, "mnli", data="sample", split="validation_mismatched")) == {"accuracy", "loss"}
        with pytest.raises(SettingsError, match="adapter of mnli"):
            evaluate(switcher, "rte", task="ax", data="sample")


def test_hidden_labels_are_said_to_be_hidden(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    make_version("sst2", GLUE["sst2"])
    folder = tmp_path / "SST-2"
    folder.mkdir()
    (folder / "test.tsv").write_text("index\tsentence\n0\ta fine film\n", encoding="utf-8")
    with Switcher(str(tiny_base), registry=registry) as switcher, pytest.raises(DataError, match="no labels"):
        evaluate(switcher, "sst2", data=tmp_path, split="test")


@pytest.fixture
def reviews(make_version: MakeVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A version of a task of one's own, and a file of rows with other column names."""
    make_version("reviews", custom_task("reviews", text=["body"], label="stars", labels=["1", "2", "3"]))
    make_version("sst2", GLUE["sst2"])
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "new.csv"
    path.write_text("said,given,body,stars\na film,2,two dogs,1\na dog,3,a cat,2\nno,3,no,3\n", encoding="utf-8")
    return path


def test_a_task_of_ones_own_is_scored_on_a_file(reviews: Path, registry: Registry, tiny_base: Path) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher:
        found = evaluate(switcher, "reviews", data=reviews, text="said", label="given")
        labels = [answer.label for answer in switcher.predict("reviews", ["a film", "a dog", "no"])]
        assert found["accuracy"] == pytest.approx(sum(map(str.__eq__, map(str, labels), "233")) / 3)
        assert set(found) == {"accuracy", "f1_macro", "matthews_correlation", "loss"}
        assert evaluate(switcher, "reviews", data=reviews) != found  # the columns of the training
        first = evaluate(switcher, "reviews", data=reviews, text=["said"], label="given", max_rows=1)
        assert first["accuracy"] == float(labels[0] == "2")


def test_a_task_of_glue_is_scored_on_a_file_too(registry: Registry, reviews: Path, tiny_base: Path) -> None:
    reviews.write_text("sentence,label\na film,positive\nno film,negative\n", encoding="utf-8")
    with Switcher(str(tiny_base), registry=registry) as switcher:
        labels = [answer.label for answer in switcher.predict("sst2", ["a film", "no film"])]
        right = sum(map(str.__eq__, map(str, labels), ("positive", "negative")))
        assert evaluate(switcher, "sst2", data=reviews)["accuracy"] == right / 2


@pytest.mark.usefixtures("reviews")
@pytest.mark.parametrize(
    ("ref", "arguments", "said"),
    [
        (
            "reviews",
            {},
            "'reviews' is a task of your own: it is scored on a file, with the columns body",
        ),
        ("reviews", {"data": "sample"}, "found 'sample'"),
        ("reviews", {"data": "new.csv", "split": "test"}, "a file is scored whole; found split 'test'"),
        ("reviews", {"data": "new.csv", "task": "cola"}, "found task 'cola'"),
        ("reviews", {"data": "new.csv", "text": ["a", "b"]}, r"reads 1 text column \(body\)"),
        ("reviews", {"data": "new.csv", "text": "nosuch"}, "nosuch"),
        ("reviews", {"data": "new.csv", "label": "said"}, "a film"),
        ("sst2", {"data": "sample", "text": "said"}, "text, label and reading are for a file of your own"),
    ],
)
def test_what_cannot_be_scored_on_a_file(
    ref: str, arguments: dict[str, Any], said: str, registry: Registry, tiny_base: Path
) -> None:
    with Switcher(str(tiny_base), registry=registry) as switcher, pytest.raises((SettingsError, DataError), match=said):
        evaluate(switcher, ref, **arguments)
