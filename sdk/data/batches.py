"""Batches of rows of similar length."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch

Integers = np.ndarray[Any, np.dtype[np.int64]]


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

    Examples:
        >>> list(cut(np.array([3, 3, 4]), 2, exact_lengths=True))
        [slice(0, 2, None), slice(2, 3, None)]
    """
    borders = np.flatnonzero(np.diff(lengths)) + 1 if exact_lengths else np.empty(0, dtype=np.int64)
    edges = [0, *borders.tolist(), len(lengths)]
    for first, last in pairwise(edges):
        for start in range(first, last, batch_rows):
            yield slice(start, min(start + batch_rows, last))


def sorted_batches(
    lengths: Integers, batch_rows: int, *, exact_lengths: bool = False, groups: Integers | None = None
) -> Iterator[Integers]:
    """Batches of row indices, sorted by length; ``in_row_order`` undoes the sorting.

    The longest rows come first: a batch that does not fit into memory fails at once, and buffers are at their largest
    from the beginning.

    Args:
        lengths: Tokens of each row, ``(rows,)``.
        batch_rows: Rows in a batch at most.
        exact_lengths: Only put rows of one length into a batch, so that none needs padding.
        groups: The group of each row, ``(rows,)``, all of one length: no batch ends inside a group that fits into it.

    Examples:
        >>> [batch.tolist() for batch in sorted_batches(np.array([3, 5, 4]), 2)]
        [[1, 2], [0]]
    """
    order = np.argsort(-lengths, kind="stable") if groups is None else np.lexsort((groups, -lengths))
    if groups is None:
        slices = cut(lengths[order], batch_rows, exact_lengths=exact_lengths)
    else:
        slices = _cut_between_groups(lengths[order], groups[order], batch_rows, exact_lengths=exact_lengths)
    for batch in slices:
        yield order[batch]


def in_row_order(parts: Sequence[torch.Tensor], batches: Sequence[Integers]) -> torch.Tensor:
    """The results of batches as one tensor, in the order of the rows.

    Args:
        parts: The result of each batch, ``(rows of the batch, ...)``.
        batches: The row indices of each batch; together, every row once.
    """
    joined = torch.cat(list(parts))
    result = torch.empty_like(joined)
    result[torch.from_numpy(np.concatenate(batches))] = joined
    return result


def _cut_between_groups(
    lengths: Integers, groups: Integers, batch_rows: int, *, exact_lengths: bool
) -> Iterator[slice]:
    """Cut rows that are sorted by length and group into batches, and none inside a group that fits into one."""
    for part in cut(lengths, len(lengths), exact_lengths=exact_lengths):
        start = part.start
        while start < part.stop:
            stop = min(start + batch_rows, part.stop)
            if stop < part.stop and groups[stop - 1] == groups[stop]:
                group_start = start + int(np.argmax(groups[start:stop] == groups[stop]))
                stop = group_start if group_start > start else stop
            yield slice(start, stop)
            start = stop


class LengthBuckets:
    """Batches of rows of similar length, in a random order that the seed determines.

    Rows are shuffled, then sorted by length inside pools of many batches, cut into batches, and the batches shuffled:
    little padding, and a row has other neighbours in every epoch.

    Args:
        lengths: Tokens of each row, ``(rows,)``.
        batch_size: Rows in a batch; the last of a pool may have fewer.
        seed: Determines the order of every epoch.
        exact_lengths: Never pad: all rows of a batch have the same length, and batches may be smaller.

    Examples:
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
