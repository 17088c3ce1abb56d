"""The average is the mean of what was added, and nothing else."""

import torch

from pointsman.sdk.training.averaging import WeightAverage


def test_the_mean_of_what_was_added_is_applied() -> None:
    torch.manual_seed(0)
    vectors = {"matrices": torch.nn.Parameter(torch.zeros(12)), "rest": torch.nn.Parameter(torch.zeros(5))}
    average = WeightAverage(vectors)
    seen = []
    for _ in range(7):
        with torch.no_grad():
            for vector in vectors.values():
                vector.copy_(torch.randn_like(vector))
        seen.append({name: vector.detach().clone() for name, vector in vectors.items()})
        average.add()
    average.apply()
    for name, vector in vectors.items():
        torch.testing.assert_close(vector.detach(), torch.stack([step[name] for step in seen]).mean(dim=0))


def test_an_average_goes_on_from_what_was_kept_of_it() -> None:
    torch.manual_seed(0)
    vector = torch.zeros(6)
    whole, first = WeightAverage({"rest": vector}), WeightAverage({"rest": vector})
    for step in range(5):
        vector.copy_(torch.randn(6))
        whole.add()
        if step < 3:
            first.add()
        elif step == 3:
            second = WeightAverage({"rest": vector})
            second.load(first.mean, first.count)
        if step >= 3:
            second.add()
    assert torch.equal(second.mean["rest"], whole.mean["rest"])


def test_adding_leaves_the_parameters_alone() -> None:
    vector = torch.nn.Parameter(torch.randn(4))
    before = vector.detach().clone()
    average = WeightAverage({"rest": vector})
    average.add()
    average.add()
    assert torch.equal(vector, before)
    average.apply()
    torch.testing.assert_close(vector.detach(), before)


def test_nothing_added_changes_nothing() -> None:
    vector = torch.nn.Parameter(torch.randn(4))
    before = vector.detach().clone()
    WeightAverage({"rest": vector}).apply()
    assert torch.equal(vector, before)
