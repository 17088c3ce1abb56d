"""What a training does unless it is told otherwise, by its rows, method and task: chosen by measurement.

The rates and epochs were measured with ``seq_bn`` on MiniLM, on GLUE's validation sets (the best epoch of one seed):

====  ====  ======  ============================
task  rate  epochs  score
====  ====  ======  ============================
cola  3e-3  8, 12   0 (it stays at the majority)
cola  2e-3  10      0.260
cola  1e-3  6       0.251 to 0.265
cola  1e-3  12      0.273
cola  5e-4  12      0.296
mrpc  1e-3  6       0.801
mrpc  5e-4  12      0.806
rte   1e-3  12      0.534
rte   5e-4  12      0.545
====  ====  ======  ============================

A falling rate (linear, from 1e-3 or 2e-3) gave 0.244 and 0.265 on cola.
"""

from collections.abc import Mapping
from typing import Final

from ..fusion.config import FUSE
from ..tokens import DEFAULT_LENGTH

_ROWS_TO_SEE: Final = 100_000
_EPOCHS: Final = (2, 12)
_MANY_EPOCHS: Final = 6

LEARNING_RATES: Final[Mapping[str, float]] = {}
"""By method, where another rate than seq_bn's was better."""

PAPER_RATES: Final[Mapping[str, float]] = {FUSE: 5e-5}
"""By method, what its paper trains with, whatever the epochs: Pfeiffer et al. 2021, arXiv:2005.00247, for fusions."""

LEARNING_RATE: Final = 1e-3
BATCH_SIZE: Final = 16

MAX_LENGTHS: Final[Mapping[str, int]] = {}
"""Tokens by task, where its rows are longer."""


def default_length(task: str) -> int:
    """Tokens that an input of a task is cut to."""
    return MAX_LENGTHS.get(task, DEFAULT_LENGTH)


def default_epochs(rows: int) -> float:
    """Passes over so many training rows: the fewer there are, the more."""
    fewest, most = _EPOCHS
    return float(min(most, max(fewest, round(_ROWS_TO_SEE / rows))))


def default_learning_rate(method: str, *, epochs: float) -> float:
    """The learning rate of an adapter method, halved where every row is seen many times; or that of its paper."""
    if method in PAPER_RATES:
        return PAPER_RATES[method]
    rate = LEARNING_RATES.get(method, LEARNING_RATE)
    return rate / 2 if epochs > _MANY_EPOCHS else rate
