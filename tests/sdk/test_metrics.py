import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.registry.errors import DataError, SettingsError
from pointsman.sdk.tasks import METRICS
from pointsman.sdk.tasks.metrics import compute

CLASS_METRICS = ("accuracy", "f1", "f1_macro", "matthews_correlation")
SCORE_METRICS = ("pearson", "spearmanr", "mae", "mse")


def ids(*values):
    return np.array(values, dtype=np.int64)


def pairs(values):
    return st.lists(st.tuples(values, values), min_size=1, max_size=60).map(
        lambda rows: (np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))
    )


def test_every_known_metric_is_computed():
    assert set(CLASS_METRICS) | set(SCORE_METRICS) == set(METRICS)


def test_classification_by_hand():
    # Of class 1: two hits, one false alarm, one miss; of class 0: three hits.
    # accuracy = 5/7; f1 = 2*2/(2*2 + 1 + 1) = 2/3; f1 of class 0 = 2*3/(2*3 + 1 + 1) = 3/4; macro = (2/3 + 3/4)/2;
    # Matthews = (2*3 - 1*1) / sqrt((2+1)(2+1)(3+1)(3+1)) = 5/12.
    found = compute(CLASS_METRICS, ids(1, 1, 1, 0, 0, 0, 0), ids(1, 1, 0, 1, 0, 0, 0))
    assert list(found) == list(CLASS_METRICS)
    assert found == pytest.approx(
        {"accuracy": 5 / 7, "f1": 2 / 3, "f1_macro": (2 / 3 + 3 / 4) / 2, "matthews_correlation": 5 / 12}
    )


