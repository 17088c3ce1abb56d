"""The versions that are merged: read from the registry, and refused where they cannot be merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pointsman.registry import Ref, Registry, Version
from pointsman.registry.errors import Action, Advice, SettingsError, WeightsError

from ...core.same_base import check_same_base
from ...formats.native import ModuleState, read_adapter, read_head
from ...methods import ONLY_TRAINING, is_vera, parts_of
from ...tasks import Task
from .recipe import Recipe


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """A version with its files."""

    version: Version
    files: Mapping[str, bytes]
    adapter: ModuleState
    head: ModuleState

    @property
    def ref(self) -> str:
        """The version's ``name@number``."""
        return self.version.ref

    @property
    def scaling(self) -> float:
        """The factor of a LoRA's update ``B A``."""
        return float(self.version.config["alpha"] / self.version.config["r"])


def read_members(registry: Registry, refs: Sequence[str | Ref], recipe: Recipe) -> list[Member]:
    """Read the versions that refs resolve to now.

    Raises:
        NotFoundError: A version is not found.
        BaseMismatchError: Two were trained on different bases.
        SettingsError: Two differ in method or configuration, or the formula is not defined for the method.
        StoreError, WeightsError: Files are missing, damaged, or do not fit each other.
    """
    versions = [registry.version(ref) for ref in refs]
    first = versions[0]
    for version in versions[1:]:
        _check_same(first, version, recipe.how)
    _check_method(first, recipe.how)
    members = [_read(registry, version) for version in versions]
    for member in members[1:]:
        if _layout(member, recipe.how) != _layout(members[0], recipe.how):
            raise WeightsError(f"{first.ref} and {member.ref} do not hold the same tensors: one of them is damaged")
        _check_shared(members[0], member)
    return members


def member_of_head(
    members: Sequence[Member], head_of: str | Ref | None, registry: Registry, recipe: Recipe
) -> Member | None:
    """The member whose head the merged version gets; None: it gets the mean of all heads.

    A head is no task vector: there is no neutral head to add to or to subtract from. Heads of one task have a mean if
    the weights are shares; in all other cases the caller must choose a head.

    Raises:
        NotFoundError: The version of ``head_of`` is not found.
        SettingsError: It is none of the members, or must be given and is not.
    """
    if head_of is not None:
        chosen = registry.version(head_of).ref
        for member in members:
            if member.ref == chosen:
                return member
        raise SettingsError(
            f"head_of is {chosen}, which is none of the members: {', '.join(member.ref for member in members)}"
        )
    first, *others = members
    if not others:
        return first
    for other in others:
        if difference := _task_difference(Task.from_dict(first.version.task), Task.from_dict(other.version.task)):
            raise _no_mean(f"{first.ref} and {other.ref} were trained for different {difference}")
        if first.head.config != other.head.config or _shapes(first.head) != _shapes(other.head):
            raise _no_mean(f"the heads of {first.ref} and {other.ref} are built differently")
    if not recipe.is_mean:
        weights = ", ".join(f"{weight:g}" for weight in recipe.weights)
        raise _no_mean(f"the weights {weights} are no shares that add up to 1")
    return None


def _task_difference(first: Task, other: Task) -> str | None:
    """The first difference between two tasks, with both values; None if their heads predict the same."""
    if first.name != other.name:
        return f"tasks, {first.name} and {other.name}"
    if first.text != other.text:
        return f"text of the task {first.name}, {', '.join(first.text)} and {', '.join(other.text)}"
    if first.labels != other.labels:
        return f"labels of the task {first.name}, {first.labels_text} and {other.labels_text}"
    return None


def _no_mean(reason: str) -> SettingsError:
    """The error where the heads of the members have no mean."""
    return SettingsError(
        f"{reason}, so their heads cannot be merged: choose the member whose head it gets, head_of",
        advice=Advice(Action.SET_ARGUMENTS, {"head_of": None}),
    )


