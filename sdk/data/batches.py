"""Batches of rows of similar length."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np


def round_length(tokens: int) -> int:
    """The next of few lengths: all up to 16, then every second, fourth and eighth up to 32, 64 and on.

    oneDNN makes a program for every shape that it multiplies in bf16, half a megabyte each, and keeps a thousand: a
    tenth more padding at most, 3 % in the mean, halves their number.
    """
    step = 1 if tokens <= 16 else 2 if tokens <= 32 else 4 if tokens <= 64 else 8
    return -(-tokens // step) * step


def cut(
    lengths: np.ndarray[Any, np.dtype[np.int64]], batch_rows: int, *, exact_lengths: bool = False
) -> Iterator[slice]:
    """Cut rows that are sorted by length into batches, as slices.

    Args:
        lengths: Tokens of each row, ``(rows,)``.
        batch_rows: Rows in a batch at most.
        exact_lengths: Also cut wherever the length changes, so that no batch needs padding.
    """
    borders = np.flatnonzero(np.diff(lengths)) + 1 if exact_lengths else np.empty(0, dtype=np.int64)
    edges = [0, *borders.tolist(), len(lengths)]
    for first, last in pairwise(edges):
        for start in range(first, last, batch_rows):
            yield slice(start, min(start + batch_rows, last))


class LengthBuckets:
    """Batches of rows of like length, in an order that is random and given by the seed.

    Rows are shuffled, then sorted by length inside pools of many batches, cut into batches, and the batches shuffled:
    little padding, and no row's neighbours are the same in two epochs.

    Args:
        lengths: Tokens of each row, ``(rows,)``.
        batch_size: Rows in a batch; the last of a pool may have fewer.
        seed: Gives the order of every epoch.
        exact_lengths: Never pad: all rows of a batch have the same length, and batches may be smaller.
    """

    POOL: Final = 64
    """Batches that are sorted together."""

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
        # Without padding, only one pool of all rows fills its batches, and has the same number of them every epoch.
        self._pool = max(len(lengths), 1) if exact_lengths else self.POOL * batch_size
        self._count = math.ceil(len(lengths) / batch_size)
        if exact_lengths:
            self._count = sum(1 for _ in cut(np.sort(lengths), batch_size, exact_lengths=True))

    def __len__(self) -> int:
        return self._count

    def largest(self) -> list[int]:
        """The rows of the batch with the most tokens that there can be."""
        order = np.argsort(-self._lengths, kind="stable")
        lengths = self._lengths[order]
        batches = cut(lengths, self._batch_size, exact_lengths=self._exact_lengths)
        most = max(batches, key=lambda chosen: (chosen.stop - chosen.start) * lengths[chosen.start])
        return [int(row) for row in order[most]]

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of a pass over the rows, the same ones whenever it is asked for."""
        random = np.random.default_rng((self._seed, number))
        order = random.permutation(len(self._lengths))
        batches: list[list[int]] = []
        for start in range(0, len(order), self._pool):
            pool = order[start : start + self._pool]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            cuts = cut(self._lengths[pool], self._batch_size, exact_lengths=self._exact_lengths)
            batches += [pool[chosen].tolist() for chosen in cuts]
        return [batches[batch] for batch in random.permutation(len(batches))]
