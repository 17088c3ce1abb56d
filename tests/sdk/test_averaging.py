"""The average is the mean that polynomial decay gives, whenever it is asked for, and changes nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pointsman.sdk.training.weight_average import WeightAverage


@given(share=st.floats(0.01, 1), steps=st.integers(1, 40))
def test_each_step_has_the_part_that_polynomial_decay_gives_it(share: float, steps: int) -> None:
    """Shamir & Zhang 2013: step ``t`` comes in with ``(eta + 1) / (t + eta)``, and the rest shrinks by as much."""
    generator = torch.Generator().manual_seed(steps)
    seen = torch.randn(steps, 6, dtype=torch.float64, generator=generator)
    vector = torch.zeros(6, dtype=torch.float64)
    average = WeightAverage({"rest": vector}, share)
    for step, now in enumerate(seen, 1):
        vector.copy_(now)
        average.add(step)
    eta = 1 / share - 1
    parts = [(eta + 1) / (step + eta) for step in range(1, steps + 1)]
    left = [torch.tensor([1 - part for part in parts[step + 1 :]], dtype=torch.float64).prod() for step in range(steps)]
    expected = sum(part * rest * now for part, rest, now in zip(parts, left, seen, strict=True))
    with average.applied():
        torch.testing.assert_close(vector, expected)
    assert torch.equal(vector, seen[-1])


def test_a_share_of_one_is_the_plain_mean() -> None:
    seen = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    vector = torch.zeros(4)
    average = WeightAverage({"rest": vector}, 1)
    for step, now in enumerate(seen, 1):
        vector.copy_(now)
        average.add(step)
    torch.testing.assert_close(average.mean["rest"], seen.mean(dim=0))


def test_the_age_of_the_mean_is_a_share_of_the_steps_so_far() -> None:
    """What was added are the steps' own numbers: the mean is a tenth and a sixth behind, early and late."""
    for share, behind in ((1 / 9, 0.1), (0.2, 1 / 6)):
        vector = torch.zeros(1, dtype=torch.float64)
        average = WeightAverage({"rest": vector}, share)
        for step in range(1, 1001):
            vector.fill_(step)
            average.add(step)
            if step in (100, 1000):
                assert 1 - float(average.mean["rest"]) / step == pytest.approx(behind, rel=0.02)


def test_an_average_goes_on_from_what_was_kept_of_it() -> None:
    torch.manual_seed(0)
    vector = torch.zeros(6)
    whole, first = WeightAverage({"rest": vector}, 0.2), WeightAverage({"rest": vector}, 0.2)
    second = WeightAverage({"rest": vector}, 0.2)
    for step in range(1, 6):
        vector.copy_(torch.randn(6))
        whole.add(step)
        if step < 4:
            first.add(step)
        elif step == 4:
            second.load(first.mean)
        if step >= 4:
            second.add(step)
    assert torch.equal(second.mean["rest"], whole.mean["rest"])


def test_the_vectors_are_what_they_were_whatever_happens() -> None:
    vector = torch.nn.Parameter(torch.ones(4))
    average = WeightAverage({"rest": vector}, 0.5)
    average.add(1)
    with torch.no_grad():
        vector.mul_(3)
    average.add(2)

    def look_and_leave() -> None:
        with average.applied():
            assert 1 < float(vector[0].detach()) < 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look_and_leave()
    assert torch.equal(vector.detach(), torch.full((4,), 3.0))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_nothing_averaged_changes_nothing(share: float) -> None:
    vector = torch.nn.Parameter(torch.randn(4))
    before = vector.detach().clone()
    average = WeightAverage({"rest": vector}, share)
    if share == 0:
        average.add(1)
    with average.applied():
        assert torch.equal(vector.detach(), before)
    assert not average.mean
