"""Batches of rows of similar length."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np


def round_length(tokens: int) -> int:
    """Round a length up: to a multiple of 1 up to 16 tokens, of 2 up to 32, of 4 up to 64, and of 8 above.

    oneDNN compiles a program for every shape that it multiplies in bf16, half a megabyte each, and keeps a thousand:
    at most a tenth more padding, 3 % in the mean, halves their number.
    """
    step = 1 if tokens <= 16 else 2 if tokens <= 32 else 4 if tokens <= 64 else 8
    return -(-tokens // step) * step


def cut(
    lengths: np.ndarray[Any, np.dtype[np.int64]], batch_rows: int, *, exact_lengths: bool = False
) -> Iterator[slice]:
    """Cut rows that are sorted by length into batches, as slices.

    Args:
        lengths: Tokens of each row, ``(rows,)``.
        batch_rows: The most rows in a batch.
        exact_lengths: Also cut where the length changes, so that no batch needs padding.

    Example:
        >>> list(cut(np.array([3, 3, 4]), 2, exact_lengths=True))
        [slice(0, 2, None), slice(2, 3, None)]
    """
    borders = np.flatnonzero(np.diff(lengths)) + 1 if exact_lengths else np.empty(0, dtype=np.int64)
    edges = [0, *borders.tolist(), len(lengths)]
    for first, last in pairwise(edges):
        for start in range(first, last, batch_rows):
            yield slice(start, min(start + batch_rows, last))


class LengthBuckets:
    """Batches of rows of similar length, in a random order that the seed determines.

    Rows are shuffled, then sorted by length inside pools of many batches, cut into batches, and the batches shuffled:
    little padding, and a row has other neighbours in every epoch.

    Args:
        lengths: Tokens of each row, ``(rows,)``.
        batch_size: Rows in a batch; the last of a pool may have fewer.
        seed: Determines the order of every epoch.
        exact_lengths: Never pad: all rows of a batch have the same length, and batches may be smaller.

    Example:
        >>> buckets = LengthBuckets(rows.lengths, batch_size=32, seed=0)
        >>> for batch in buckets.epoch(0):
        ...     inputs = rows.batch(batch)
    """

    POOL: Final = 64
    """The batches whose rows are sorted together."""

    def __init__(
        self,
        lengths: np.ndarray[Any, np.dtype[np.int64]],
        *,
        batch_size: int,
        seed: int,
        exact_lengths: bool = False,
    ) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._exact_lengths = exact_lengths
        # Without padding, only one pool of all rows fills its batches and has the same number of them in every epoch.
        self._pool = max(len(lengths), 1) if exact_lengths else self.POOL * batch_size
        self._count = math.ceil(len(lengths) / batch_size)
        if exact_lengths:
            self._count = sum(1 for _ in cut(np.sort(lengths), batch_size, exact_lengths=True))

    def __len__(self) -> int:
        return self._count

    def largest(self) -> list[int]:
        """The rows of the largest batch possible, in tokens."""
        order = np.argsort(-self._lengths, kind="stable")
        lengths = self._lengths[order]
        batches = cut(lengths, self._batch_size, exact_lengths=self._exact_lengths)
        largest = max(batches, key=lambda batch: (batch.stop - batch.start) * lengths[batch.start])
        return [int(row) for row in order[largest]]

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of an epoch, the same in every call."""
        random = np.random.default_rng((self._seed, number))
        order = random.permutation(len(self._lengths))
        batches: list[list[int]] = []
        for start in range(0, len(order), self._pool):
            pool = order[start : start + self._pool]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            cuts = cut(self._lengths[pool], self._batch_size, exact_lengths=self._exact_lengths)
            batches += [pool[rows].tolist() for rows in cuts]
        return [batches[batch] for batch in random.permutation(len(batches))]
