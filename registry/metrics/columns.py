"""Points of a series, a column at a time: built-in functions over columns are much faster than a loop over points."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..records import LoggedPoint, MetricPoint


class Columns(NamedTuple):
    """Points of one series; those that are to be stored in the order they were logged."""

    steps: Sequence[int]
    values: Sequence[float]
    epochs: Sequence[float | None]
    times: Sequence[float]

    def part(self, start: int, end: int) -> "Columns":
        """The points from ``start`` to before ``end``."""
        steps, values, epochs, times = self
        return Columns(steps[start:end], values[start:end], epochs[start:end], times[start:end])

    def points(self) -> list[MetricPoint]:
        """The points one by one."""
        return list(map(MetricPoint, *self))

    def points_at(self, places: Iterable[int]) -> list[MetricPoint]:
        """The points at these places."""
        steps, values, epochs, times = self
        return [MetricPoint(steps[place], values[place], epochs[place], times[place]) for place in places]

    def numbers(self) -> Sequence[float]:
        """The values that are not NaN."""
        return [value for value in self.values if not math.isnan(value)] if self._has_nan() else self.values

    def stored_values(self) -> Sequence[float | None]:
        """The values as the database has them: NULL is NaN there."""
        return [None if math.isnan(value) else value for value in self.values] if self._has_nan() else self.values

    def _has_nan(self) -> bool:
        return any(map(math.isnan, self.values))


def columns_by_series(points: Iterable[LoggedPoint]) -> dict[str, Columns]:
    """The points of each series, by the metric's name."""
    series: dict[str, list[LoggedPoint]] = {}
    for point in points:
        series.setdefault(point[0], []).append(point)
    return {name: Columns(*list(zip(*logged, strict=True))[1:]) for name, logged in series.items()}
