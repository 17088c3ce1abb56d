"""From rows that each ask something to logits: leased, tokenised, in as few forward passes as there can be."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ...core.composition import Composition
from ...data.tokens import TokenRows, joined, tokenise
from ...engines.torch_modules import mixed_outputs
from ...patches.layer_drop import check_drop_layers
from ...tasks import Task
from ..memory.adapter_cache import AdapterCache
from ..resolve.resolved_ref import ResolvedRef
from ..resolve.routes import routes_for
from .batch_plans import plan_batch
from .inputs import Text, check_input

_TOKENISING: Final = threading.Lock()
"""A tokenizer keeps the length that it cuts to, so that it serves one call at a time."""


Request = tuple[ResolvedRef, tuple[Composition, ...], Text]
"""An input with the ways through what is asked of it, one for each answer."""


@dataclass(frozen=True, eq=False)
class _RoutedRow:
    """An input, and one way through what was asked of it."""

    meaning: ResolvedRef
    way: Composition
    text: Text
    number: int
    """Where it stands in the caller's inputs."""


@dataclass(frozen=True, eq=False)
class RouteLogits:
    """What one way through a composition gave to those that took it."""

    task: Task
    logits: Tensor
    """``(questions, labels)`` in float32 on the CPU, or ``(questions, 1)`` of a regression."""
    numbers: list[int]
    """Which questions, in their order: a row asks one for each of its ways."""


def build_requests(
    meaning: ResolvedRef, texts: Sequence[Text], begun: int = 0, rows: int | None = None
) -> list[Request]:
    """Inputs that all ask the same; of a stream, those from ``begun`` on of so many ``rows``.

    Raises:
        CompositionError: The sizes of a ``BatchSplit`` do not add up to the rows.
    """
    total = len(texts) if rows is None else rows
    return [(meaning, routes_for(meaning.composition, row, total), text) for row, text in enumerate(texts, begun)]


def execute(
    rows: Sequence[Request],
    begun: int,
    *,
    model: Any,
    tokenizer: Any,
    library: AdapterCache,
    autocast: torch.dtype | None,
    drop_layers: int,
) -> list[RouteLogits]:
    """Answer rows, those of each way together, without the adapters of the lowest ``drop_layers`` layers.

    Args:
        rows: What is asked, one row at least.
        begun: How many inputs of the caller's came before them.
        model: An adapters model in evaluation mode.
        tokenizer: The base's.
        library: The versions in the model.
        autocast: Compute matrix products in this type; None for the model's own.
        drop_layers: How many layers.

    Raises:
        SettingsError: An input is not what its task takes; there are more adapters than fit at once; or the base has
            fewer layers.
        StoreError, WeightsError: Files are missing, damaged or do not fit.
    """
    check_drop_layers(drop_layers, model)
    questions = [
        _RoutedRow(meaning, way, text, number)
        for number, (meaning, ways, text) in enumerate(rows, begun)
        for way in ways
    ]
    numbers: dict[Composition, list[int]] = {}
    for number, question in enumerate(questions):
        numbers.setdefault(question.way, []).append(number)
    first = {way: questions[those[0]].meaning for way, those in numbers.items()}
    tasks = {way: meaning.tasks[way] for way, meaning in first.items()}
    texts = [check_input(tasks[question.way], question.text, question.number) for question in questions]
    max_lengths = {way: meaning.max_length(way) for way, meaning in first.items()}
    tokens = _tokenised(texts, [max_lengths[question.way] for question in questions], tokenizer)
    ways = list(numbers)
    of_row = np.empty(len(questions), dtype=np.int64)
    for index, way in enumerate(ways):
        of_row[numbers[way]] = index
    needed = {way: first[way].needed(way) for way in ways}
    versions = {version.ref: version for of_way in needed.values() for version in of_way}
    with library.lease(list(versions.values())) as loaded:
        plans = [
            plan_batch(
                way,
                {version.ref: loaded[version.ref] for version in of_way},
                library.lane,
                model_type=model.config.model_type,
            )
            for way, of_way in needed.items()
        ]
        with library.model_lock.shared():
            logits = mixed_outputs(model, plans, of_row, tokens, autocast=autocast, drop_layers=drop_layers)
    return [RouteLogits(tasks[way], found, numbers[way]) for way, found in zip(ways, logits, strict=True)]


def _tokenised(texts: Sequence[tuple[str, ...]], max_lengths: Sequence[int], tokenizer: Any) -> TokenRows:
    """Rows of one text or two, each cut to its own length, in their order."""
    kinds: dict[tuple[int, int], list[int]] = {}
    for index, (row, max_length) in enumerate(zip(texts, max_lengths, strict=True)):
        kinds.setdefault((len(row), max_length), []).append(index)
    with _TOKENISING:
        parts = [
            tokenise(tokenizer, [texts[index] for index in indices], max_length=max_length)
            for (_, max_length), indices in kinds.items()
        ]
    if len(parts) == 1:
        return parts[0]
    order = np.concatenate([np.asarray(indices) for indices in kinds.values()])
    return joined(parts).take(np.argsort(order).tolist())
