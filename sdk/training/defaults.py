"""What a training does unless it is told otherwise, by task and method: chosen by measurement, written down here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_ROWS_TO_SEE: Final = 60_000
_EPOCHS: Final = (2, 6)


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """The settings that suit a task and a method."""

    learning_rate: float
    epochs: float
    batch_size: int


LEARNING_RATES: Final[Mapping[str, float]] = {}
"""By method, where another rate than seq_bn's was better."""

LEARNING_RATE: Final = 1e-3
BATCH_SIZE: Final = 16

MAX_LENGTHS: Final[Mapping[str, int]] = {}
"""Tokens by task, where its rows are longer."""

MAX_LENGTH: Final = 128


def default_length(task: str) -> int:
    """Tokens that an input of a task is cut to."""
    return MAX_LENGTHS.get(task, MAX_LENGTH)


def task_defaults(task: str, *, method: str, rows: int) -> Defaults:
    """The settings for a task and a method.

    Args:
        task: The task's name; one that is not GLUE's gets what suits the number of its rows.
        method: The adapter method's name.
        rows: How many training rows there are.
    """
    fewest, most = _EPOCHS
    return Defaults(
        learning_rate=LEARNING_RATES.get(method, LEARNING_RATE),
        epochs=float(min(most, max(fewest, round(_ROWS_TO_SEE / rows)))),
        batch_size=BATCH_SIZE,
    )
