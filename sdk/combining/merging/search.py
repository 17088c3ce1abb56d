"""Search for the weights of a merge that score best on the validation rows of the task."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Final

from pointsman.registry import Evaluation
from pointsman.registry.errors import DataError, SettingsError

from ...bases.load import load_base
from ...core.same_base import check_base
from ...data.source import DataSource
from ...data.tokens import tokenise
from ...engines.adapter_program import covers
from ...engines.scoring import Scorer, evaluation_of
from ...engines.slots import insert_adapter, remove_slot, slot_name
from ...methods.support import reads_padding
from ...tasks import Task
from .merged import Merged

MOST: Final = 66
"""Points of a grid at most, unless there are more members than that: for three members all in tenths."""

_FINEST: Final = 10
"""The smallest step of a grid is one part in so many."""

_SLOT: Final = slot_name(0)


def grid(members: int) -> list[tuple[float, ...]]:
    """Weights to try, each adding up to 1: the even ones first, then a grid, those nearer to even first.

    The grid is as fine as possible with at most ``MOST`` points, and at most in tenths.
    """
    parts = max(n for n in range(1, _FINEST + 1) if n == 1 or math.comb(n + members - 1, n) <= MOST)
    points = sorted(_distribute(parts, members), key=lambda point: (sum(part**2 for part in point), point))
    weights = [(1 / members,) * members, *(tuple(part / parts for part in point) for point in points)]
    return list(dict.fromkeys(weights))


def best_of(
    merged: Merged, source: DataSource, *, max_rows: int | None, base: str, device: str
) -> tuple[Merged, dict[str, float], Evaluation]:
    """The merge with the weights that score best by the task's primary metric, its metrics, and what they are of.

    Of weights with equal scores, the first in ``grid`` wins.

    Args:
        merged: A merge of the same members, by the recipe whose weights are searched.
        source: Where the rows come from; the first split that the task is evaluated on is scored.
        max_rows: The number of rows to score on, the first ones; None: all.
        base: Where to load the base from.
        device: The device to compute on.

    Raises:
        DataError, TaskNotFoundError: The rows cannot be loaded.
        SettingsError: They are of another task.
        BaseNotFoundError, UnusableBaseError, BaseMismatchError: The base cannot be loaded, or is another one.
    """
    task = Task.from_dict(merged.like.task)
    data = source.load(task.name)
    if (data.task.text, data.task.labels) != (task.text, task.labels):
        raise SettingsError(
            f"{data.source} is of another task than {merged.like.ref}: text {', '.join(data.task.text)} and labels "
            f"{data.task.labels_text}, not text {', '.join(task.text)} and labels {task.labels_text}"
        )
    rows = data.splits[task.validation[0]]
    if not rows.labelled:
        raise DataError(f"the split '{task.validation[0]}' of {task.name} has no labels to score against")
    if max_rows is not None:
        rows = rows.head(max_rows)
    loaded = load_base(base, device=device)
    check_base(merged.like, loaded.record)
    tokens = tokenise(loaded.tokenizer, rows.texts(), max_length=merged.max_length)
    exact_lengths = reads_padding(merged.adapter.config, loaded.model.config)
    scorer = Scorer(
        loaded.model,
        _SLOT,
        task,
        {"eval": (rows, tokens)},
        exact_lengths=exact_lengths,
        exactly=nullcontext,
        written_out=covers(merged.adapter.config),
    )
    best: tuple[float, Merged, dict[str, float]] | None = None
    for shares in grid(len(merged.members)):
        tried = Merged.of(merged.name, merged.members, replace(merged.recipe, weights=shares), merged.head_of)
        insert_adapter(loaded.model, _SLOT, tried.files)
        metrics = scorer.scores()
        remove_slot(loaded.model, _SLOT)
        score = metrics[f"eval/{task.primary}"]
        score = -math.inf if math.isnan(score) else score
        if best is None or score > best[0]:
            best = score, tried, metrics
    assert best is not None
    return *best[1:], evaluation_of(task, rows)


def _distribute(parts: int, members: int) -> Iterator[tuple[int, ...]]:
    """All distributions of a number of parts among a number of members."""
    if members == 1:
        yield (parts,)
        return
    for first in range(parts + 1):
        for others in _distribute(parts - first, members - 1):
            yield (first, *others)
