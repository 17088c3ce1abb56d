"""The tensors of a merged version: the recipe's formula on each tensor of its members."""

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
    """Merge the adapters of the members: computed in float64, stored in the members' own type.

    Each tensor is merged by itself, also where the papers of TIES and DARE take all weights as one vector: an adapter's
    tensors have different scales, and in one vector LoRA's A, which starts at random values, would be kept and its B,
    which starts at zero, would be trimmed.

    Raises:
        SettingsError: The rank is greater than that of the matrices.
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
    """One merged tensor."""
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
            dropped = [formulas.drop(vector, density=recipe.density, generator=generator) for vector in vectors]
            vector = formulas.weighted_sum(dropped, recipe.weights)
    return vector + neutral


def _neutral(key: str, tensors: Tensors) -> float:
    """The value at which a tensor changes nothing: 1 for a factor (a learned scale, a vector of (IA)³), else 0."""
    is_ia3 = key.endswith(".lora_B") and f"{key.removesuffix('B')}A" not in tensors
    return 1.0 if is_ia3 or key.endswith(".scaling") else 0.0


def _is_negated(key: str) -> bool:
    """Whether negating an adapter negates this tensor.

    LoRA's ``B``; a bottleneck's up-projection with its bias, since the non-linearity is before it; and (IA)³'s vectors
    about 1: ``2 - l`` (Zhang et al. 2023, arXiv:2306.14870).
    """
    return key.endswith(".lora_B") or ".adapter_up." in key


def _svd(members: Sequence[Member], recipe: Recipe, rank: int, *, scaling: float) -> dict[str, Tensor]:
    """The LoRAs of a rank that are nearest to the weighted sums of the members' updates."""
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
            raise SettingsError(f"rank must be at most {greatest}, the size of the adapted matrices; found {rank}")
        tensors[key], tensors[other] = formulas.truncated(total, rank)
    return tensors
