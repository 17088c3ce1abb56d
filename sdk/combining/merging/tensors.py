"""The tensors of merged adapters, by the recipe: which formula, on which tensor."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pointsman.registry.errors import SettingsError

from ...formats.native import ModuleState
from . import formulas
from .members import Member
from .recipe import Recipe

Tensors = Mapping[str, Tensor]


def merged_adapter(members: Sequence[Member], recipe: Recipe) -> ModuleState:
    """The adapter that a recipe makes of its members: computed in float64, stored in the members' own type.

    Tensor by tensor, also where the papers of TIES and DARE speak of one long vector of all weights: an adapter's
    tensors are of different scales, and with them in one vector, LoRA's A, which begins at random, would be kept and
    its B, which begins at zero, be trimmed away.

    Raises:
        SettingsError: A rank greater than the matrices' own.
    """
    first = members[0]
    config = dict(first.version.config)
    if recipe.how == "svd":
        config["r"] = recipe.rank or config["r"]
        tensors = _svd(members, recipe, config["r"], scaling=config["alpha"] / config["r"])
    else:
        generator = torch.Generator().manual_seed(recipe.seed or 0)
        tensors = {
            key: _merged(key, [member.adapter.tensors for member in members], recipe, generator)
            for key in sorted(first.adapter.tensors)
        }
    own = first.adapter.tensors
    return ModuleState(config=config, tensors={key: tensor.to(own[key].dtype) for key, tensor in tensors.items()})


def merged_head(members: Sequence[Member], recipe: Recipe) -> ModuleState:
    """The weighted mean of the members' heads."""
    head = members[0].head
    return ModuleState(
        config=head.config,
        tensors={
            key: formulas.weighted_sum([member.head.tensors[key] for member in members], recipe.weights).to(own.dtype)
            for key, own in head.tensors.items()
        },
    )


def _merged(key: str, members: Sequence[Tensors], recipe: Recipe, generator: torch.Generator) -> Tensor:
    """One tensor of the outcome."""
    if recipe.how == "linear":
        return formulas.weighted_sum([tensors[key] for tensors in members], recipe.weights)
    neutral = _neutral(key, members[0])
    vectors = [tensors[key].double() - neutral for tensors in members]
    match recipe.how:
        case "arithmetic":
            vector = formulas.signed_sum(vectors, recipe.weights, negated=_is_negated(key))
        case "ties":
            assert recipe.density is not None
            assert recipe.scale is not None
            vector = formulas.ties(vectors, recipe.weights, density=recipe.density, scale=recipe.scale)
        case _:
            assert recipe.density is not None
            left = [formulas.drop(vector, density=recipe.density, generator=generator) for vector in vectors]
            vector = formulas.weighted_sum(left, recipe.weights)
    return vector + neutral


def _neutral(key: str, tensors: Tensors) -> float:
    """The value at which a tensor does nothing: 1 for what multiplies, a learned scale or a vector of (IA)³."""
    is_ia3 = key.endswith(".lora_B") and f"{key.removesuffix('B')}A" not in tensors
    return 1.0 if is_ia3 or key.endswith(".scaling") else 0.0


def _is_negated(key: str) -> bool:
    """Whether negating an adapter negates this tensor.

    LoRA's ``B``; a bottleneck's up-projection with its bias, since the non-linearity is before it; and (IA)³'s vectors
    about 1: ``2 - l`` (Zhang et al. 2023, arXiv:2306.14870).
    """
    return key.endswith(".lora_B") or ".adapter_up." in key


def _svd(members: Sequence[Member], recipe: Recipe, rank: int, *, scaling: float) -> dict[str, Tensor]:
    """LoRAs of the rank that are nearest to the weighted sums of the members' updates."""
    tensors: dict[str, Tensor] = {}
    for key in sorted(key for key in members[0].adapter.tensors if key.endswith(".lora_A")):
        other = f"{key.removesuffix('A')}B"
        deltas = [
            formulas.delta(member.adapter.tensors[key], member.adapter.tensors[other]) * member.scaling
            for member in members
        ]
        total = formulas.weighted_sum(deltas, recipe.weights) / scaling
        greatest = min(total.shape[1:])
        if rank > greatest:
            raise SettingsError(f"rank has to be at most {greatest}, that of the greatest matrices here; found {rank}")
        tensors[key], tensors[other] = formulas.truncated(total, rank)
    return tensors
