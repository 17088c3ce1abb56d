import json
import re
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.registry.errors import SettingsError, TaskNotFoundError
from pointsman.sdk.tasks import GLUE, METRICS, Task, custom_task, glue_task, kind_of
from pointsman.sdk.tasks.kinds import KINDS

REQUIRED = {"name", "text", "labels", "metrics", "primary"}

# Written down again by hand, from the data set card of nyu-mll/glue and Table 1 of the GLUE paper.
EXPECTED = {
    "cola": (("sentence",), ["unacceptable", "acceptable"], ["matthews_correlation"]),
    "sst2": (("sentence",), ["negative", "positive"], ["accuracy"]),
    "mrpc": (("sentence1", "sentence2"), ["not_equivalent", "equivalent"], ["accuracy", "f1"]),
    "stsb": (("sentence1", "sentence2"), [], ["pearson", "spearmanr"]),
    "qqp": (("question1", "question2"), ["not_duplicate", "duplicate"], ["accuracy", "f1"]),
    "mnli": (("premise", "hypothesis"), ["entailment", "neutral", "contradiction"], ["accuracy"]),
    "qnli": (("question", "sentence"), ["entailment", "not_entailment"], ["accuracy"]),
    "rte": (("sentence1", "sentence2"), ["entailment", "not_entailment"], ["accuracy"]),
    "wnli": (("sentence1", "sentence2"), ["not_entailment", "entailment"], ["accuracy"]),
    "ax": (("premise", "hypothesis"), ["entailment", "neutral", "contradiction"], ["matthews_correlation"]),
}


def test_the_table_is_glues():
    assert len(EXPECTED) == 10
    assert list(GLUE) == list(EXPECTED)
    for name, (text, labels, metrics) in EXPECTED.items():
        task = GLUE[name]
        assert (task.name, task.text, list(task.labels), list(task.metrics)) == (name, text, labels, metrics)
        assert task.label == "label"
        assert task.primary == metrics[0]
        assert task.is_pair == (len(text) == 2)
        assert task.num_labels == max(1, len(labels))
        assert "\n" not in task.description


def test_what_is_particular_to_a_task():
    assert GLUE["stsb"].is_regression
    assert GLUE["stsb"].bounds == (0.0, 5.0)
    assert GLUE["mnli"].validation == ("validation_matched", "validation_mismatched")
    assert GLUE["ax"].scored_with == "mnli"
    assert GLUE["ax"].labels == GLUE["mnli"].labels
    assert [name for name, task in GLUE.items() if not task.trainable] == ["ax"]


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        GLUE["own"] = GLUE["cola"]  # type: ignore[index]


@pytest.mark.parametrize(("asked", "meant"), [("SST-2", "sst2"), ("sts_b", "stsb"), ("cole", "cola"), ("MNLI", "mnli")])
def test_an_unknown_task_lists_all_and_suggests_the_nearest(asked, meant):
    with pytest.raises(TaskNotFoundError) as caught:
        glue_task(asked)
    assert re.findall(r"did you mean (\w+)", str(caught.value)) == [meant]
    assert all(name in str(caught.value) for name in GLUE)


def test_a_task_far_from_all_gets_no_suggestion():
    with pytest.raises(TaskNotFoundError) as caught:
        glue_task("poetry")
    assert "did you mean" not in str(caught.value)


def test_every_task_survives_json():
    tasks = [*GLUE.values(), custom_task("mine", text=["a", "b"], label="y"), custom_task_of(3)]
    assert len(tasks) == 12
    for task in tasks:
        assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def custom_task_of(classes: int) -> Task:
    return custom_task("mine", text=["body"], label="stars", labels=[f"c{index}" for index in range(classes)])


