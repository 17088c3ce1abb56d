"""What the rows of a training cannot teach or score: refused before it starts."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from pointsman.registry.errors import DataError

from ..data.splits import Split
from ..tasks import kind_of

ROUNDED: Final = 0.01
"""Scores that float32 rounds to more than this share of their standard deviation are refused."""


def check_rows(train_rows: Split, evaluations: Mapping[str, Split]) -> None:
    """Refuse rows that are all of one class or score, and scores that are alike in all digits that float32 has.

    Args:
        train_rows: The rows to train on, as many as the settings leave.
        evaluations: The rows to evaluate on, likewise, by the prefix of their metrics.

    Raises:
        DataError: Every row to learn from, or to evaluate on, has the same label, or rounding leaves too little of the
            differences between scores.
    """
    if constant := _constant(train_rows):
        raise DataError(
            f"every {constant} in the {len(train_rows)} training rows of '{train_rows.task.name}'; there is nothing to "
            "learn from that; give rows of other labels too, or raise max_train_rows where it is set"
        )
    _check_rounding(train_rows)
    for prefix, split in evaluations.items():
        if constant := _constant(split):
            raise DataError(
                f"every {constant} in the {len(split)} validation rows ({prefix}); always giving that answer would be "
                "right, so their score says nothing; give rows of other labels too, or raise max_eval_rows where it "
                "is set"
            )


def _check_rounding(train_rows: Split) -> None:
    """Refuse scores whose differences are few steps of float32, in which files hold them and heads answer."""
    labels = train_rows.labels()
    scale = kind_of(train_rows.task).target_scale(labels)
    if scale is None:
        return
    step = float(np.spacing(np.abs(labels).max()))
    if step > ROUNDED * scale.deviation:
        raise DataError(
            f"the scores of the training rows differ by {scale.deviation:.3g} (standard deviation) around "
            f"{scale.mean:.10g}, where float32 has steps of {step:g}, so rounding takes over 1 % of their differences; "
            f"subtract a constant, such as {scale.mean:.3g}, from every score"
        )


def _constant(split: Split) -> str | None:
    """The label of a split that has only one, for a message; None where it has several."""
    labels = split.labels()
    return kind_of(split.task).describe_label(split.task, labels[0]) if len(np.unique(labels)) == 1 else None