def test_regression_by_hand():
    # The deviations are (-1, 0, 1) and (-1, 1, 0): Pearson = 1/2; the ranks are the same numbers.
    found = compute(SCORE_METRICS, np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    assert found == pytest.approx({"pearson": 0.5, "spearmanr": 0.5, "mae": 2 / 3, "mse": 2 / 3})


def test_f1_is_of_the_positive_class():
    assert compute(["f1"], ids(0, 0, 0, 1), ids(0, 0, 0, 0)) == {"f1": 0.0}
    assert compute(["f1"], ids(1, 1, 1, 0), ids(1, 1, 1, 1))["f1"] == pytest.approx(6 / 7)


@given(pairs(st.integers(0, 1)))
def test_f1_is_its_formula(data):
    predicted, right = data
    hits = np.sum((predicted == 1) & (right == 1))
    wrong = np.sum(predicted != right)
    expected = 2 * hits / (2 * hits + wrong) if hits + wrong else 0.0
    assert compute(["f1"], predicted, right)["f1"] == pytest.approx(expected)


@given(pairs(st.integers(0, 3)))
def test_macro_f1_is_the_mean_over_classes_that_occur(data):
    predicted, right = data
    expected = np.mean(
        [
            2 * np.sum((predicted == c) & (right == c)) / (np.sum(predicted == c) + np.sum(right == c))
            for c in np.union1d(predicted, right)
        ]
    )
    assert compute(["f1_macro"], predicted, right)["f1_macro"] == pytest.approx(expected)


@given(pairs(st.integers(0, 3)))
def test_matthews_is_its_formula(data):
    # Gorodkin's R_K (2004), over one-hot columns: cov(X, Y) / sqrt(cov(X, X) cov(Y, Y)).
    predicted, right = data
    one_hot = [np.eye(4)[values] - np.eye(4)[values].mean(axis=0) for values in data]
    between = np.sum(one_hot[0] * one_hot[1])
    within = math.sqrt(np.sum(one_hot[0] ** 2) * np.sum(one_hot[1] ** 2))
    expected = between / within if within > 1e-9 else 0.0
    assert compute(["matthews_correlation"], predicted, right)["matthews_correlation"] == pytest.approx(expected)
    assert compute(["accuracy"], predicted, right)["accuracy"] == pytest.approx(np.mean(predicted == right))


@given(pairs(st.integers(-100, 100).map(lambda value: value / 8)))
def test_correlations_are_their_formulas(data):
    predicted, right = data
    found = compute(SCORE_METRICS, predicted, right)

    def pearson(x, y):
        x, y = x - x.mean(), y - y.mean()
        return np.sum(x * y) / math.sqrt(np.sum(x * x) * np.sum(y * y))

    def ranks(values):
        return np.array([np.sum(values < value) + (np.sum(values == value) + 1) / 2 for value in values])

    assert found["mae"] == pytest.approx(np.mean(np.abs(predicted - right)))
    assert found["mse"] == pytest.approx(np.mean((predicted - right) ** 2))
    if len(set(predicted)) == 1 or len(set(right)) == 1:
        assert math.isnan(found["pearson"])
        assert math.isnan(found["spearmanr"])
    else:
        assert found["pearson"] == pytest.approx(pearson(predicted, right), abs=1e-9)
        assert found["spearmanr"] == pytest.approx(pearson(ranks(predicted), ranks(right)), abs=1e-9)


def test_numbers_are_plain_and_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        constant = compute(CLASS_METRICS, ids(0, 0, 0), ids(0, 0, 0))
        flat = compute(SCORE_METRICS, np.full(3, 2.5, dtype=np.float32), np.array([1, 2, 3], dtype=np.float32))
        diverged = compute(SCORE_METRICS, np.array([np.nan, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]))
        infinite = compute(SCORE_METRICS, np.array([np.inf, 1.0, 2.0]), np.array([1.0, 2.0, 3.0]))
        single = compute(SCORE_METRICS, np.array([1.0]), np.array([2.0]))
    assert constant == {"accuracy": 1.0, "f1": 0.0, "f1_macro": 1.0, "matthews_correlation": 0.0}
    assert all(type(value) is float for found in (constant, flat, diverged, single) for value in found.values())
    assert all(math.isnan(found["pearson"]) for found in (flat, diverged, infinite, single))
    assert flat["mse"] == pytest.approx((1.5**2 + 0.5**2 + 0.5**2) / 3)
    assert math.isnan(diverged["mse"])
    assert infinite["mse"] == infinite["mae"] == math.inf
    assert single["mse"] == 1.0


def test_a_third_class_is_a_miss_for_f1():
    assert compute(["f1"], ids(2, 1), ids(1, 1))["f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("metrics", "predicted", "right", "message"),
    [
        (["accuracy"], ids(), ids(), "no rows"),
        (["mse"], np.array([]), np.array([]), "no rows"),
        (["accuracy"], ids(1, 0), ids(1), "must both have the shape"),
        (["accuracy"], np.zeros((2, 2)), ids(1, 0), "must both have the shape"),
        (["accuracy"], np.array([0.5, 0.1]), ids(1, 0), "take the argmax"),
        (["accuracy"], ids(1, 0), ids(1, -1), "row 1 has no label"),
        (["pearson"], np.array([1.0, 2.0]), np.array([1.0, np.nan]), "row 1 has no finite score"),
    ],
)
def test_what_cannot_be_scored_is_refused(metrics, predicted, right, message):
    with pytest.raises(DataError, match=message):
        compute(metrics, predicted, right)


def test_an_unknown_metric_lists_the_known():
    with pytest.raises(SettingsError) as caught:
        compute(["bleu"], ids(1), ids(1))
    assert all(name in str(caught.value) for name in METRICS)


def test_answers_that_differ_by_rounding_are_the_same():
    answers = np.array([2.5, np.nextafter(np.float32(2.5), np.float32(3))], dtype=np.float32)
    found = compute(["pearson", "spearmanr"], answers, np.array([1.5, 3.5]))
    assert all(math.isnan(value) for value in found.values())
    assert compute(["pearson"], np.array([2.5, 2.50001]), np.array([1.5, 3.5]))["pearson"] == pytest.approx(1)
