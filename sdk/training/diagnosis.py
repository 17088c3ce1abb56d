"""What to do next when a training did not learn, told from its record."""

import math
from collections.abc import Sequence
from typing import Final

from pointsman.registry import MetricPoint, Registry, Run, Version

FLAT: Final = 0.02
"""A loss that falls by less than this share of itself counts as flat."""

BY_HEART: Final = 0.8
"""A training loss below this share of the validation's is that of rows learned by heart."""

_PART: Final = 0.1
"""The first and the last part of a run that are compared."""


def diagnose(registry: Registry, version: Version) -> list[str]:
    """What stands in the way of a better version, and what to try, in sentences; none where nothing is seen.

    Args:
        registry: Where the version's run is recorded.
        version: The version; one that was made by no run gets none.
    """
    if version.run is None or version.primary_metric is None:
        return []
    run = registry.run(version.run)
    losses = registry.history(f"run:{run.uid}", "train/loss")
    scores = registry.history(f"run:{run.uid}", version.primary_metric)
    learned = _learned(version, run)
    found = [] if learned is None else [learned]
    if len(losses) < 2:
        return found
    first, last = _ends(losses)
    validation = registry.history(f"run:{run.uid}", f"{version.primary_metric.partition('/')[0]}/loss")
    if first - last < FLAT * abs(first):
        found.append(
            f"the training loss is flat, {first:.3f} at first and {last:.3f} at last: try {_faster(run)}, or more steps"
        )
    elif learned is not None and validation and last < BY_HEART * validation[-1].value:
        found.append(
            f"the training loss fell from {first:.3f} to {last:.3f} all the same, and that of the validation rows is "
            f"{validation[-1].value:.3f}, so the rows were learned by heart: more rows, or a larger base, teach more "
            "than more steps"
        )
    elif learned is not None:
        found.append(
            f"the training loss fell, from {first:.3f} to {last:.3f}, and may fall further: try {_longer(run)}, or "
            f"{_faster(run)}"
        )
    elif _is_rising(scores):
        found.append(f"{version.primary_metric} was still rising at the end: try {_longer(run)}")
    return found


def _faster(run: Run) -> str:
    return f"a higher learning rate, --lr {3 * (run.settings.get('learning_rate') or 0.0):.1g}"


def _longer(run: Run) -> str:
    if epochs := run.settings.get("epochs"):
        return f"--epochs {2 * epochs:g}"
    return f"--max-steps {2 * (run.settings.get('max_steps') or 0)}"


def _learned(version: Version, run: Run) -> str | None:
    """Why the score says that nothing was learned, if it does."""
    key = str(version.primary_metric)
    score = version.metrics[key]
    if math.isnan(score):
        return f"{key} is no number, as where every answer is the same: nothing was learned"
    majority, rows = run.data.get("majority"), run.data.get("rows", {}).get("eval", 0)
    if majority is not None and key.endswith("/accuracy") and rows:
        # Within a standard error of what the most frequent class alone would score.
        if score <= majority + math.sqrt(majority * (1 - majority) / rows):
            return (
                f"{key} {score:.3f} is no better than always saying the most frequent class, {majority:.3f}: "
                "nothing that counts was learned"
            )
        return None
    if not key.endswith("/accuracy") and score < 0.05:
        return f"{key} {score:.3f} is about 0, that of a guess: nothing that counts was learned"
    return None


def _ends(points: Sequence[MetricPoint]) -> tuple[float, float]:
    """The means over the first and the last tenth."""
    part = max(1, math.floor(_PART * len(points)))
    first, last = points[:part], points[-part:]
    return sum(p.value for p in first) / part, sum(p.value for p in last) / part


def _is_rising(scores: Sequence[MetricPoint]) -> bool:
    """Whether the last of at least four evaluations is the best, and the one before it the second."""
    if len(scores) < 4:
        return False
    *before, second, last = (point.value for point in scores)
    return last > second > max(before)
