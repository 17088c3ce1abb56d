"""What a run is recorded with of its rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data.lengths import length_for
from ..data.splits import Split
from ..data.tokens import TokenRows
from .measured import measures
from .prepare import PreparedTraining


def row_record(prepared: PreparedTraining, tokens: Mapping[str, TokenRows], *, longest: int) -> dict[str, Any]:
    """The ``data`` of a run, as JSON.

    Beside the source, the fingerprint and the number of rows, it has by split, ``train`` or the prefix of its metrics:

    - ``repeated``: how many of its rows also stand in the training rows;
    - ``absent``: the classes that have no row in it, where there are any;
    - ``cut``: how many rows are cut, the tokens that they lose, and the length that holds most rows.

    Args:
        prepared: The training.
        tokens: The tokenised rows of every split, with ``whole``.
        longest: The most tokens that the base takes.
    """
    data, train = prepared.data, prepared.train_rows
    splits = {"train": train, **prepared.evaluations}
    absent = {name: _absent(split) for name, split in splits.items()}
    return {
        "source": data.source,
        "fingerprint": data.fingerprint,
        "rows": {name: len(split) for name, split in splits.items()},
        "repeated": {prefix: split.rows_in(train) for prefix, split in prepared.evaluations.items()},
        **({"absent": {name: found for name, found in absent.items() if found}} if any(absent.values()) else {}),
        "cut": _cut(tokens, longest),
        "majority": _majority(prepared.evaluations["eval"]),
        **({} if prepared.target_scale is None else {"target": prepared.target_scale.to_dict()}),
        "given": prepared.request.given,
        "measured": measures(data.task),
        **({"notes": list(data.notes)} if data.notes else {}),
    }


def _absent(split: Split) -> list[str]:
    """The classes of the task that have no row in a split."""
    present = split.class_counts()
    return [name for name in split.task.labels if name not in present]


def _cut(tokens: Mapping[str, TokenRows], longest: int) -> dict[str, Any]:
    """The rows and tokens that are cut, and the length that holds most rows with their share."""
    lost = {name: rows.whole - rows.lengths for name, rows in tokens.items() if rows.whole is not None}
    whole = np.concatenate([rows.whole for rows in tokens.values() if rows.whole is not None])
    length = length_for(whole, longest=longest)
    return {
        "rows": {name: int(np.count_nonzero(missing)) for name, missing in lost.items()},
        "tokens": {name: int(missing.sum()) for name, missing in lost.items()},
        "max_length": length,
        "held": float(np.mean(whole <= length)),
    }


def _majority(split: Split) -> float | None:
    """The share of the most frequent class; None for a regression."""
    counts = split.class_counts()
    return max(counts.values()) / sum(counts.values()) if counts else None
