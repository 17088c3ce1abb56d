"""Each formula of merging against its paper's definition: by hand on known numbers, and entry by entry."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pointsman.sdk.combining.merging import formulas
from pointsman.sdk.combining.merging.search import MOST, grid

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_weighted_mean_by_hand() -> None:
    mean = formulas.weighted_sum([numbers(1, 2), numbers(3, -6)], [0.25, 0.75])
    assert mean.tolist() == [2.5, -4.0]


@given(st.lists(FLOAT32, min_size=1, max_size=20), st.sampled_from([(0.5, 0.5), (1 / 3,) * 3, (0.3, 0.7), (0.1,) * 10]))
def test_the_mean_of_the_same_is_the_same_bit_for_bit(values: list[float], weights: tuple[float, ...]) -> None:
    tensor = torch.tensor(values, dtype=torch.float32)
    mean = formulas.weighted_sum([tensor] * len(weights), weights).to(torch.float32)
    assert torch.equal(mean.view(torch.int32), tensor.view(torch.int32))


def test_addition_and_negation_by_hand() -> None:
    """Zhang et al. 2023: to negate LoRA is to negate B and to leave A; to add is to add each with each."""
    a, b = [numbers(1, 2), numbers(3, 5)], [numbers(7, 0), numbers(-1, 4)]
    assert formulas.signed_sum(a, [1, -2], negated=False).tolist() == [1 + 2 * 3, 2 + 2 * 5]
    assert formulas.signed_sum(b, [1, -2], negated=True).tolist() == [7 + 2 * 1, -2 * 4]
    assert formulas.signed_sum(a[:1], [-1], negated=False).tolist() == [1, 2]
    assert formulas.signed_sum(b[:1], [-1], negated=True).tolist() == [-7, 0]


@pytest.mark.parametrize(
    ("density", "kept"),
    [
        (0.01, [0, 0, 0, 0, -9]),
        (0.2, [0, 0, 0, 0, -9]),
        (0.4, [0, 0, 0, 4, -9]),
        (0.6, [3, 0, -3, 4, -9]),
        (1, [3, 0.5, -3, 4, -9]),
    ],
)
def test_trimming_keeps_the_greatest(density: float, kept: list[float]) -> None:
    assert formulas.trim(numbers(3, 0.5, -3, 4, -9), density).tolist() == kept


def test_ties_by_hand() -> None:
    """The three steps of Yadav et al. 2023, with density 0.75 and λ 2; then as members of unlike weights.

    ::

        vectors        1  -2   4  0.1    trimmed    1  -2   4   0
                       3   5   6  0.2               3   5   6   0
                      -8   1   2  0.3              -8   1   2   0
        sums                                       -4   4  12   0
        those of that sign                         -8  5,1 4,6,2  none
        their mean, doubled                       -16   6   8   0
    """
    vectors = [numbers(1, -2, 4, 0.1), numbers(3, 5, 6, 0.2), numbers(-8, 1, 2, 0.3)]
    assert formulas.ties(vectors, [1 / 3] * 3, density=0.75, scale=2).tolist() == [-16, 6, 8, 0]
    assert formulas.ties(vectors, [0, 0.5, 0.25], density=0.75, scale=1).tolist() == [-8, 11 / 3, 14 / 3, 0]


def ties_of_the_paper(vectors: Sequence[Sequence[float]], kept: int, scale: float) -> list[float]:
    """Algorithm 1 of the paper for vectors without two entries of one size, entry by entry."""
    trimmed = []
    for vector in vectors:
        least = sorted(map(abs, vector), reverse=True)[kept - 1]
        trimmed.append([value if abs(value) >= least else 0.0 for value in vector])
    merged = []
    for column in zip(*trimmed, strict=True):
        total = math.fsum(column)
        agreeing = [value for value in column if total * value > 0]
        merged.append(scale * math.fsum(agreeing) / len(agreeing) if agreeing else 0.0)
    return merged


@given(st.lists(st.permutations([-8, -5, -3, 1, 2, 4, 6, 7]), min_size=2, max_size=4), st.integers(1, 8))
def test_ties_entry_by_entry(vectors: list[list[int]], kept: int) -> None:
    merged = formulas.ties(
        [numbers(*v) for v in vectors], [1 / len(vectors)] * len(vectors), density=kept / 8, scale=1.5
    )
    assert merged.tolist() == pytest.approx(ties_of_the_paper(vectors, kept, 1.5))


def test_dare_drops_at_random_and_scales_up_what_stays() -> None:
    vector = torch.linspace(-3, 3, 10_000, dtype=torch.float64)

    def dropped(seed: int) -> torch.Tensor:
        return formulas.drop(vector, density=0.25, generator=torch.Generator().manual_seed(seed))

    one = dropped(1)
    stays = one != 0
    assert torch.equal(one[stays], vector[stays] / 0.25)
    assert stays.double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(one, dropped(1))
    assert not torch.equal(one, dropped(2))
    expected = torch.stack([dropped(seed) for seed in range(400)]).mean(0)
    assert (expected - vector).square().mean().sqrt().item() == pytest.approx(0, abs=0.2)
    assert torch.equal(formulas.drop(vector, density=1, generator=torch.Generator()), vector)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_loras_update_is_what_the_library_adds(groups: int) -> None:
    """With one group a product; with several, as for queries, keys and values in one layer, a grouped convolution."""
    a, b = torch.randn(groups * 3, 5, dtype=torch.float64), torch.randn(groups * 7, 3, dtype=torch.float64)
    x = torch.randn(4, 5, dtype=torch.float64)
    applied = torch.nn.functional.conv1d((x @ a.T).T, b.unsqueeze(2), groups=groups).T
    torch.testing.assert_close(x @ formulas.delta(a, b).flatten(0, 1).T, applied)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_the_nearest_matrix_of_a_rank(rank: int) -> None:
    """Eckart & Young: what is missing is as great as the singular values left out; nothing, where none is."""
    total = np.random.default_rng(0).normal(size=(2, 7, 5))
    a, b = formulas.truncated(torch.from_numpy(total), rank)
    assert (a.shape, b.shape) == ((2 * rank, 5), (14, rank))
    missing = formulas.delta(a, b).numpy() - total
    for one, whole in zip(missing, total, strict=True):
        left_out = np.linalg.svd(whole, compute_uv=False)[rank:]
        assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(left_out), abs=1e-12)


@pytest.mark.parametrize(("members", "count"), [(2, 11), (3, 67), (4, 57), (5, 36), (6, 57), (12, 13), (70, 71)])
def test_the_grid_of_a_search(members: int, count: int) -> None:
    found = grid(members)
    assert len(found) == len(set(found)) == count
    assert found[0] == (1 / members,) * members
    assert all(len(point) == members and min(point) >= 0 and sum(point) == pytest.approx(1) for point in found)
    assert {tuple(float(i == own) for i in range(members)) for own in range(members)} <= set(found)
    assert count <= max(MOST, members) + 1
