"""The formulas of merging, on plain tensors of any shape. All of them compute, and answer, in float64.

A *task vector* is what training changed: weights minus the neutral ones, which leave the base as it is (Ilharco et al.
2023, arXiv:2212.04089). Most tensors of an adapter are added to the base, so that they are the task vector themselves.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """``Σ w_i T_i``, and with weights that add up to 1 the weighted mean.

    Args:
        tensors: All of one shape.
        weights: One for each.
    """
    return reduce(torch.add, (tensor.double() * weight for tensor, weight in zip(tensors, weights, strict=True)))


def signed_sum(tensors: Sequence[Tensor], weights: Sequence[float], *, negated: bool) -> Tensor:
    """Addition and negation of modules (Zhang et al. 2023, arXiv:2306.14870, section 3).

    What a module adds to the base is a product, as ``B A`` of LoRA: to negate it, one factor is negated and the other
    is not. So a weight below zero counts as such for the one, ``Σ w_i B_i``, and by its size for the other,
    ``Σ |w_i| A_i``.

    Args:
        tensors: The same factor of each module.
        weights: One for each module.
        negated: Whether this is the factor that is negated.
    """
    return weighted_sum(tensors, weights if negated else [abs(weight) for weight in weights])


def trim(tensor: Tensor, density: float) -> Tensor:
    """TIES, step 1: keep the share ``density`` of the entries, those of the greatest size, and make the others 0.

    One at least is kept, and with the least that is kept all others of its size.
    """
    sizes = tensor.abs().flatten()
    kept = max(1, round(density * sizes.numel()))
    return torch.where(tensor.abs() >= sizes.kthvalue(sizes.numel() - kept + 1).values, tensor, 0)


def ties(vectors: Sequence[Tensor], weights: Sequence[float], *, density: float, scale: float) -> Tensor:
    """TIES-Merging: trim, elect signs, and take the mean of those that agree (Yadav et al. 2023, arXiv:2306.01708).

    With ``v_i`` the trimmed vectors, the elected sign of an entry is ``sgn(Σ w_i v_i)``, and the entry becomes
    ``scale · Σ w_i v_i / Σ w_i`` over those ``i`` whose own entry has this sign; 0 if there is none. With equal weights
    this is the paper's formula.

    Args:
        vectors: Task vectors, all of one shape.
        weights: One for each, none below 0, and not all 0.
        density: The share of the entries that is kept, above 0 and at most 1; the paper's k in percent.
        scale: The paper's λ.
    """
    trimmed = torch.stack([trim(vector.double(), density) for vector in vectors])
    # Equal weights become 1, so that a sum that is 0 is not off by a rounding, and has no sign.
    shares = torch.tensor([weight / max(weights) for weight in weights], dtype=torch.float64)
    shares = shares.view(-1, *(1,) * vectors[0].dim())
    sign = (shares * trimmed).sum(0).sign()
    shares = shares * ((trimmed.sign() == sign) & (sign != 0))
    total = shares.sum(0)
    return scale * torch.where(total > 0, (shares * trimmed).sum(0) / total.where(total > 0, 1), 0)


def drop(vector: Tensor, *, density: float, generator: torch.Generator) -> Tensor:
    """DARE: drop entries at random, and divide those that stay by their share (Yu et al. 2024, arXiv:2311.03099).

    ``m ⊙ v / density``, with each of ``m`` being 1 with probability ``density``, the paper's ``1 - p``: the expectation
    is the vector.

    Args:
        vector: A task vector.
        density: The probability of an entry to stay, above 0 and at most 1.
        generator: Where the random numbers come from; one a entry is taken.
    """
    stays = torch.rand(vector.shape, dtype=torch.float64, generator=generator) < density
    return torch.where(stays, vector.double() / density, 0)


def delta(a: Tensor, b: Tensor) -> Tensor:
    """What a LoRA adds to a weight, before it is scaled: ``B A`` (Hu et al. 2021, arXiv:2106.09685).

    Args:
        a: ``(groups · rank, in)``; of a layer that makes queries, keys and values together, a group for each adapted.
        b: ``(groups · out, rank)``.

    Returns:
        ``(groups, out, in)``.
    """
    rank = b.shape[1]
    left = b.double().view(a.shape[0] // rank, -1, rank)
    return left @ a.double().view(a.shape[0] // rank, rank, -1)


def truncated(sums: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The LoRA of a rank that is nearest to a matrix (Eckart & Young 1936), each factor with the roots of the values.

    Args:
        sums: ``(groups, out, in)``.
        rank: At most the smaller of ``out`` and ``in``.

    Returns:
        A ``(groups · rank, in)`` and B ``(groups · out, rank)``, as ``delta`` takes them.
    """
    u, values, v = torch.linalg.svd(sums, full_matrices=False)
    roots = values[:, :rank].sqrt()
    a = roots.unsqueeze(2) * v[:, :rank]
    b = u[:, :, :rank] * roots.unsqueeze(1)
    return a.flatten(0, 1), b.flatten(0, 1)
