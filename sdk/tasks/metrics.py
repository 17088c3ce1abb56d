"""The tasks' metrics, with scikit-learn and scipy."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from pointsman.registry.errors import DataError, SettingsError, unknown

Array = NDArray[Any]

_ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""The share of itself by which a number in float32 may be off."""


def _accuracy(predicted: Array, right: Array) -> float:
    return float(accuracy_score(right, predicted))


def _f1(predicted: Array, right: Array, positive: int = 1) -> float:
    # Of the class against the rest, so that a stray third id counts as a miss and raises nothing.
    return float(f1_score(right == positive, predicted == positive, zero_division=0.0))


def _f1_macro(predicted: Array, right: Array) -> float:
    return float(f1_score(right, predicted, average="macro", zero_division=0.0))


def _matthews(predicted: Array, right: Array) -> float:
    with warnings.catch_warnings():
        # scikit-learn warns of a single class; the value that it gives then, 0, is the right one.
        warnings.simplefilter("ignore", UserWarning)
        return float(matthews_corrcoef(right, predicted))


def _correlation(measure: Callable[[Array, Array], Any]) -> Callable[[Array, Array], float]:
    def correlation(predicted: Array, right: Array) -> float:
        if len(right) < 2 or not np.isfinite(predicted).all():
            return float("nan")
        # One and the same answer differs in its last bits by its place in a batch; two such answers correlate by 1.
        if np.ptp(predicted) <= _ROUNDING * np.abs(predicted).max():
            return float("nan")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.ConstantInputWarning)
            warnings.simplefilter("ignore", stats.NearConstantInputWarning)
            return float(measure(predicted, right).statistic)

    return correlation


def _mae(predicted: Array, right: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.mean(np.abs(predicted - right)))


def _mse(predicted: Array, right: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.mean((predicted - right) ** 2))


_CLASSIFICATION: Mapping[str, Callable[[Array, Array], float]] = MappingProxyType(
    {"accuracy": _accuracy, "f1": _f1, "f1_macro": _f1_macro, "matthews_correlation": _matthews}
)
_REGRESSION: Mapping[str, Callable[[Array, Array], float]] = MappingProxyType(
    {
        "pearson": _correlation(stats.pearsonr),
        "spearmanr": _correlation(stats.spearmanr),
        "mae": _mae,
        "mse": _mse,
    }
)


def compute(
    task_metrics: Sequence[str], predictions: Array, references: Array, *, positive: int = 1
) -> dict[str, float]:
    """Compute metrics of predictions against references.

    Args:
        task_metrics: The metrics' names, which the result has in the same order.
        predictions: ``(rows,)``: class ids as integers for ``accuracy``, ``f1`` (of one class; 0 where neither side has
            any), ``f1_macro`` (over the classes that occur) and ``matthews_correlation`` (0 where either side is
            constant); scores as floats for ``pearson``, ``spearmanr`` (both NaN where a side is constant, a prediction
            is not finite, or there are fewer than two rows), ``mae`` and ``mse``.
        references: The right ones, likewise.
        positive: The id of the class that ``f1`` is of.

    Raises:
        SettingsError: A metric is unknown.
        DataError: No rows, shapes that differ, predictions that are no class ids, or rows without a label.

    Examples:
        >>> compute(["accuracy"], np.array([0, 1]), np.array([0, 0]))
        {'accuracy': 0.5}
    """
    known = {**_CLASSIFICATION, **_REGRESSION}
    if strange := [name for name in task_metrics if name not in known]:
        raise unknown(SettingsError, "metric", strange[0], known)
    predicted, right = np.asarray(predictions), np.asarray(references)
    if predicted.ndim != 1 or predicted.shape != right.shape:
        raise DataError(
            f"predictions and references must both have the shape (rows,); found {predicted.shape} and {right.shape}"
        )
    if not len(right):
        raise DataError("no rows to score; give at least one")
    return {name: _one(name, predicted, right, positive) for name in task_metrics}


def _one(name: str, predicted: Array, right: Array, positive: int) -> float:
    if name in _CLASSIFICATION:
        for what, array in (("predictions", predicted), ("references", right)):
            if array.dtype.kind not in "iub":
                raise DataError(f"{name} takes class ids as integers; found {what} of {array.dtype}; take the argmax")
        if (right < 0).any():
            raise DataError(f"{name}: row {int(np.argmax(right < 0))} has no label; score a split that has labels")
        return _f1(predicted, right, positive) if name == "f1" else _CLASSIFICATION[name](predicted, right)
    # In float64, so that float16 and float32 scores lose nothing in the sums.
    scores, truth = predicted.astype(np.float64), right.astype(np.float64)
    if not np.isfinite(truth).all():
        row = int(np.argmin(np.isfinite(truth)))
        raise DataError(f"{name}: row {row} has no finite score to compare with; score a split that has labels")
    return _REGRESSION[name](scores, truth)
