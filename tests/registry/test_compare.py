import math

import pytest

from pointsman.registry import ComparedField
from pointsman.registry.errors import AdapterNotFoundError, InvalidNameError, RunNotFoundError

pytestmark = pytest.mark.databases


def table(fields):
    """Values by name."""
    assert len({field.name for field in fields}) == len(fields)
    return {field.name: field.values for field in fields}


def differing(fields):
    return {field.name for field in fields if field.differs}


@pytest.fixture
def finished(start):
    """Make a run that has ended; keywords change what goes in."""

    def made(**changes):
        with start(**changes) as run:
            pass
        return run.uid

    return made


def test_versions_side_by_side(registry, add, base, finished):
    other = type(base)(**vars(base) | {"fingerprint": "cd" * 32, "name": "other"})
    add(run=finished(settings={"lr": 0.001, "config": {"reduction_factor": 16}, "schedule": {"warmup": 10}}))
    add(
        "cola",
        run=finished(settings={"lr": 0.01, "schedule": {"warmup": 10, "decay": None}}, seed=7),
        config={"reduction_factor": 2, "cross": {"heads": [1, 2]}},
        task={"name": "cola"},
        method="lora",
        base=other,
        parameters=7,
        max_length=64,
        metrics={"eval/accuracy": 0.5, "eval/mcc": 0.25},
        files={"a": b"12345"},
        parents=[("init", "sst2@1"), ("head", "sst2")],
    )
    fields = registry.compare(["sst2@1", "cola"])
    assert table(fields) == {
        "task": ("sst2", "cola"),
        "base": ("tiny (abababababab)", "other (cdcdcdcdcdcd)"),
        "method": ("seq_bn", "lora"),
        "parameters": (100, 7),
        "size": (9, 5),
        "max_length": (128, 64),
        "made from": (None, "sst2@1, sst2@1"),
        "seed": (42, 7),
        "status": ("finished", "finished"),
        "config.reduction_factor": (16, 2),
        "config.non_linearity": ("relu", None),
        "config.cross.heads": (None, [1, 2]),
        "settings.lr": (0.001, 0.01),
        "settings.schedule.warmup": (10, 10),
        "settings.schedule.decay": (None, None),
        "data.rows": (3, 3),
        "environment.python": ("3.11", "3.11"),
        "metrics.eval/accuracy": (0.5, 0.5),
        "metrics.eval/mcc": (None, 0.25),
    }
    same = {
        "status", "settings.schedule.warmup", "settings.schedule.decay", "data.rows", "environment.python",
        "metrics.eval/accuracy",
    }  # fmt: skip
    assert differing(fields) == set(table(fields)) - same
    # One section after another, however the things differ in what they have.
    turned = [field.name for field in registry.compare(["cola", "sst2@1"])]
    assert turned[:4] == ["task", "base", "method", "parameters"]
    sections = [field.name.partition(".")[0] for field in fields]
    assert sections == sorted(sections, key=list(dict.fromkeys(sections)).index)


def test_runs_side_by_side(registry, finished, start):
    one, two = finished(), finished(seed=7, data={"rows": 3, "source": "glue"})
    with pytest.raises(ValueError, match="bad"), start() as failed:
        raise ValueError("bad")
    fields = registry.compare([f"run:{one}", f"run:{two}", f"run:{failed.uid[:11]}"])
    assert differing(fields) == {"seed", "data.source", "status"}
    assert table(fields)["status"] == ("finished", "finished", "failed")
    assert table(fields)["data.source"] == (None, "glue", None)
    assert "size" not in table(fields)


def test_a_version_beside_a_run(registry, add, finished):
    uid = finished(settings={"lr": 0.5, "config": {"reduction_factor": 4}})
    add()
    found = table(registry.compare(["sst2", f"run:{uid}"]))
    assert found["seed"] == (None, 42)
    assert found["settings.lr"] == (None, 0.5)
    assert found["config.reduction_factor"] == (16, 4)
    assert found["size"] == (9, None)
    assert found["task"] == ("sst2", "sst2")


def test_the_same_thing_does_not_differ_from_itself(registry, add, finished):
    add(run=finished(), metrics={"eval/accuracy": math.nan, "eval/loss": 0.1})
    fields = registry.compare(["sst2@1", "sst2", "sst2@best"])
    assert differing(fields) == set()
    assert all(len(field.values) == 3 for field in fields)
    assert differing(registry.compare(["sst2@1"])) == set()


@pytest.mark.parametrize(
    ("values", "differs"),
    [
        ((math.nan, math.nan), False),
        ((math.nan, float("nan"), float("-nan")), False),
        ((math.nan, None), True),
        ((math.nan, 0.5), True),
        ((0.5, 0.5), False),
        ((0.5, 0.5, 0.25), True),
        ((None, None), False),
        ((None, 0), True),
        (("1", 1), True),
        (([1, math.nan], [1, math.nan]), False),
        (([1, 2], [2, 1]), True),
        ((1,), False),
    ],
)
def test_what_differs(values, differs):
    assert ComparedField(name="a", values=values).differs is differs


def test_scores_that_are_nan_are_the_same(registry, add):
    add(metrics={"eval/accuracy": math.nan}), add(metrics={"eval/accuracy": math.nan})
    add(metrics={"eval/accuracy": 0.5})
    assert differing(registry.compare(["sst2@1", "sst2@2"])) == set()
    assert differing(registry.compare(["sst2@1", "sst2@3"])) == {"metrics.eval/accuracy"}


def test_nothing_beside_nothing(registry):
    assert registry.compare([]) == []


def test_what_is_not_there_is_not_compared(registry, add):
    add()
    with pytest.raises(AdapterNotFoundError, match=r"unknown adapter 'cola'.*known: sst2"):
        registry.compare(["sst2", "cola"])
    with pytest.raises(RunNotFoundError, match="unknown run 'abc'"):
        registry.compare(["sst2", "run:abc"])
    with pytest.raises(InvalidNameError):
        registry.compare(["sst2", "../sst2"])
