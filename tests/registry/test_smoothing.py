"""Exponential smoothing of a metric's values."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pointsman.registry.metrics.smoothing import smooth

VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), max_size=40)
GAPS = st.sampled_from([math.nan, math.inf, -math.inf])
WEIGHTS = st.floats(0.001, 0.999)


def reference(values: list[float], weight: float) -> list[float | None]:
    """The formula as it is written: powers and sums, nothing carried from value to value."""
    result: list[float | None] = []
    for end, value in enumerate(values, start=1):
        finite = [x for x in values[:end] if math.isfinite(x)]
        count = len(finite)
        terms = [(1 - weight) * weight ** (count - i) * x for i, x in enumerate(finite, start=1)]
        result.append(math.fsum(terms) / (1 - weight**count) if math.isfinite(value) else None)
    return result


def close(values: list[float | None], expected: list[float | None], scale: float = 1e6) -> bool:
    return len(values) == len(expected) and all(
        (a is None and b is None)
        or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * scale))
        for a, b in zip(values, expected, strict=True)
    )


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False) | GAPS, max_size=40), WEIGHTS)
@example([1.0, math.nan, 3.0, math.inf, -math.inf, 2.0], 0.9)
def test_it_is_the_formula(values: list[float], weight: float) -> None:
    assert close(smooth(values, weight), reference(values, weight))


def test_by_hand() -> None:
    # s: 1, 0.5*1 + 0.5*3 = 2 before the division by 0.75; 0.5*1.75 + 0.5*5 = 3.375 by 0.875
    assert smooth([1.0, 3.0, 5.0], 0.5) == pytest.approx([1.0, 1.75 / 0.75, 3.375 / 0.875])


@given(st.floats(-1e6, 1e6, allow_subnormal=False), st.integers(1, 200), WEIGHTS)
def test_a_constant_series_stays_constant(value: float, length: int, weight: float) -> None:
    smoothed = smooth([value] * length, weight)
    assert len(smoothed) == length
    assert smoothed == pytest.approx([value] * length, rel=1e-12)


@given(VALUES)
def test_a_weight_near_zero_changes_nothing(values: list[float]) -> None:
    assert close(smooth(values, 1e-15), list(values))


@given(st.lists(st.tuples(*2 * [st.floats(-1e6, 1e6, allow_subnormal=False)]), max_size=40), WEIGHTS)
def test_it_is_linear(rows: list[tuple[float, float]], weight: float) -> None:
    first, second = smooth([a for a, _ in rows], weight), smooth([b for _, b in rows], weight)
    mixed = smooth([2 * a - 3 * b for a, b in rows], weight)
    expected = [None if a is None or b is None else 2 * a - 3 * b for a, b in zip(first, second, strict=True)]
    assert close(mixed, expected)


@given(VALUES, WEIGHTS)
def test_it_stays_between_the_extremes(values: list[float], weight: float) -> None:
    for end, smoothed in enumerate(smooth(values, weight), start=1):
        assert smoothed is not None
        assert min(values[:end]) - 1e-6 <= smoothed <= max(values[:end]) + 1e-6


@given(VALUES, st.lists(st.tuples(st.integers(0, 40), GAPS), max_size=10), WEIGHTS)
def test_what_is_not_finite_is_skipped(values: list[float], gaps: list[tuple[int, float]], weight: float) -> None:
    mixed: list[float] = list(values)
    for place, gap in gaps:
        mixed.insert(place, gap)
    smoothed = smooth(mixed, weight)
    assert [s for s, x in zip(smoothed, mixed, strict=True) if math.isfinite(x)] == smooth(values, weight)
    assert all(s is None for s, x in zip(smoothed, mixed, strict=True) if not math.isfinite(x))


@pytest.mark.parametrize("weight", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_a_weight_out_of_range(weight: float) -> None:
    with pytest.raises(ValueError, match="weight must be above 0 and below 1; found"):
        smooth([1.0], weight)
