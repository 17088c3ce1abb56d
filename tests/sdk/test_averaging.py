"""The average is the mean of what was added, and nothing else."""

import torch

from pointsman.sdk.averaging import WeightAverage


def test_the_mean_of_what_was_added_is_applied() -> None:
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(3, 4)), torch.nn.Parameter(torch.zeros(5))]
    average = WeightAverage(parameters)
    seen = []
    for _ in range(7):
        with torch.no_grad():
            for parameter in parameters:
                parameter.copy_(torch.randn_like(parameter))
        seen.append([parameter.detach().clone() for parameter in parameters])
        average.add()
    average.apply()
    for index, parameter in enumerate(parameters):
        torch.testing.assert_close(parameter.detach(), torch.stack([step[index] for step in seen]).mean(dim=0))


def test_adding_leaves_the_parameters_alone() -> None:
    parameter = torch.nn.Parameter(torch.randn(4))
    before = parameter.detach().clone()
    average = WeightAverage([parameter])
    average.add()
    average.add()
    assert torch.equal(parameter, before)
    average.apply()
    torch.testing.assert_close(parameter.detach(), before)


def test_nothing_added_changes_nothing() -> None:
    parameter = torch.nn.Parameter(torch.randn(4))
    before = parameter.detach().clone()
    WeightAverage([parameter]).apply()
    assert torch.equal(parameter, before)
