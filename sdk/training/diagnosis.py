"""Findings about a training that did not learn, and the settings to try next, from its recorded history."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pointsman.registry import MetricPoint, Registry, Run, Version
from pointsman.registry.errors import Action, Advice

FLAT: Final = 0.02
"""A loss that falls by less than this share of itself counts as flat."""

MEMORISED: Final = 0.8
"""A training loss below this share of the validation loss is that of memorised rows."""

_COMPARED: Final = 0.1
"""The share of a run's points that its first and its last part have."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the history of a training shows, and what to do about it."""

    text: str
    advice: tuple[Advice, ...] = ()
    """Trainings to try, each by itself."""


def diagnose(registry: Registry, version: Version) -> list[Finding]:
    """List what limits the score of a version.

    Args:
        registry: The registry with the version's run.
        version: The version; without a run, the list is empty.

    Examples:
        >>> diagnose(registry, version)[0].advice
        (Advice(action=<Action.TRAIN_LIKE: 'train_like'>, arguments={'ref': 'sst2@1', 'epochs': 12.0}),)
    """
    if version.run is None or version.primary_metric is None:
        return []
    run = registry.run(version.run)
    losses = registry.history(f"run:{run.uid}", "train/loss")
    scores = registry.history(f"run:{run.uid}", version.primary_metric)
    unlearned = _unlearned(version, run)
    findings = [] if unlearned is None else [Finding(text=unlearned)]
    if len(losses) < 2:
        return findings
    first, last = _ends(losses)
    validation = registry.history(f"run:{run.uid}", f"{version.primary_metric.partition('/')[0]}/loss")
    if first - last < FLAT * abs(first):
        text = (
            f"the training loss is flat, {first:.3f} at the start and {last:.3f} at the end; try a higher learning "
            "rate, or more steps"
        )
        findings.append(Finding(text=text, advice=(_faster(version, run),)))
    elif unlearned is not None and validation and last < MEMORISED * validation[-1].value:
        text = (
            f"the training loss fell from {first:.3f} to {last:.3f}, but the validation loss is "
            f"{validation[-1].value:.3f}, so the rows were memorised; more rows, or a larger base, help more than more "
            "steps"
        )
        findings.append(Finding(text=text))
    elif unlearned is not None:
        text = (
            f"the training loss fell from {first:.3f} to {last:.3f}, and may fall further; try more steps, or a higher "
            "learning rate"
        )
        findings.append(Finding(text=text, advice=(_longer(version, run), _faster(version, run))))
    elif _is_rising(scores):
        text = f"{version.primary_metric} was still rising at the end; try more steps"
        findings.append(Finding(text=text, advice=(_longer(version, run),)))
    return findings


def _faster(version: Version, run: Run) -> Advice:
    """The same training at three times the learning rate."""
    rate = 3 * (run.settings.get("learning_rate") or 0.0)
    return Advice(Action.TRAIN_LIKE, {"ref": version.ref, "learning_rate": float(f"{rate:.1g}")})


def _longer(version: Version, run: Run) -> Advice:
    """The same training for twice as long."""
    if epochs := run.settings.get("epochs"):
        return Advice(Action.TRAIN_LIKE, {"ref": version.ref, "epochs": 2.0 * epochs})
    return Advice(Action.TRAIN_LIKE, {"ref": version.ref, "max_steps": 2 * (run.settings.get("max_steps") or 0)})


def _unlearned(version: Version, run: Run) -> str | None:
    """Why the score shows that nothing was learned; None if it does not."""
    key = str(version.primary_metric)
    score = version.metrics[key]
    if math.isnan(score):
        return f"{key} is not a number, as when every answer is the same; nothing was learned"
    majority, rows = run.data.get("majority"), run.data.get("rows", {}).get("eval", 0)
    if majority is not None and key.endswith("/accuracy") and rows:
        # Within a standard error of the score of the most frequent class.
        if score <= majority + math.sqrt(majority * (1 - majority) / rows):
            return (
                f"{key} {score:.3f} is no better than always answering the most frequent class, {majority:.3f}; "
                "nothing useful was learned"
            )
        return None
    correlation = version.metrics.get("eval/matthews_correlation")
    if key.endswith(("/f1", "/f1_macro")) and correlation is not None and correlation < 0.05:
        # F1 of the more frequent class is high for one and the same answer to every row.
        return (
            f"{key} is {score:.3f}, but eval/matthews_correlation {correlation:.3f} is about that of a guess; nothing "
            "useful was learned"
        )
    if not key.endswith("/accuracy") and score < 0.05:
        return f"{key} {score:.3f} is about 0, the score of a guess; nothing useful was learned"
    return None


def _ends(points: Sequence[MetricPoint]) -> tuple[float, float]:
    """The means over the first and the last tenth of the points."""
    size = max(1, math.floor(_COMPARED * len(points)))
    first, last = points[:size], points[-size:]
    return sum(p.value for p in first) / size, sum(p.value for p in last) / size


def _is_rising(scores: Sequence[MetricPoint]) -> bool:
    """Whether the last of at least four evaluations is the best, and the one before it the second best."""
    if len(scores) < 4:
        return False
    *before, second, last = (point.value for point in scores)
    return last > second > max(before)
