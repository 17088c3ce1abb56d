"""AdamW over the trained weights as two long vectors, and the learning rate of every step."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from .resolved import ResolvedSettings

_FUSED: Final = ("cpu", "cuda")
_MOMENTS: Final = ("exp_avg", "exp_avg_sq")

_UNDECAYED: Final = re.compile(r"\.parametrizations\.|\.adapter_fusion_layer\.[^.]+\.value\.")
"""Matrices that must not decay towards zero: the parametrisation of an orthogonal matrix (ReFT) has a diagonal of ones
that never changes, and a fusion's value matrix is regularised towards the identity."""


def learning_rate(step: int, steps: int, settings: ResolvedSettings) -> float:
    """The learning rate of a step: it rises linearly during warm-up, then stays constant or falls.

    Args:
        step: The step, from 1.
        steps: The number of steps in total.
        settings: The training's settings.
    """
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
        settings: The training's settings.
    """

    def __init__(self, parameters: Iterable[tuple[str, torch.nn.Parameter]], settings: ResolvedSettings) -> None:
        kinds: dict[str, list[torch.nn.Parameter]] = {"matrices": [], "rest": []}
        for name, parameter in parameters:
            decays = parameter.dim() > 1 and not _UNDECAYED.search(name)
            kinds["matrices" if decays else "rest"].append(parameter)
        self.vectors = {name: _flattened(members) for name, members in kinds.items() if members}
        decay = {"matrices": settings.weight_decay, "rest": 0.0}
        device = next(iter(self.vectors.values())).device
        self._max_norm = settings.max_grad_norm
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
        if self._max_norm is not None:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
            scale = (self._max_norm / (norm + 1e-6)).clamp(max=1.0)
            for gradient in gradients:
                gradient.mul_(scale)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.zero_gradients()

    def zero_gradients(self) -> None:
        """Set the gradients to zero."""
        self.adam.zero_grad(set_to_none=False)

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of the weights."""
        return {name: vector.detach().clone() for name, vector in self.vectors.items()}

    @torch.no_grad()
    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Set the weights to those of a ``snapshot``."""
        for name, vector in self.vectors.items():
            vector.copy_(values[name])

    def state(self) -> dict[str, Tensor]:
        """Weights and moments, for a checkpoint; not copied."""
        tensors = {f"weights.{name}": vector.detach() for name, vector in self.vectors.items()}
        for name, vector in self.vectors.items():
            tensors |= {f"{moment}.{name}": self.adam.state[vector][moment] for moment in _MOMENTS}
        return tensors

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor], *, steps: int) -> None:
        """Continue from a ``state`` after this number of steps."""
        self.restore({name: state[f"weights.{name}"] for name in self.vectors})
        for name, vector in self.vectors.items():
            own_state = self.adam.state[vector]
            own_state["step"] = torch.tensor(float(steps), device=vector.device if self._fused else "cpu")
            for moment in _MOMENTS:
                own_state[moment] = state[f"{moment}.{name}"].to(vector.device, copy=True)


def _flattened(parameters: Sequence[torch.nn.Parameter]) -> torch.nn.Parameter:
    """One vector that the parameters and their gradients are views of."""
    flat = torch.nn.Parameter(torch.cat([parameter.detach().reshape(-1) for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.data = flat.data[start:stop].view(parameter.shape)
        parameter.grad = flat.grad[start:stop].view(parameter.shape)
        start = stop
    return flat