def _read(registry: Registry, version: Version) -> Member:
    files = registry.read_files(version)
    try:
        return Member(version=version, files=files, adapter=read_adapter(files), head=read_head(files))
    except WeightsError as error:
        raise WeightsError(f"{version.ref} cannot be merged: {error}") from error


def _check_same(first: Version, other: Version, how: str) -> None:
    together = f"{first.ref} and {other.ref} cannot be merged:"
    check_same_base(first, other, "merged")
    if first.method != other.method:
        raise SettingsError(f"{together} they are of different methods, {first.method} and {other.method}")
    ignored = ONLY_TRAINING | ({"r", "alpha"} if how == "svd" else set())
    for part, other_part in zip(parts_of(first.config), parts_of(other.config), strict=False):
        for field in sorted(part.keys() | other_part.keys()):
            if field not in ignored and part.get(field) != other_part.get(field):
                hint = "; how 'svd' merges LoRAs of different ranks" if field in ("r", "alpha") else ""
                raise SettingsError(
                    f"{together} their {first.method} differs in {field}, "
                    f"{part.get(field)!r} and {other_part.get(field)!r}{hint}"
                )


def _check_method(version: Version, how: str) -> None:
    """Refuse a method for which the formula is not defined."""
    parts = parts_of(version.config)
    if any(part.get("architecture") == "reft" and part.get("orthogonality") for part in parts):
        raise SettingsError(
            f"{version.method} cannot be merged: its matrices are orthogonal, and a mean of such matrices is not"
        )
    if how == "svd" and not _is_plain_lora(parts):
        raise SettingsError(
            f"svd merges plain LoRA only, whose updates are products of two matrices; found {version.method}"
        )
    if how in ("arithmetic", "ties", "dare"):
        for part in parts:
            if reason := _no_task_vector(part):
                raise SettingsError(f"{how} is not defined for {version.method}: {reason}; how 'linear' merges it")


def _is_plain_lora(parts: Sequence[Mapping[str, Any]]) -> bool:
    (first, *others) = parts
    return (
        not others
        and first.get("architecture") == "lora"
        and first["composition_mode"] == "add"
        and (_no_task_vector(first) is None)
    )


def _no_task_vector(part: Mapping[str, Any]) -> str | None:
    """Why the tensors of a method are no task vectors, or None if they are."""
    reasons = {
        "it does not add to the base's weights or outputs": part.get("architecture") not in ("lora", None),
        "its vectors scale random matrices": is_vera(part),
        "its magnitudes are the base's own, and not added to them": part.get("use_dora"),
        "its matrices are products with a shared one": part.get("phm_layer"),
        "its invertible adapter is not added to the base": part.get("inv_adapter"),
        "its layer norms are not added to the base": part.get("ln_before") or part.get("ln_after"),
        "no value of its gates leaves the base as it is": part.get("use_gating"),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _check_shared(first: Member, other: Member) -> None:
    """Refuse VeRAs of different random matrices: a mean of their vectors fits neither."""
    if not any(is_vera(part) for part in parts_of(first.version.config)):
        return
    for key, tensor in first.adapter.tensors.items():
        if ".shared_parameters." in f".{key}" and not torch.equal(tensor, other.adapter.tensors[key]):
            raise SettingsError(
                f"{first.ref} and {other.ref} cannot be merged: their {first.version.method} has different random "
                "matrices; train them with the same init_weights_seed"
            )


def _layout(member: Member, how: str) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Type and shape of every tensor; without the ranks where they may differ."""
    rank_axis = {"lora_A": 0, "lora_B": 1} if how == "svd" else {}
    return {
        key: (
            tensor.dtype,
            tuple(size for axis, size in enumerate(tensor.shape) if axis != rank_axis.get(key.rpartition(".")[2])),
        )
        for key, tensor in member.adapter.tensors.items()
    }


def _shapes(head: ModuleState) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in head.tensors.items()}
