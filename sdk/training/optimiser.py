"""AdamW over the trained weights as few long vectors, and the learning rate of every step."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from .settings import TrainSettings

_FUSED: Final = ("cpu", "cuda")
_MOMENTS: Final = ("exp_avg", "exp_avg_sq")

_UNDECAYED: Final = re.compile(r"\.parametrizations\.|\.adapter_fusion_layer\.[^.]+\.value\.")
"""Matrices that must not decay towards zero: what torch makes an orthogonal one of (ReFT) has ones on its diagonal that
stay what they are, and a fusion's value matrix is held near the identity."""


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """The learning rate of a step: it rises in a line, reaches its full height, and stays or falls.

    Args:
        step: The step, from 1.
        steps: How many there are.
        settings: Completed settings.
    """
    assert settings.learning_rate is not None
    rising = math.ceil(settings.warmup * steps)
    if step <= rising:
        return settings.learning_rate * (step / rising)
    done = (step - rising - 1) / max(1, steps - rising)
    share = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}
    return settings.learning_rate * share[settings.schedule]


class Optimiser:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) of a model's trainable parameters.

    They become views of two vectors, one of matrices and one of everything else, and so do their gradients: a step, its
    clipping, an average and a checkpoint cost two operations each, however many parameters there are. Only matrices
    decay, but for those of ``_UNDECAYED``.

    Args:
        parameters: What is trained, by name; float32, all on one device.
        settings: Completed settings.
    """

    def __init__(self, parameters: Iterable[tuple[str, torch.nn.Parameter]], settings: TrainSettings) -> None:
        kinds: dict[str, list[torch.nn.Parameter]] = {"matrices": [], "rest": []}
        for name, parameter in parameters:
            decays = parameter.dim() > 1 and not _UNDECAYED.search(name)
            kinds["matrices" if decays else "rest"].append(parameter)
        self.vectors = {name: _flattened(members) for name, members in kinds.items() if members}
        decay = {"matrices": settings.weight_decay, "rest": 0.0}
        device = next(iter(self.vectors.values())).device
        self._most = settings.max_grad_norm
        self._fused = device.type in _FUSED
        self.adam = torch.optim.AdamW(
            [{"params": [vector], "weight_decay": decay[name]} for name, vector in self.vectors.items()],
            lr=0.0,
            fused=self._fused,
        )

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Clip the gradients, step at this learning rate, and set the gradients to zero."""
        gradients = [vector.grad for vector in self.vectors.values() if vector.grad is not None]
        if self._most is not None:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
            scale = (self._most / (norm + 1e-6)).clamp(max=1.0)
            for gradient in gradients:
                gradient.mul_(scale)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.forget()

    def forget(self) -> None:
        """Set the gradients to zero."""
        self.adam.zero_grad(set_to_none=False)

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the weights."""
        return {name: vector.detach().clone() for name, vector in self.vectors.items()}

    @torch.no_grad()
    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Set the weights to what ``snapshot`` gave."""
        for name, vector in self.vectors.items():
            vector.copy_(values[name])

    def state(self) -> dict[str, Tensor]:
        """Weights and moments, for a checkpoint; not copied."""
        found = {f"weights.{name}": vector.detach() for name, vector in self.vectors.items()}
        for name, vector in self.vectors.items():
            found |= {f"{moment}.{name}": self.adam.state[vector][moment] for moment in _MOMENTS}
        return found

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor], *, steps: int) -> None:
        """Go on from what ``state`` gave after so many steps."""
        self.restore({name: state[f"weights.{name}"] for name in self.vectors})
        for name, vector in self.vectors.items():
            kept = self.adam.state[vector]
            kept["step"] = torch.tensor(float(steps), device=vector.device if self._fused else "cpu")
            for moment in _MOMENTS:
                kept[moment] = state[f"{moment}.{name}"].to(vector.device, copy=True)


def _flattened(parameters: Sequence[torch.nn.Parameter]) -> torch.nn.Parameter:
    """One vector that the parameters and their gradients are views of."""
    flat = torch.nn.Parameter(torch.cat([parameter.detach().reshape(-1) for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        place = slice(start, start + parameter.numel())
        parameter.data = flat.data[place].view(parameter.shape)
        parameter.grad = flat.grad[place].view(parameter.shape)
        start = place.stop
    return flat
