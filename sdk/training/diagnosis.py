"""Findings about a training that did not learn, and the settings to try next, from its recorded history."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from pointsman.registry import MetricPoint, Registry, Run, Version
from pointsman.registry.errors import Action, Advice

from .defaults import higher_rate, is_far_above, is_far_below, lower_rate
from .finding import Finding
from .row_findings import row_findings

FLAT: Final = 0.02
"""A loss that falls by less than this share of itself counts as flat."""

RISEN: Final = 0.05
"""A loss that rises by more than this share of itself diverges, where that is more than chance."""

_CHANCE: Final = 3.0
"""Standard errors that a rise by chance stays below."""

ASTRAY: Final = 2.0
"""Losses above this many times that of a constant answer are those of weights that were thrown far off."""

MEMORISED: Final = 0.8
"""A training loss below this share of the validation loss is that of memorised rows."""

VAGUE: Final = 0.125
"""A guess's score with a greater standard error than this says nothing of a training: that of 16 rows, where half are
right by chance."""

_COMPARED: Final = 0.1
"""The share of a run's points that its first and its last part have."""


def diagnose(registry: Registry, version: Version) -> list[Finding]:
    """List what limits the score of a version: its rows first, then what its history shows.

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
    findings = list(row_findings(version, run))
    unlearned = _unlearned(version, run)
    if unlearned is not None:
        findings.append(Finding(text=unlearned))
    is_cut = any("max_length" in advice.arguments for finding in findings for advice in finding.advice)
    findings += _history(registry, version, run, learned=unlearned is None, is_cut=is_cut)
    return findings


def _history(registry: Registry, version: Version, run: Run, *, learned: bool, is_cut: bool) -> Iterator[Finding]:
    """What the losses and scores of a run show: at most one finding.

    Args:
        registry: The registry of both.
        version: The version that the run made.
        run: The run.
        learned: Whether the score shows that something was learned.
        is_cut: Whether many rows were cut.
    """
    key = str(version.primary_metric)
    losses = registry.history(f"run:{run.uid}", "train/loss")
    if len(losses) < 2:
        return
    values = [point.value for point in losses]
    first, last = _ends(values)
    points = registry.history(f"run:{run.uid}", f"{key.partition('/')[0]}/loss")
    validation = points[-1].value if points else None
    fell = f"the training loss fell from {_loss(first)} to {_loss(last)}"
    flat = f"the training loss is flat, {_loss(first)} at the start and {_loss(last)} at the end"
    if diverged := _diverged(version, run, values, validation):
        yield Finding(text=diverged, advice=(_slower(version, run),))
    elif first - last < FLAT * abs(first) and is_far_above(_rate(run), run.method):
        text = f"{flat}, at a learning rate of {_rate(run):g}; try that of the method"
        yield Finding(text=text, advice=(_slower(version, run),))
    elif first - last < FLAT * abs(first) and (learned or not is_cut or is_far_below(_rate(run), run.method)):
        yield Finding(text=f"{flat}; try a higher learning rate, or more steps", advice=(_faster(version, run),))
    elif not learned and is_cut:
        # No other setting is to blame before the rows are whole.
        text = flat if first - last < FLAT * abs(first) else fell
        yield Finding(text=f"{text}; what was cut may hold the answer, so try a greater length first")
    elif not learned and validation is not None and last < MEMORISED * validation:
        text = (
            f"{fell}, but the validation loss is {_loss(validation)}, so the rows were memorised; more rows, or a "
            "larger base, help more than more steps"
        )
        yield Finding(text=text)
    elif not learned:
        text = f"{fell}, and may fall further; try more steps, or a higher learning rate"
        yield Finding(text=text, advice=(_longer(version, run), _faster(version, run)))
    elif _is_rising(registry.history(f"run:{run.uid}", key)):
        text = f"{key} was still rising at the end; try more steps"
        yield Finding(text=text, advice=(_longer(version, run),))


def _diverged(version: Version, run: Run, losses: Sequence[float], validation: float | None) -> str | None:
    """How the losses show that the weights were thrown far off; None if they do not."""
    first, last = _ends(losses)
    if last - first > max(RISEN * abs(first), _CHANCE * _error_of_a_difference(losses)):
        return (
            f"the training diverged: its loss rose from {_loss(first)} to {_loss(last)} at a learning rate of "
            f"{_rate(run):g}; try a lower one"
        )
    guess = _loss_of_a_guess(version, run)
    if guess is not None and validation is not None and min(last, validation) > ASTRAY * guess:
        return (
            f"the training diverged: its loss is {_loss(last)} at a learning rate of {_rate(run):g}, where that of "
            f"always giving the same answer is {_loss(guess)}; try a lower rate"
        )
    return None


def _loss_of_a_guess(version: Version, run: Run) -> float | None:
    """The loss of the best constant answer, or a little more; None where it is unknown.

    Of classes it is at most the logarithm of their number, of scores their variance in the training rows.
    """
    if isinstance(run.settings.get("class_weights"), Mapping):
        return None  # of any size
    if classes := version.task.get("labels"):
        return math.log(len(classes))
    target = run.data.get("target")
    return None if target is None else float(target["deviation"]) ** 2


def _rate(run: Run) -> float:
    return float(run.settings.get("learning_rate") or 0.0)


def _slower(version: Version, run: Run) -> Advice:
    """The same training at a lower learning rate."""
    rate = lower_rate(_rate(run), run.method)
    return Advice(Action.TRAIN_LIKE, {"ref": version.ref, "learning_rate": rate})


def _faster(version: Version, run: Run) -> Advice:
    """The same training at a higher learning rate."""
    rate = higher_rate(_rate(run), run.method)
    return Advice(Action.TRAIN_LIKE, {"ref": version.ref, "learning_rate": rate})


def _longer(version: Version, run: Run) -> Advice:
    """The same training for twice as long."""
    if epochs := run.settings.get("epochs"):
        return Advice(Action.TRAIN_LIKE, {"ref": version.ref, "epochs": 2.0 * epochs})
    return Advice(Action.TRAIN_LIKE, {"ref": version.ref, "max_steps": 2 * (run.settings.get("max_steps") or 0)})


def _unlearned(version: Version, run: Run) -> str | None:
    """Why the score shows that nothing was learned; None if it does not."""
    key = str(version.primary_metric)
    score, rows = version.metrics[key], run.data.get("rows", {}).get("eval", 0)
    if math.isnan(score):
        return f"{key} is not a number, since every answer is the same; nothing was learned"
    if key.endswith("/accuracy"):
        return _unlearned_accuracy(version, run, rows)
    # Of answers that have nothing to do with the labels.
    error = 1 / math.sqrt(rows - 1) if rows > 1 else None
    correlation = version.metrics.get("eval/matthews_correlation")
    if key.endswith(("/f1", "/f1_macro")) and correlation is not None and correlation < 0.05:
        # F1 of the more frequent class is high for one and the same answer to every row.
        return (
            f"{key} is {score:.3f}, but eval/matthews_correlation {correlation:.3f} is about that of a guess; "
            f"{_verdict(error, rows)}"
        )
    if score < 0.05:
        return f"{key} {score:.3f} is about 0, the score of a guess; {_verdict(error, rows)}"
    return None


def _unlearned_accuracy(version: Version, run: Run, rows: int) -> str | None:
    """Why the accuracy shows that nothing was learned; None if it does not, or where the classes were not counted."""
    key = str(version.primary_metric)
    score, majority = version.metrics[key], run.data.get("majority")
    if majority is None or not rows:
        return None
    # With two classes of like size, other answers have these scores too.
    if version.metrics.get("eval/matthews_correlation") == 0 and math.isclose(score, majority) and majority > 0.5:
        return f"{key} is {score:.3f}, since every answer is the most frequent class; nothing was learned"
    error = math.sqrt(majority * (1 - majority) / rows)  # of a share of rows, by the binomial distribution
    if score > majority + error:
        return None
    constant = f"always answering the most frequent class, {majority:.3f}"
    if score <= majority:
        return f"{key} {score:.3f} is no better than {constant}; {_verdict(error, rows)}"
    return (
        f"{key} {score:.3f} is within a standard error, {error:.3f} in {rows} validation rows, of {constant}; "
        f"{_verdict(error, rows)}"
    )


def _verdict(error: float | None, rows: int) -> str:
    """What a score like that of a guess says.

    Args:
        error: The standard error of a guess's score; None: unknown.
        rows: The validation rows.
    """
    if error is None or error <= VAGUE:
        return "nothing useful was learned"
    return (
        f"{rows} validation rows are too few to tell whether anything was learned: a guess's score differs by "
        f"{error:.2f} by chance (one standard error); validate on more rows"
    )


def _loss(value: float) -> str:
    """A loss for a message: squared errors of prices are long numbers."""
    return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.3g}"


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The means over the first and the last tenth of the values."""
    size = _size_of_an_end(values)
    return sum(values[:size]) / size, sum(values[-size:]) / size


def _error_of_a_difference(values: Sequence[float]) -> float:
    """The standard error of the difference of the ends, from the changes between one value and the next."""
    changes = [later - earlier for earlier, later in pairwise(values)]
    variance = sum(change**2 for change in changes) / (2 * len(changes))  # a change has that of two values
    return math.sqrt(2 * variance / _size_of_an_end(values))


def _size_of_an_end(values: Sequence[float]) -> int:
    return max(1, math.floor(_COMPARED * len(values)))


def _is_rising(scores: Sequence[MetricPoint]) -> bool:
    """Whether the last of at least four evaluations is the best, and the one before it the second best."""
    if len(scores) < 4:
        return False
    *before, second, last = (point.value for point in scores)
    return last > second > max(before)
