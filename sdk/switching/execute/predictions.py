"""From logits to predictions, in the order of the requests."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...tasks import kind_of
from .executor import RouteLogits
from .requests import Request


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an adapter predicts for one input.

    Examples:
        >>> model.predict("sst2", ["a gripping film"])
        [Prediction(label='positive', score=0.98, probabilities={'negative': 0.02, 'positive': 0.98})]
    """

    label: str | None
    """The most probable class; None for a regression."""
    score: float
    """That class's probability, or the value of a regression."""
    probabilities: Mapping[str, float] | None = None
    """Every class's probability by name; None for a regression."""
    logits: tuple[float, ...] = field(default=(), repr=False, compare=False)
    """What the head gave: one number a class, or that of a regression."""
    tokens: int = field(default=0, repr=False, compare=False)
    """Tokens of the input that the base read, special ones included."""


def predictions(requests: Sequence[Request], answers: Sequence[RouteLogits]) -> list[Any]:
    """The prediction of each request; of ``Parallel`` a tuple, with one for each route."""
    by_position: dict[int, Prediction] = {}
    for answer in answers:
        by_position.update(zip(answer.positions, _read(answer), strict=True))
    ordered = (by_position[position] for position in range(len(by_position)))
    return [
        tuple(itertools.islice(ordered, len(request.routes))) if request.is_parallel else next(ordered)
        for request in requests
    ]


def _read(answer: RouteLogits) -> list[Prediction]:
    answers = kind_of(answer.task).answers(answer.task, answer.logits)
    return [
        Prediction(*read, logits=tuple(logits), tokens=tokens)
        for read, logits, tokens in zip(answers, answer.logits.tolist(), answer.tokens, strict=True)
    ]
