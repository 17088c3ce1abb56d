"""Exponential smoothing of a metric's values."""

import math
from collections.abc import Iterable


def smooth(values: Iterable[float], weight: float) -> list[float | None]:
    """The exponential moving average of a series, debiased.

    With ``s_0 = 0`` and ``x_i`` the ``i``-th finite value, ``s_i = weight * s_{i-1} + (1 - weight) * x_i``, and the
    result is ``s_i / (1 - weight^i)``: the weighted mean of ``x_1 … x_i``, which does not lean towards the zero that
    the recursion starts from. The divisor is accumulated beside ``s_i``, with the same rounding.

    Args:
        values: The series, in order.
        weight: Above 0 and below 1; the greater, the smoother.

    Returns:
        One value for each of ``values``; None for NaN and the infinities, which are skipped and change nothing that
        follows.

    Raises:
        ValueError: The weight is out of range.

    Examples:
        >>> smooth([1.0, 3.0], 0.5)
        [1.0, 2.3333333333333335]

    Reference:
        Kingma & Ba 2015, "Adam", arXiv:1412.6980, section 3 (bias correction); TensorBoard's scalar charts smooth with
        the same formula.
    """
    if not 0 < weight < 1:
        raise ValueError(f"weight must be above 0 and below 1; found {weight!r}")
    smoothed: list[float | None] = []
    total = divisor = 0.0
    for value in values:
        if math.isfinite(value):
            total = weight * total + (1 - weight) * value
            divisor = weight * divisor + (1 - weight)
            smoothed.append(total / divisor)
        else:
            smoothed.append(None)
    return smoothed
