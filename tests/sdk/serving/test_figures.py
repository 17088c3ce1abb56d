"""Latencies in buckets, against all of them sorted; and names of metrics."""

import math
import random

import pytest

from pointsman.registry.refs import check_metric
from pointsman.sdk.serving.figures import Latencies, _metric_part


@pytest.mark.parametrize("count", [1, 2, 99, 100, 5_000])
def test_quantiles_are_at_most_two_percent_above(count: int) -> None:
    seconds = [random.Random(number).lognormvariate(-4, 2) for number in range(count)]
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    ordered = sorted(seconds)
    for share in (0.01, 0.5, 0.99, 1.0):
        exact = ordered[max(0, math.ceil(share * count) - 1)]
        assert exact <= latencies.quantile(share) * (1 + 1e-12)
        assert latencies.quantile(share) <= exact * 1.02 * (1 + 1e-12)
    assert latencies.mean == pytest.approx(math.fsum(seconds) / count, rel=1e-12)
    assert latencies.quantile(1.0) == pytest.approx(ordered[-1], rel=1e-12)


def test_of_no_latency_nothing_is_known() -> None:
    assert math.isnan(Latencies().mean)
    assert math.isnan(Latencies().quantile(0.5))
    none = Latencies()
    none.add(0.0)
    assert none.quantile(0.99) == 0


def test_labels_become_names_of_metrics() -> None:
    labels = ["positive", "very good", "sehr gut/schlecht", "好", "", "x" * 300, "a" * 300, "0"]
    parts = [_metric_part(label, place) for place, label in enumerate(labels)]
    assert parts[:5] == ["positive", "very_good.1", "sehr_gut_schlecht.2", "_.3", ".4"]
    assert parts[7] == "0"
    assert len(set(parts)) == len(labels)
    for part in parts:
        check_metric(f"serving/label/{part}")