def test_from_dict_is_strict():
    values = GLUE["cola"].to_dict()
    assert set(values) == {field.name for field in fields(Task)} - {"extra"}
    for name in REQUIRED:
        with pytest.raises(SettingsError, match=f"needs the field '{name}'"):
            Task.from_dict({key: value for key, value in values.items() if key != name})
    with pytest.raises(SettingsError, match="text must be a tuple"):
        Task.from_dict({**values, "text": "sentence"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)
KNOWN = [field.name for field in fields(Task)] + ["kind"]
OPTIONAL = ["description", "label", "validation", "bounds", "scored_with"]


@given(
    task=st.sampled_from([*GLUE.values()]),
    new=st.dictionaries(st.text().filter(lambda name: name not in KNOWN), JSON, max_size=3),
    dropped=st.sets(st.sampled_from(OPTIONAL)),
)
def test_a_task_of_another_release_is_read(task, new, dropped):
    stored = {name: value for name, value in {**task.to_dict(), **new}.items() if name not in dropped}
    read = Task.from_dict(json.loads(json.dumps(stored)))
    assert read.extra == new
    # What was stored is written again as it was, with the defaults of what was not.
    assert {name: read.to_dict()[name] for name in stored} == stored
    assert read.to_dict().keys() - stored.keys() == dropped
    defaults = {"label": "label", "validation": ("validation",), "bounds": None, "scored_with": None}
    assert all(getattr(read, name) == defaults[name] for name in dropped & defaults.keys())
    if not dropped:
        assert read == task
    assert hash(read) == hash(Task.from_dict(stored))


def test_the_kind_of_a_task():
    for task in GLUE.values():
        kind = kind_of(task)
        assert kind.name == ("regression" if task.name == "stsb" else "classification")
        assert kind.outputs(task) == task.num_labels
        assert set(task.metrics) <= set(kind.metrics)
        assert kind_of(Task.from_dict({**task.to_dict(), "kind": kind.name})) is kind
    assert sorted(METRICS) == sorted(name for kind in KINDS.values() for name in kind.metrics)
    with pytest.raises(SettingsError, match="unknown task kind 'tagging'; known: classification, regression; the task"):
        Task.from_dict({**GLUE["cola"].to_dict(), "kind": "tagging"})


def test_what_a_kind_makes_of_outputs():
    import numpy as np
    import pyarrow as pa
    import torch

    outputs, labels = torch.tensor([[1.0, 3.0], [2.0, 0.5]]), torch.tensor([1, 1])
    kind = kind_of(GLUE["sst2"])
    rows = torch.log_softmax(outputs, dim=1)[[0, 1], labels]
    torch.testing.assert_close(kind.loss(outputs, labels), -rows.mean())
    torch.testing.assert_close(kind.loss(outputs, labels, reduction="sum"), -rows.sum())
    weights = torch.tensor([0.5, 2.0])
    torch.testing.assert_close(kind.loss(outputs, labels, weights=weights, reduction="sum"), -2 * rows.sum())
    assert kind.scored(outputs).tolist() == [1, 0]
    answers = kind.answers(GLUE["sst2"], outputs)
    assert [answer.label for answer in answers] == ["positive", "negative"]
    assert answers[0].score == answers[0].probabilities["positive"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert kind.is_missing(np.array([kind.missing, 0])).tolist() == [True, False]
    assert kind.label_array(GLUE["sst2"], [0, 1]).type == pa.int64()
    assert kind.describe_label(GLUE["sst2"], np.int64(1)) == "label is 'positive'"

    score = kind_of(GLUE["stsb"])
    outputs = torch.tensor([[1.0], [4.0]])
    assert float(score.loss(outputs, torch.tensor([2.0, 2.0]))) == 2.5
    assert float(score.loss(outputs, torch.tensor([2.0, 2.0]), reduction="sum")) == 5.0
    assert score.scored(outputs).tolist() == [1.0, 4.0]
    assert score.answers(GLUE["stsb"], outputs) == [(None, 1.0, None), (None, 4.0, None)]
    assert score.is_missing(np.array([score.missing, 0.0])).tolist() == [True, False]
    assert score.label_array(GLUE["stsb"], [0.5]).type == pa.float32()
    assert score.describe_label(GLUE["stsb"], np.float32(2.5)) == "score is 2.5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": " "}, "name must be"),
        ({"description": 3}, "description must be"),
        ({"text": ()}, "one or two columns"),
        ({"text": ("a", "b", "c")}, "one or two columns"),
        ({"text": ("a", "a")}, "something twice"),
        ({"text": ("label",)}, "both text and label"),
        ({"labels": ("only",)}, "one class"),
        ({"labels": ("a", "b", "a")}, "something twice"),
        ({"labels": ["a", "b"]}, "must be a tuple"),
        ({"metrics": ("acuracy",)}, "unknown classification metric 'acuracy'; known: accuracy"),
        ({"metrics": ("pearson",), "primary": "pearson"}, "unknown classification metric 'pearson'"),
        ({"labels": ()}, "unknown regression metric 'matthews_correlation'"),
        ({"metrics": ("f1",), "primary": "f1", "labels": ("a", "b", "c")}, "use f1_macro"),
        ({"primary": "accuracy"}, "primary must be one of its metrics"),
        ({"validation": ()}, "at least one split"),
        ({"bounds": (0.0, 5.0)}, "bounds are"),
        ({"scored_with": "cola"}, "another task"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(SettingsError, match=message):
        replace(GLUE["cola"], **change)


def test_bounds_must_be_in_order():
    with pytest.raises(SettingsError, match="bounds are"):
        replace(GLUE["stsb"], bounds=(5.0, 0.0))


@pytest.mark.parametrize("error", ["mae", "mse"])
def test_a_primary_metric_is_better_when_greater(error):
    with pytest.raises(SettingsError, match="better when greater"):
        replace(custom_task("mine", text=["a"], label="y"), metrics=("pearson", "mae", "mse"), primary=error)


def test_metrics_of_own_tasks():
    assert custom_task_of(2).metrics == ("accuracy", "f1", "matthews_correlation")
    assert custom_task_of(5).metrics == ("accuracy", "f1_macro", "matthews_correlation")
    assert custom_task_of(5).primary == "accuracy"
    scored = custom_task("mine", text=["a", "b"], label="y")
    assert scored.metrics == ("pearson", "spearmanr", "mae")
    assert scored.primary == "pearson"
    assert scored.is_regression
    assert scored.is_pair
    named = set(custom_task_of(2).metrics) | set(custom_task_of(3).metrics) | set(scored.metrics)
    assert set(METRICS) - named == {"mse"}  # what ``eval/loss`` is; tasks of earlier versions name it


def test_an_own_task_cannot_pass_for_glues():
    with pytest.raises(SettingsError, match="'my-sst2'"):
        custom_task("sst2", text=["a"], label="y", labels=["no", "yes"])


def test_text_is_a_list_of_columns():
    with pytest.raises(SettingsError, match="found the string 'body'"):
        custom_task("mine", text="body", label="y")


def test_listing_the_tasks_imports_nothing_heavy():
    code = (
        "import sys, pointsman.sdk.tasks; "
        "print([m for m in ('torch', 'datasets', 'sklearn', 'numpy', 'pyarrow', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("field", ["name", "description", "label", "text", "labels"])
def test_a_name_that_no_file_holds_is_refused(field):
    task = custom_task_of(2)
    value = "\ud800" if isinstance(getattr(task, field), str) else ("\ud800", "b")
    with pytest.raises(SettingsError, match="is not Unicode: surrogates not allowed"):
        replace(task, **{field: value})
