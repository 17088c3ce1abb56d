"""Rows in batches sorted by length: each row once, no batch too large, and results in the order of the rows again."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pointsman.sdk.data.batches import in_row_order, sorted_batches

LENGTHS = st.lists(st.integers(2, 9), min_size=1, max_size=40)


@given(lengths=LENGTHS, batch_rows=st.integers(1, 7), exact_lengths=st.booleans())
def test_batches_hold_each_row_once_longest_first(lengths: list[int], batch_rows: int, exact_lengths: bool) -> None:
    array = np.asarray(lengths)
    batches = list(sorted_batches(array, batch_rows, exact_lengths=exact_lengths))
    order = np.concatenate(batches)
    assert order.tolist() == sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    assert max(len(batch) for batch in batches) <= batch_rows
    if exact_lengths:
        assert all(len(set(array[batch])) == 1 for batch in batches)
    rows = torch.arange(len(lengths)) * 10.0
    parts = [rows[torch.from_numpy(batch)].unsqueeze(1) for batch in batches]
    assert torch.equal(in_row_order(parts, batches), rows.unsqueeze(1))


@given(groups=st.lists(st.integers(0, 6), min_size=1, max_size=40), batch_rows=st.integers(1, 7), exact=st.booleans())
def test_no_batch_ends_inside_a_group_that_fits_into_it(groups: list[int], batch_rows: int, exact: bool) -> None:
    """A group's rows are of one length, as the rows of one text are."""
    array = np.asarray(groups)
    batches = list(sorted_batches(array % 3 + 2, batch_rows, exact_lengths=exact, groups=array))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(groups)))
    assert max(len(batch) for batch in batches) <= batch_rows
    for group, rows in zip(*np.unique(array, return_counts=True), strict=True):
        parts = sum(bool((array[batch] == group).any()) for batch in batches)
        if rows <= batch_rows:
            assert parts == 1
        else:
            assert parts == -(-rows // batch_rows)


@pytest.mark.parametrize("exact_lengths", [False, True])
def test_groups_of_one_row_change_nothing(exact_lengths: bool) -> None:
    lengths = np.random.default_rng(0).integers(2, 9, 50)
    plain = sorted_batches(lengths, 8, exact_lengths=exact_lengths)
    grouped = sorted_batches(lengths, 8, exact_lengths=exact_lengths, groups=np.arange(50))
    for one, other in zip(plain, grouped, strict=True):
        assert one.tolist() == other.tolist()
