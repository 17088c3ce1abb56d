"""The GLUE score: a task's score from its metrics, the average over tasks, mean and deviation over seeds.

A task's score is the unweighted mean of its metrics, and the GLUE score is the unweighted mean of the tasks' scores
(Wang et al. 2019, https://openreview.net/pdf?id=rJ4km2R5t7, section 3.4; so does https://gluebenchmark.com):

- CoLA: Matthews' correlation; SST-2, QNLI, RTE, WNLI: accuracy;
- MRPC, QQP: accuracy and F1; STS-B: Pearson's and Spearman's correlation;
- MNLI: accuracy on the matched and on the mismatched rows.

All scores are times 100. WNLI is not in the average unless requested: its validation rows are adversarial to its
training rows, and BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805, Table 1) and the first
adapters (Houlsby et al. 2019, https://arxiv.org/abs/1902.00751) left it out. The diagnostic set (AX) is never in it.

Over several seeds a score is a mean and a sample standard deviation (n - 1). The deviation of the average is taken over
the averages of the seeds, so that it includes the covariance of the tasks; a seed that lacks a task has no average.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    "cola": ("eval/matthews_correlation",),
    "sst2": ("eval/accuracy",),
    "mrpc": ("eval/accuracy", "eval/f1"),
    "stsb": ("eval/pearson", "eval/spearmanr"),
    "qqp": ("eval/accuracy", "eval/f1"),
    "mnli": ("eval/accuracy", "eval_mismatched/accuracy"),
    "qnli": ("eval/accuracy",),
    "rte": ("eval/accuracy",),
    "wnli": ("eval/accuracy",),
}
"""By task, the metrics of a version whose mean is the task's score; in the order of GLUE's tables."""

TASKS: Final = tuple(METRICS)
"""GLUE's tasks with training rows, in the order of its tables."""


def averaged_tasks(tasks: Sequence[str], *, with_wnli: bool = False) -> tuple[str, ...]:
    """The tasks of a list that are in the average."""
    return tuple(task for task in TASKS if task in tasks and (with_wnli or task != "wnli"))


def task_score(task: str, metrics: Mapping[str, float]) -> float:
    """A task's score, times 100.

    Args:
        task: The task's name.
        metrics: A version's.
    """
    return 100 * _mean([metrics[key] for key in METRICS[task]])


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A score over several seeds."""

    mean: float
    std: float | None
    """The sample standard deviation; None for one seed."""
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, scores: Mapping[int, float]) -> "Spread | None":
        """The spread of scores by seed; None if there are no scores."""
        if not scores:
            return None
        values = list(scores.values())
        mean = _mean(values)
        # The statistics module's stdev fails at NaN.
        squares = math.fsum((value - mean) ** 2 for value in values)
        std = math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else None
        return cls(mean=mean, std=std, seeds=tuple(scores))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method's row of the table."""

    method: str
    scores: Mapping[str, Spread]
    """By task; only tasks with a score."""
    average: Spread | None
    """Over the seeds that have all tasks of ``averaged``; None if there is no such seed or no such task."""
    averaged: tuple[str, ...]
    """The tasks in the average."""
    incomplete: Mapping[int, tuple[str, ...]]
    """The seeds that are not in the average, with the tasks that each lacks."""


def row(
    method: str,
    scores: Mapping[tuple[str, int], float],
    *,
    tasks: Sequence[str],
    seeds: Sequence[int],
    with_wnli: bool = False,
) -> Row:
    """Make a method's row of the table.

    Args:
        method: The method.
        scores: Its scores by task and seed; missing ones are left out.
        tasks: All tasks of the benchmark.
        seeds: All seeds of the benchmark.
        with_wnli: Include WNLI in the average.
    """
    averaged = averaged_tasks(tasks, with_wnli=with_wnli)
    spreads = {
        task: spread
        for task in tasks
        if (spread := Spread.of({seed: scores[task, seed] for seed in seeds if (task, seed) in scores}))
    }
    lacking = {seed: tuple(task for task in averaged if (task, seed) not in scores) for seed in seeds}
    complete_seeds = [seed for seed in seeds if averaged and not lacking[seed]]
    return Row(
        method=method,
        scores=spreads,
        average=Spread.of({seed: _mean([scores[task, seed] for task in averaged]) for seed in complete_seeds}),
        averaged=averaged,
        incomplete={seed: missing for seed, missing in lacking.items() if missing},
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
