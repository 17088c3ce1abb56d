"""The formulas of merging, on plain tensors of any shape; all results are in float64.

A *task vector* is the change that training made: weights minus the neutral weights, which leave the base unchanged
(Ilharco et al. 2023, arXiv:2212.04089). Most tensors of an adapter are added to the base, so they are task vectors
themselves.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor


def weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """``Σ w_i T_i``: the weighted mean, if the weights add up to 1.

    Args:
        tensors: All of one shape.
        weights: One for each.
    """
    return reduce(torch.add, (tensor.double() * weight for tensor, weight in zip(tensors, weights, strict=True)))


def signed_sum(tensors: Sequence[Tensor], weights: Sequence[float], *, negated: bool) -> Tensor:
    """Addition and negation of modules (Zhang et al. 2023, arXiv:2306.14870, section 3).

    A module adds a product to the base, as ``B A`` of LoRA. To negate the product, one factor is negated and the other
    is not: the one is summed with the weights, ``Σ w_i B_i``, the other with their absolute values, ``Σ |w_i| A_i``.

    Args:
        tensors: The same factor of each module.
        weights: One for each module.
        negated: Whether this is the factor that is negated.
    """
    return weighted_sum(tensors, weights if negated else [abs(weight) for weight in weights])


def trim(tensor: Tensor, density: float) -> Tensor:
    """TIES, step 1: keep the share ``density`` of the entries, those of the greatest absolute value (others: 0).

    At least one is kept, and all entries whose absolute value equals that of the smallest kept one.
    """
    sizes = tensor.abs().flatten()
    count = max(1, round(density * sizes.numel()))
    return torch.where(tensor.abs() >= sizes.kthvalue(sizes.numel() - count + 1).values, tensor, 0)


def ties(vectors: Sequence[Tensor], weights: Sequence[float], *, density: float, scale: float) -> Tensor:
    """TIES-Merging: trim, elect signs, and take the mean of agreeing entries (Yadav et al. 2023, arXiv:2306.01708).

    With ``v_i`` the trimmed vectors, the elected sign of an entry is ``sgn(Σ w_i v_i)``, and the entry becomes
    ``scale · Σ w_i v_i / Σ w_i`` over the ``i`` whose own entry has this sign; 0 if there is none. With equal weights
    this is the paper's formula.

    Args:
        vectors: Task vectors, all of one shape.
        weights: One for each, none negative, and not all 0.
        density: The share of the entries that is kept, above 0 and at most 1; the paper's k in percent.
        scale: The paper's λ.
    """
    trimmed = torch.stack([trim(vector.double(), density) for vector in vectors])
    # Equal weights become 1: with others, rounding would give a sum that is 0 a sign.
    shares = torch.tensor([weight / max(weights) for weight in weights], dtype=torch.float64)
    shares = shares.view(-1, *(1,) * vectors[0].dim())
    sign = (shares * trimmed).sum(0).sign()
    shares = shares * ((trimmed.sign() == sign) & (sign != 0))
    total = shares.sum(0)
    return scale * torch.where(total > 0, (shares * trimmed).sum(0) / total.where(total > 0, 1), 0)


def drop(vector: Tensor, *, density: float, generator: torch.Generator) -> Tensor:
    """DARE: drop entries at random, and divide the others by their share (Yu et al. 2024, arXiv:2311.03099).

    ``m ⊙ v / density``, where each entry of ``m`` is 1 with probability ``density``, the paper's ``1 - p``: the
    expectation is the vector.

    Args:
        vector: A task vector.
        density: The probability that an entry is kept, above 0 and at most 1.
        generator: The source of the random numbers, one for each entry.
    """
    is_kept = torch.rand(vector.shape, dtype=torch.float64, generator=generator) < density
    return torch.where(is_kept, vector.double() / density, 0)


def delta(a: Tensor, b: Tensor) -> Tensor:
    """The update that a LoRA adds to a weight, before scaling: ``B A`` (Hu et al. 2021, arXiv:2106.09685).

    Args:
        a: ``(groups · rank, in)``; a layer that computes queries, keys and values together has a group for each of them
            that is adapted, any other layer has one.
        b: ``(groups · out, rank)``.

    Returns:
        ``(groups, out, in)``.
    """
    rank = b.shape[1]
    grouped = b.double().view(a.shape[0] // rank, -1, rank)
    return grouped @ a.double().view(a.shape[0] // rank, rank, -1)


def truncated(sums: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The LoRA of a rank that is nearest to a matrix (Eckart & Young 1936).

    Each factor gets the square roots of the singular values.

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
