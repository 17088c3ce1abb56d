"""What the rows of a training cannot teach or score: refused before it starts."""

from collections.abc import Mapping

import numpy as np

from pointsman.registry.errors import DataError

from ..data.splits import Split
from ..tasks import kind_of


def check_rows(train_rows: Split, evaluations: Mapping[str, Split]) -> None:
    """Refuse rows that are all of one class or score.

    Args:
        train_rows: The rows to train on, as many as the settings leave.
        evaluations: The rows to evaluate on, likewise, by the prefix of their metrics.

    Raises:
        DataError: Every row to learn from, or to evaluate on, has the same label.
    """
    if constant := _constant(train_rows):
        raise DataError(
            f"every {constant} in the {len(train_rows)} training rows; there is nothing to learn from that; give rows "
            "of other labels too, or raise max_train_rows where it is set"
        )
    for prefix, split in evaluations.items():
        if constant := _constant(split):
            raise DataError(
                f"every {constant} in the {len(split)} validation rows ({prefix}); always giving that answer would be "
                "right, so their score says nothing; give rows of other labels too, or raise max_eval_rows where it "
                "is set"
            )


def _constant(split: Split) -> str | None:
    """The label of a split that has only one, for a message; None where it has several."""
    labels = split.labels()
    return kind_of(split.task).describe_label(split.task, labels[0]) if len(np.unique(labels)) == 1 else None
