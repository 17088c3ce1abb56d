"""Merge registered versions into a new one, without a model: on the tensors of their files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pointsman.registry import Evaluation, Ref, Registry, Version
from pointsman.registry.errors import Action, Advice, SettingsError
from pointsman.registry.refs import check_name

from ...bases.places import place_of
from ...core.arguments import is_whole, short_repr
from ...core.read_settings import ReadSettings
from ...core.refs import parse_members, parse_ref
from ...core.registries import open_registry
from ...data.source import DataSource
from .members import member_of_head, read_members
from .merged import Merged
from .recipe import Recipe


def merge(
    name: str,
    members: Iterable[str | Ref],
    *,
    registry: Registry | None = None,
    how: str = "linear",
    weights: Sequence[float] | None = None,
    density: float | None = None,
    scale: float | None = None,
    rank: int | None = None,
    seed: int | None = None,
    head_of: str | Ref | None = None,
    search: bool = False,
    data: str | Path | None = None,
    validation: str | Path | None = None,
    text: Sequence[str] | str = (),
    label: str = "label",
    reading: ReadSettings | Mapping[str, Any] | None = None,
    max_rows: int | None = None,
    base: str | None = None,
    device: str = "cpu",
) -> Version:
    """Merge versions of one base, method and configuration into the next version of the adapter ``name``.

    The formulas:

    - ``linear``: the weighted mean of every tensor.
    - ``arithmetic``: task vectors added and subtracted (Ilharco et al. 2023, arXiv:2212.04089), for adapters as Zhang
      et al. 2023, arXiv:2306.14870 define it. A LoRA adds ``B A`` to the base, so a negative weight negates B only; of
      a bottleneck, its up-projection only; of (IA)³, the vectors about 1, ``1 + Σ w_i (l_i - 1)``. All other tensors
      are summed with the weights' absolute values. As both factors are summed, a single LoRA of weight w adds ``w |w|``
      times its update; ``svd`` weighs the updates themselves.
    - ``svd``, LoRA only: the weighted sum of the updates ``B A``, scaled, cut to ``rank`` by its singular values. The
      members may have different ranks; if the rank is high enough, the sum is exact. Weights as in ``arithmetic``.
    - ``ties``: entries trimmed to ``density``, signs elected, the mean of agreeing entries, times ``scale`` (Yadav et
      al. 2023, arXiv:2306.01708).
    - ``dare``: entries dropped at random, by ``seed``, until the share ``density`` is left, the others scaled up, then
      the weighted mean (Yu et al. 2024, arXiv:2311.03099).

    Heads are not adapters: members of one task give the weighted mean of their heads, with any formula; where that mean
    is not defined, ``head_of`` must name the member whose head it gets. The new version has that head's task.

    The version's tags say how it was made (``merge``, ``merge.weights``, …), and its parents, in the order of the
    weights, are the members. It has no metrics unless its weights were searched.

    Args:
        name: The adapter to make a version of.
        members: Refs of the versions to merge: at least two, or one for ``arithmetic``.
        registry: Where they are and where the version is registered; by default the default registry.
        how: The formula.
        weights: One for each member; by default the same for all. Of ``linear``, ``ties`` and ``dare``, shares that add
            up to 1; ``arithmetic`` has no default.
        density: Of ``ties`` and ``dare``, the share of entries that is kept: above 0, at most 1.
        scale: Of ``ties``, the paper's λ.
        rank: Of ``svd``; by default the first member's.
        seed: Of ``dare``; 0 by default.
        head_of: The member whose head it gets.
        search: Search for the weights that score best on the task's validation rows, among shares that add up to 1.
        data: Of the search, the rows, as ``train`` takes them.
        validation: Of the search, as ``train`` takes it.
        text: Of the search, as ``train`` takes it.
        label: Of the search, as ``train`` takes it.
        reading: Of the search, as ``train`` takes it.
        max_rows: Of the search: the number of rows to score on, the first ones.
        base: Of the search: where to load the base from; by default from where it was at training.
        device: Of the search: the device to compute on.

    Returns:
        The new version.

    Raises:
        NotFoundError: A version is not found.
        InvalidNameError, CompositionError: A name breaks the rules, or a member is no single ref.
        BaseMismatchError: The members were trained on different bases.
        SettingsError: An argument cannot work, or the members cannot be merged; the message names the two that differ
            and in what.
        PointsmanError: The search cannot load its rows or base. Nothing is registered.

    Examples:
        >>> merge("reviews", ["sst2", "imdb"], how="ties", density=0.3).tags["merge"]
        'ties'
    """
    check_name(name)
    refs = parse_members(members)
    head_ref = None if head_of is None else parse_ref(head_of)
    source = DataSource.of(data, validation, text, label, reading)
    if search:
        _check_searched(how, weights, max_rows)
    elif (source, max_rows, base, device) != (DataSource.of(None, None, (), "label"), None, None, "cpu"):
        raise SettingsError(
            "data, validation, text, label, reading, max_rows, base and device are for a search, which is not set",
            advice=Advice(Action.SET_ARGUMENTS, {"search": True}),
        )
    recipe = Recipe.of(how, weights, members=len(refs), density=density, scale=scale, rank=rank, seed=seed)
    with open_registry(registry) as opened:
        opened.check_writable()
        sources = read_members(opened, refs, recipe)
        if recipe.how == "svd":
            recipe = replace(recipe, rank=recipe.rank or sources[0].version.config["r"])
        head = member_of_head(sources, head_ref, opened, recipe)
        merged, metrics, evaluation = Merged.of(name, sources, recipe, head), None, None
        if search:
            from .search import best_of  # noqa: PLC0415 - imports transformers, which merging itself does not need

            place = place_of(opened, merged.like.base, base, of=merged.like.ref)
            merged, metrics, evaluation = best_of(merged, source, max_rows=max_rows, base=place, device=device)
        return _add(opened, merged, metrics, evaluation)


def _check_searched(how: str, weights: Sequence[float] | None, max_rows: int | None) -> None:
    if how == "arithmetic":
        raise SettingsError(
            "a search tries shares that add up to 1, and the weights of arithmetic are none: give weights"
        )
    if weights is not None:
        raise SettingsError("a search finds the weights: leave weights out, or the search")
    if max_rows is not None and not (is_whole(max_rows) and max_rows >= 1):
        raise SettingsError(f"max_rows must be a whole number, at least 1; found {short_repr(max_rows)}")


def _add(
    registry: Registry, merged: Merged, metrics: Mapping[str, float] | None, evaluation: Evaluation | None
) -> Version:
    like = merged.like
    return registry.add_version(
        merged.name,
        files=merged.files,
        task=like.task,
        method=like.method,
        config=merged.adapter.config,
        base=like.base,
        max_length=merged.max_length,
        parameters=merged.parameters,
        metrics=metrics,
        primary_metric=None if metrics is None else f"eval/{like.task['primary']}",
        parents=[("member", member.ref) for member in merged.members],
        tags=merged.tags,
        evaluation=evaluation,
    )
