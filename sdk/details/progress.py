"""How far a run is, from what it has logged so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pointsman.registry import MetricSummary, Registry, Run, RunStatus
from pointsman.registry.errors import NotFoundError

_TRAINED: Final = "train/"
"""What the metrics of a training's steps begin with."""
_POINTS: Final = 64
"""Points that the speed is read from, at most."""


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """How far a run is."""

    step: int
    """The last step that it logged."""
    steps: int
    """The steps that it was started for."""
    seconds_left: float | None
    """By the speed of the last quarter of its steps; None if it does not run, or has logged too little."""

    @property
    def fraction(self) -> float:
        """The part of the steps that is done."""
        return min(self.step / self.steps, 1.0)


def run_progress(registry: Registry, run: Run, summaries: Sequence[MetricSummary]) -> RunProgress | None:
    """How far a run is; None if it did not record the number of its steps.

    Args:
        registry: Where its points are.
        run: The run.
        summaries: The summaries of its metrics.

    Examples:
        >>> run_progress(registry, run, registry.summaries(f"run:{run.uid}"))
        RunProgress(step=40, steps=100, seconds_left=12.5)
    """
    steps = _whole(run.settings.get("steps")) or _whole(run.settings.get("max_steps"))
    if not steps:
        return None
    logged = [summary for summary in summaries if summary.key.startswith(_TRAINED)]
    last = max(logged, key=lambda summary: summary.last_step, default=None)
    if last is None:
        return RunProgress(step=0, steps=steps, seconds_left=None)
    pace = _seconds_per_step(registry, run, last) if run.status is RunStatus.RUNNING else None
    return RunProgress(
        step=last.last_step,
        steps=steps,
        seconds_left=None if pace is None else pace * max(steps - last.last_step, 0),
    )


def _seconds_per_step(registry: Registry, run: Run, metric: MetricSummary) -> float | None:
    first_step = metric.last_step - max(metric.last_step - metric.first_step, 0) // 4
    try:
        points = registry.history(f"run:{run.uid}", metric.key, first_step=first_step, max_points=_POINTS)
        if len(points) < 2:
            points = registry.history(f"run:{run.uid}", metric.key, max_points=_POINTS)
    except NotFoundError:  # another process has taken the run up, or removed it, since the summaries were read
        return None
    steps = points[-1].step - points[0].step if points else 0
    return max(points[-1].wall_time - points[0].wall_time, 0.0) / steps if steps > 0 else None


def _whole(value: Any) -> int | None:
    """A recorded whole number above 0; a stranger's bundle may hold anything."""
    return value if type(value) is int and value > 0 else None
