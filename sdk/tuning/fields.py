"""What can be searched: settings of training and fields of the adapter method; what is, unless one says; and whether a
space can be trained."""

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
"""Settings that say where and on what a trial is trained and scored: trials that differ there cannot be compared."""

_RATES: Final = Range(low=1e-4, high=3e-3, log=True)
_HIGH_RATES: Final = Range(low=1e-3, high=3e-2, log=True)
"""Of methods that learn vectors in place of matrices (Lester et al. 2021, Liu et al. 2022, Kopiczko et al. 2024)."""

_BY_ARCHITECTURE: Final[Mapping[str | None, tuple[str, tuple[int, ...]]]] = {
    None: ("reduction_factor", (4, 8, 16, 32)),
    "lora": ("r", (4, 8, 16)),
    "reft": ("r", (1, 2, 4, 8)),
    "prefix_tuning": ("prefix_length", (10, 30, 60)),
    "prompt_tuning": ("prompt_length", (10, 20, 50)),
}
"""The field that sets how much a method can learn, and what to try; without an architecture it is a bottleneck."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What is the same in every trial."""

    task: str
    method: str
    overrides: Mapping[str, Any]
    """Fields of the method's configuration."""
    options: Mapping[str, Any]
    """Settings."""

    def settings(self, params: Mapping[str, Value]) -> dict[str, Any]:
        """The settings of a trial with these parameters."""
        return {**self.options, **{name: value for name, value in params.items() if name in SETTINGS}}

    def fields(self, params: Mapping[str, Value]) -> dict[str, Any]:
        """The fields of its method's configuration that are set."""
        return {**self.overrides, **{name: value for name, value in params.items() if name not in SETTINGS}}


def default_space(fixed: Fixed) -> Space:
    """The learning rate, and how much the method can learn: the two that matter most. What is fixed is left out.

    Raises:
        SettingsError: Both are fixed.
    """
    parts = parts_of(configure(fixed.method, fixed.overrides))
    found: dict[str, Range | Choices] = {"learning_rate": _HIGH_RATES if all(map(_of_vectors, parts)) else _RATES}
    for part in parts:
        name, values = _BY_ARCHITECTURE[part.get("architecture")]
        # (IA)3 has one vector a place; a reduction factor may be one of each layer's own.
        if part.get("composition_mode") != "scale" and name not in found and isinstance(part[name], int):
            found[name] = Choices(tuple(sorted({*values, part[name]})))
    return Space({name: found[name] for name in found.keys() - fixed.overrides.keys() - fixed.options.keys()})


def _of_vectors(part: Mapping[str, Any]) -> bool:
    few = part.get("composition_mode") == "scale" or part.get("vera_d") is not None
    return few or part.get("architecture") == "prompt_tuning"


def check_names(space: Space, fixed: Fixed) -> None:
    """Refuse a space with what is no setting and no field of the method, or is fixed as well.

    Raises:
        SettingsError: Which it is, and the names that can be searched.
    """
    config = configure(fixed.method, fixed.overrides)
    of_method = sorted({key for part in parts_of(config) for key in part} - {"architecture"})
    of_training = [name for name in SETTINGS if name not in _NOT_SEARCHED]
    for name in space.dimensions:
        if name in fixed.overrides or name in fixed.options:
            raise SettingsError(f"{name} is fixed and searched at once: take it out of the space, or do not set it")
        if name in _NOT_SEARCHED:
            raise SettingsError(
                f"{name} cannot be searched: trials that differ in it cannot be compared; of the training, there is: "
                f"{', '.join(of_training)}"
            )
        # configure knows the parts of a union, and what they have.
        if name not in of_training and name not in of_method and "." not in name:
            raise SettingsError(
                f"there is no {name!a} to search; of the training, there is: {', '.join(of_training)}; of "
                f"{fixed.method}: {', '.join(of_method)}"
            )


def check_values(space: Space, fixed: Fixed, *, base: LoadedBase, rows: int) -> None:
    """Refuse a space with a value that a training would refuse: every choice is looked at, and both ends of a range.

    Args:
        space: The space.
        fixed: What is the same in every trial.
        base: The base; each configuration of the method is tried on it.
        rows: How many training rows there are.

    Raises:
        SettingsError: Which value it is, and why.
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
            raise SettingsError(f"the space has {format_params(params)}, which cannot be trained: {error}") from error


def _samples(space: Space) -> Iterator[dict[str, Value]]:
    """Every value to look at, alone; then the first of all together, and the last of all."""
    samples = {name: dimension.samples for name, dimension in space.dimensions.items()}
    for name, values in samples.items():
        yield from ({name: value} for value in values)
    for place in (0, -1):
        yield {name: values[place] for name, values in samples.items()}
