"""What a run's metrics come to: functions over an open transaction."""

import math
from collections.abc import Collection, Sequence
from typing import Any, Final

import sqlalchemy as sa

from ..database import tables as t
from ..records import LoggedPoint, MetricSummary

_s = t.metric_summary.c
_FLOATS: Final = ("first", "last", "min", "max", "mean")
_OF_RUN: Final = (
    sa.select(t.metric_summary, t.metric_key.c.name.label("key"))
    .join(t.metric_key, _s.key_id == t.metric_key.c.id)
    .where(_s.run_id == sa.bindparam("run"))
    .order_by(t.metric_key.c.name)
)
_OF_KEYS: Final = _OF_RUN.where(_s.key_id.in_(sa.bindparam("keys", expanding=True)))


def summaries(connection: sa.Connection, run: int, keys: Collection[int] | None = None) -> list[MetricSummary]:
    """The summaries of a run's metrics, or of some of them, by name."""
    query, parameters = (_OF_RUN, {}) if keys is None else (_OF_KEYS, {"keys": list(keys)})
    found = []
    for row in connection.execute(query, {"run": run, **parameters}).mappings():
        values: dict[str, Any] = {name: value for name, value in row.items() if name not in ("run_id", "key_id")}
        values.update({name: math.nan for name in _FLOATS if values[name] is None})
        found.append(MetricSummary(**values))
    return found


def columns(summary: MetricSummary) -> list[Any]:
    """A summary as its row has it, the row's keys left out."""
    values = [getattr(summary, column.name) for column in t.metric_summary.c if not column.primary_key]
    return [None if type(value) is float and math.isnan(value) else value for value in values]


def summed(before: MetricSummary | None, points: Sequence[LoggedPoint]) -> MetricSummary:
    """The summary of a series with ``points`` added, which are in the order they were logged in."""
    values = [point.value for point in points]
    numbers = [value for value in values if not math.isnan(value)]
    low, high = min(numbers, default=math.nan), max(numbers, default=math.nan)
    new = MetricSummary(
        key=points[0].key,
        count=len(points),
        nan_count=len(points) - len(numbers),
        first=values[0],
        last=values[-1],
        min=low,
        max=high,
        mean=sum(numbers) / len(numbers) if numbers else math.nan,
        first_step=points[0].step,
        last_step=points[-1].step,
        min_step=points[values.index(low)].step if numbers else None,
        max_step=points[values.index(high)].step if numbers else None,
    )
    if before is None:
        return new
    # A comparison with NaN is false, so a side without numbers never wins; ties stay with the earlier point.
    lower = new if new.min < before.min or math.isnan(before.min) else before
    higher = new if new.max > before.max or math.isnan(before.max) else before
    were, are = before.count - before.nan_count, len(numbers)
    return MetricSummary(
        key=new.key,
        count=before.count + new.count,
        nan_count=before.nan_count + new.nan_count,
        first=before.first,
        last=new.last,
        min=lower.min,
        max=higher.max,
        mean=sum(n * mean for n, mean in ((were, before.mean), (are, new.mean)) if n) / (were + are)
        if were + are
        else math.nan,
        first_step=before.first_step,
        last_step=new.last_step,
        min_step=lower.min_step,
        max_step=higher.max_step,
    )
