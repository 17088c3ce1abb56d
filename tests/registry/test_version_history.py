"""A metric across the versions of an adapter."""

import math

import pytest

from pointsman.registry.errors import AdapterNotFoundError, InvalidNameError, MetricNotFoundError

pytestmark = pytest.mark.databases

NAN = math.nan
START = 1_800_000_000.0
"""When the first point of a series was logged."""


def test_a_metric_across_versions(registry, add, log_points):
    def run(*values, metric="eval/accuracy"):
        points = [(step, value, None, START + step) for step, value in enumerate(values)]
        return log_points(registry, points, metric=metric).removeprefix("run:")

    add("cola", metrics={"eval/accuracy": 0.1}, primary_metric=None)
    versions = [
        add(metrics={"eval/accuracy": 0.5}),
        add(metrics={"eval/accuracy": 0.75}, run=run(0.25, 0.875, 0.5)),
        add(metrics={}, primary_metric=None, run=run(0.5, NAN, 0.25)),
        add(metrics={}, primary_metric=None, run=run(1.0, metric="loss")),
        add(metrics={"eval/accuracy": NAN}, run=run(0.5, NAN)),
        add(metrics={"loss": 0.5}, primary_metric=None),
        add(metrics={"eval/accuracy": 0.0}, run=run(NAN, NAN)),
    ]
    registry.remove("sst2@1")
    assert registry.metric_names("sst2") == registry.metric_names() == ["eval/accuracy", "loss"]
    assert registry.metric_names("cola") == ["eval/accuracy"]
    uids = [version.run for version in versions if version.run is not None]
    by_run = registry.summaries_by_run([*uids, "0" * 12])
    assert repr(by_run) == repr({uid: registry.summaries(f"run:{uid}") for uid in by_run})
    assert by_run.keys() == {*uids}
    assert registry.summaries_by_run([]) == {}
    with pytest.raises(AdapterNotFoundError):
        registry.metric_names("mrpc")
    points = registry.version_history("sst2", "eval/accuracy")
    assert [point.number for point in points] == [2, 3, 5, 7]
    assert repr([(point.value, point.min, point.max) for point in points]) == repr(
        [(0.75, 0.25, 0.875), (0.25, 0.25, 0.5), (NAN, 0.5, 0.5), (0.0, NAN, NAN)]
    )
    assert [point.created_at for point in points] == [versions[point.number - 1].created_at for point in points]
    assert [point[:4] for point in registry.version_history("sst2", "loss")] == [
        (4, 1.0, 1.0, 1.0),
        (6, 0.5, None, None),
    ]
    assert [point[:4] for point in registry.version_history("cola", "eval/accuracy")] == [(1, 0.1, None, None)]


def test_an_unknown_metric_across_versions_lists_those_of_the_adapter(registry, add, start):
    with pytest.raises(AdapterNotFoundError, match="none exists yet"):
        registry.version_history("sst2", "eval/accuracy")
    with start() as run:
        run.log({"train/loss": 1.0}, step=1)
    add(run=run.uid)
    add("cola", metrics={"eval/mcc": 0.5}, primary_metric=None)
    with pytest.raises(MetricNotFoundError, match=r"unknown metric 'eval/mcc'.*; known: eval/accuracy, train/loss$"):
        registry.version_history("sst2", "eval/mcc")
    with pytest.raises(InvalidNameError):
        registry.version_history("sst2", "a b")
    with pytest.raises(InvalidNameError):
        registry.version_history("sst2@1", "eval/accuracy")
