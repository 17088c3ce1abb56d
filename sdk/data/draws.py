"""Draws of rows that keep every class: a part that is held out, and a smaller sample."""

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

Rows = NDArray[np.int64]
"""Row numbers."""


def hold_out(labels: NDArray[Any], *, share: float, seed: int, stratified: bool) -> tuple[Rows, Rows]:
    """Draw a part of the rows to be held out; both parts are in the order of the rows.

    The part has ``share`` of the rows, at least as many as there are classes and at most half.

    Args:
        labels: Class ids or scores, ``(rows,)``.
        share: Above 0 and at most 0.5.
        seed: Determines the draw.
        stratified: Draw from every class in proportion, and at least one row of it into each part: every class has two
            rows or more.

    Returns:
        The rows that stay, and those that are held out.
    """
    classes = len(np.unique(labels)) if stratified else 0
    # At most half, so that a class of two rows keeps one of them.
    count = min(max(ceil(len(labels) * share), classes), len(labels) // 2)
    kept, out = train_test_split(
        np.arange(len(labels)), test_size=count, random_state=seed, stratify=labels if stratified else None
    )
    if stratified:
        # In proportion, a class of a few rows among thousands may have none in a part.
        out, kept = _with_every_class(out, kept, labels)
        kept, out = _with_every_class(kept, out, labels)
    return np.sort(kept), np.sort(out)


def sample(labels: NDArray[Any], *, rows: int, seed: int, every_class: bool) -> Rows:
    """Draw ``rows`` rows, in the order drawn.

    A smaller sample is the beginning of a larger one of the same seed, but for the rows that bring a class in which
    would have none.

    Args:
        labels: Class ids or scores, ``(all rows,)``.
        rows: At most as many as there are; with ``every_class``, at least one for each class.
        seed: Determines the draw.
        every_class: Draw at least one row of every class.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    drawn, others = order[:rows], order[rows:]
    return _with_every_class(drawn, others, labels)[0] if every_class else drawn


def _with_every_class(drawn: Rows, others: Rows, labels: NDArray[Any]) -> tuple[Rows, Rows]:
    """Exchange rows so that ``drawn`` has every class, for those drawn last of the class that has most of them."""
    drawn, others = drawn.copy(), others.copy()
    for missing in np.setdiff1d(labels[others], labels[drawn]):
        classes, counts = np.unique(labels[drawn], return_counts=True)
        leaving = np.flatnonzero(labels[drawn] == classes[counts.argmax()])[-1]
        coming = np.flatnonzero(labels[others] == missing)[0]
        drawn[leaving], others[coming] = others[coming], drawn[leaving]
    return drawn, others
