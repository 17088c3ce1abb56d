"""The optimiser on long vectors is torch's AdamW, parameter by parameter."""

from collections.abc import Callable

import torch

from pointsman.sdk.training.optimiser import Optimiser
from pointsman.sdk.training.resolved import ResolvedSettings
from pointsman.sdk.training.settings import TrainSettings

SHAPES = {
    "bert.encoder.layer.0.output.adapters.slot.adapter_down.0.weight": (3, 8),
    "bert.encoder.layer.0.output.adapters.slot.adapter_down.0.bias": (3,),
    "bert.encoder.layer.0.refts.slot.parametrizations.weight.original": (4, 2),
    "heads.slot.1.weight": (5, 8),
    "heads.slot.1.bias": (5,),
}


def test_it_steps_as_adamw_does_with_clipping_and_decay_of_matrices(resolved: Callable[..., ResolvedSettings]) -> None:
    torch.manual_seed(3)
    settings = resolved(TrainSettings(learning_rate=0.01, weight_decay=0.5, max_grad_norm=2.0, batch_size=16))
    ours = {name: torch.nn.Parameter(torch.randn(shape)) for name, shape in SHAPES.items()}
    theirs = {name: torch.nn.Parameter(parameter.detach().clone()) for name, parameter in ours.items()}
    optimiser = Optimiser(ours.items(), settings)
    adam = torch.optim.AdamW(
        [
            {"params": [parameter], "weight_decay": 0.5 if name.endswith(".weight") else 0.0}
            for name, parameter in theirs.items()
        ],
        lr=0.01,
    )
    for _ in range(5):
        for one, other in zip(ours.values(), theirs.values(), strict=True):
            assert one.grad is not None
            other.grad = torch.randn(one.shape)
            one.grad.copy_(other.grad)
        torch.nn.utils.clip_grad_norm_(theirs.values(), 2.0)
        adam.step()
        optimiser.step(0.01)
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter, theirs[name], rtol=1e-5, atol=1e-6)
