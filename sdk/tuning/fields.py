"""The dimensions of a search: which can be searched, which are by default, and whether every value can be trained."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from pointsman.registry.errors import SettingsError

from ..bases.load import LoadedBase
from ..core.devices import torch_device
from ..engines.slots import add_slot, remove_slot, slot_name
from ..methods import configure, parts_of
from ..training.resolved import resolve
from ..training.settings import TrainSettings
from .space import Choices, Range, Space, Value, format_params

SETTINGS: Final = tuple(field.name for field in fields(TrainSettings))

_NOT_SEARCHED: Final = frozenset(
    {"max_train_rows", "max_eval_rows", "eval_every", "checkpoint_every", "precision", "device", "report_to"}
)
"""Settings that decide where, and on which rows, a trial is trained and scored: trials that differ in one cannot be
compared."""

_RATES: Final = Range(low=1e-4, high=3e-3, log=True)
_HIGH_RATES: Final = Range(low=1e-3, high=3e-2, log=True)
"""For methods that learn vectors rather than matrices (Lester et al. 2021, Liu et al. 2022, Kopiczko et al. 2024)."""

_BY_ARCHITECTURE: Final[Mapping[str | None, tuple[str, tuple[int, ...]]]] = {
    None: ("reduction_factor", (4, 8, 16, 32)),
    "lora": ("r", (4, 8, 16)),
    "reft": ("r", (1, 2, 4, 8)),
    "prefix_tuning": ("prefix_length", (10, 30, 60)),
    "prompt_tuning": ("prompt_length", (10, 20, 50)),
}
"""By architecture (None: bottlenecks), the field that sets a method's capacity, and the values to try."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What all trials of a study have in common."""

    task: str
    method: str
    overrides: Mapping[str, Any]
    """Fields of the method's configuration."""
    options: Mapping[str, Any]
    """Settings."""

    def settings(self, params: Mapping[str, Value]) -> dict[str, Any]:
        """The settings of the trial with these parameters."""
        return {**self.options, **{name: value for name, value in params.items() if name in SETTINGS}}

    def fields(self, params: Mapping[str, Value]) -> dict[str, Any]:
        """The fields of the method's configuration that the trial with these parameters sets."""
        return {**self.overrides, **{name: value for name, value in params.items() if name not in SETTINGS}}


def default_space(fixed: Fixed) -> Space:
    """The learning rate and the method's capacity, the two that matter most, without what is fixed.

    Raises:
        SettingsError: Both are fixed.
    """
    parts = parts_of(configure(fixed.method, fixed.overrides))
    rates = _HIGH_RATES if all(map(_learns_vectors, parts)) else _RATES
    dimensions: dict[str, Range | Choices] = {"learning_rate": rates}
    for part in parts:
        name, values = _BY_ARCHITECTURE[part.get("architecture")]
        # (IA)³ has no capacity to set, and a reduction factor may be a mapping by layer.
        if part.get("composition_mode") != "scale" and name not in dimensions and isinstance(part[name], int):
            dimensions[name] = Choices(tuple(sorted({*values, part[name]})))
    free = dimensions.keys() - fixed.overrides.keys() - fixed.options.keys()
    return Space({name: dimensions[name] for name in free})


def _learns_vectors(part: Mapping[str, Any]) -> bool:
    vectors = part.get("composition_mode") == "scale" or part.get("vera_d") is not None
    return vectors or part.get("architecture") == "prompt_tuning"


def check_names(space: Space, fixed: Fixed) -> None:
    """Refuse a dimension that is neither a setting nor a field of the method, or that is fixed as well.

    Raises:
        SettingsError: Such a dimension; the message lists the names that can be searched.
    """
    config = configure(fixed.method, fixed.overrides)
    of_method = sorted({key for part in parts_of(config) for key in part} - {"architecture"})
    of_training = [name for name in SETTINGS if name not in _NOT_SEARCHED]
    for name in space.dimensions:
        if name in fixed.overrides or name in fixed.options:
            raise SettingsError(f"{name} is both fixed and searched: remove it from the space, or do not set it")
        if name in _NOT_SEARCHED:
            raise SettingsError(
                f"{name} cannot be searched, since trials that differ in it cannot be compared; settings that can be: "
                f"{', '.join(of_training)}"
            )
        # A name with a dot is a field of one part of a union, which ``configure`` checks.
        if name not in of_training and name not in of_method and "." not in name:
            raise SettingsError(
                f"unknown dimension {name!a}; known settings: {', '.join(of_training)}; "
                f"known fields of {fixed.method}: {', '.join(of_method)}"
            )


def check_values(space: Space, fixed: Fixed, *, base: LoadedBase, rows: int) -> None:
    """Refuse a value that a training would refuse; checks every choice, and both ends of every range.

    Args:
        space: The space.
        fixed: What all trials have in common.
        base: The base; each configuration of the method is built on it, and removed.
        rows: The number of training rows.

    Raises:
        SettingsError: A value cannot be trained; the message says which and why.
    """
    built: list[Mapping[str, Any]] = []
    for params in _samples(space):
        try:
            config = configure(fixed.method, fixed.fields(params))
            settings = TrainSettings.of(fixed.settings(params))
            resolve(
                settings,
                task=fixed.task,
                method=fixed.method,
                rows=rows,
                config=base.model.config,
                tokenizer=base.tokenizer,
                device=torch_device(settings.device),
            )
            if config not in built:
                add_slot(base.model, slot_name(0), config)
                remove_slot(base.model, slot_name(0))
                built.append(config)
        except SettingsError as error:
            raise SettingsError(f"{format_params(params)} of the space cannot be trained: {error}") from error


def _samples(space: Space) -> Iterator[dict[str, Value]]:
    """Every sample of every dimension alone, then the first of all dimensions together, and the last of all."""
    samples = {name: dimension.samples for name, dimension in space.dimensions.items()}
    for name, values in samples.items():
        yield from ({name: value} for value in values)
    for place in (0, -1):
        yield {name: values[place] for name, values in samples.items()}
