"""The settings that a caller requests, checked when they are made. ``resolved`` fills in those that are left open."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Final, Self

from pointsman.registry.errors import SettingsError, unknown

from ..core.arguments import is_whole, short_repr

PRECISIONS: Final = ("auto", "bf16", "fp32")
SCHEDULES: Final = ("constant", "linear", "cosine")
BALANCED: Final = "balanced"


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The requested settings of one training; None leaves a setting open.

    Raises:
        SettingsError: A value that cannot work; the message names the field and what is allowed.

    Examples:
        >>> TrainSettings(epochs=3, learning_rate=5e-4)
    """

    epochs: float | None = None
    """Passes over the training rows; None: by the number of rows (see ``defaults``)."""
    max_steps: int | None = None
    """Optimiser steps, in place of ``epochs``."""
    learning_rate: float | None = None
    """The rate after warm-up; None: by the method (see ``defaults``)."""
    schedule: str = "constant"
    """The learning rate after warm-up: constant, linear (to zero), cosine (to zero)."""
    warmup: float = 0.06
    """The share of the steps over which the learning rate rises from zero."""
    average: float | None = None
    """Score and keep the mean of the latest weights, over about this share of the steps so far (see
    ``weight_average``); 0: the weights themselves. None: 0.2 at a constant rate, else 0."""
    batch_size: int | None = None
    """Rows in a forward pass; None: by the task (see ``defaults``), at most all rows."""
    gradient_accumulation: int = 1
    """Forward passes in an optimiser step, which then sees this many times ``batch_size`` rows."""
    weight_decay: float = 0.0
    """AdamW's (Loshchilov & Hutter 2019), of matrices only."""
    max_grad_norm: float | None = 1.0
    """Scale a gradient with a greater Euclidean norm down to this norm; None: never."""
    class_weights: str | Mapping[str, float] | None = None
    """The weight of each class in the loss: by label, or ``balanced``, inversely to its share of the rows; None: 1."""
    max_length: int | None = None
    """Truncate an input to this many tokens; None: 128, or the base's limit if that is less."""
    drop_layers: int | str = 0
    """Leave out the adapters of this many of the lowest layers. A range as ``"0-5"`` skips another number of layers
    in every batch, so that the version works without any of them (AdapterDrop, see ``layer_drop``)."""
    seed: int = 0
    """Seeds the new weights, the order of rows and dropout."""
    max_train_rows: int | None = None
    """Train on this many rows, drawn by the seed; None: all."""
    max_eval_rows: int | None = None
    """Evaluate on the first rows, at most this many; None: all."""
    eval_every: float | None = None
    """Evaluate every so many steps, or, below 1, every such part of an epoch; None: after every epoch. The last step
    is always evaluated."""
    patience: int | None = None
    """Stop after this many evaluations without a better primary metric, a tie being none; None: never."""
    checkpoint_every: int | None = None
    """Write a checkpoint every so many steps; None: every 30 seconds."""
    precision: str = "auto"
    """Of training's matrix products: bf16, fp32, or auto: bf16 on a device that multiplies it in hardware."""
    device: str = "cpu"
    """The device by torch's name: cpu, cuda, cuda:1, mps."""
    report_to: tuple[str, ...] = ()
    """Trackers that get the metrics too, by transformers' names: tensorboard, mlflow, wandb and others."""

    def __post_init__(self) -> None:
        for name, (low, high, including) in _RANGES.items():
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real):
                raise SettingsError(f"{name} must be a number; found {value!r}")
            value = float(value)
            if not (low <= value if including else low < value) or not value <= high or not math.isfinite(value):
                raise SettingsError(
                    f"{name} must be {f'at least {low:g}' if including else f'over {low:g}'} and at most {high:g}; "
                    f"found {value:g}"
                )
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and (not is_whole(value) or value < 1):
                raise SettingsError(f"{name} must be a whole number, at least 1; found {value!r}")
        self._check_names()
        if self.eval_every is not None and self.eval_every > 1 and self.eval_every != int(self.eval_every):
            raise SettingsError(f"eval_every must be a number of steps, or below 1; found {self.eval_every}")
        if not is_whole(self.seed) or not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed must be a whole number, at least 0, and under 2**32; found {self.seed}")
        if self.max_length is not None and self.max_length < 8:
            raise SettingsError(f"max_length must be at least 8; found {self.max_length}")
        if self.epochs is not None and self.max_steps is not None:
            raise SettingsError(f"give epochs or max_steps, not both; found {self.epochs} and {self.max_steps}")
        # A single name may be given alone; and JSON has no tuples, so recorded settings come back with a list.
        names = (self.report_to,) if isinstance(self.report_to, str) else tuple(self.report_to or ())
        object.__setattr__(self, "report_to", names)
        dropped = layers_to_drop(self.drop_layers)
        object.__setattr__(self, "drop_layers", self.drop_layers if isinstance(dropped, range) else dropped)
        self._check_class_weights()

    def _check_names(self) -> None:
        for name, known in (("precision", PRECISIONS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise SettingsError(f"{name} must be one of {', '.join(known)}; found {getattr(self, name)!r}")
        if not isinstance(self.device, str):
            raise SettingsError(f"device must be a name, as cpu or cuda:1; found {self.device!r}")

    def _check_class_weights(self) -> None:
        weights = self.class_weights
        if weights is None or weights == BALANCED:
            return
        if not isinstance(weights, Mapping) or not weights:
            raise SettingsError(f"class_weights must be '{BALANCED}' or numbers by label; found {weights!r}")
        for label, value in weights.items():
            if not isinstance(label, str):
                raise SettingsError(f"the labels in class_weights must be strings; found {label!r}")
            if not isinstance(value, Real) or not 0 <= value < math.inf:
                raise SettingsError(f"class_weights: the weight of '{label}' must be at least 0; found {value!r}")

    @property
    def requested(self) -> frozenset[str]:
        """The settings that differ from their defaults."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) != field.default)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The settings with these fields.

        Raises:
            SettingsError: An unknown field; the message lists all.
        """
        known = [field.name for field in fields(cls)]
        if strangers := [name for name in options if name not in known]:
            raise unknown(SettingsError, "setting", str(strangers[0]), known)
        return cls(**options)

    @classmethod
    def given(cls, settings: Self | None, options: Mapping[str, Any]) -> Self:
        """The settings that a caller gives as one object, or as single options.

        Raises:
            SettingsError: Both are given, ``settings`` is of another type, or an option is unknown.
        """
        if settings is None:
            return cls.of(options)
        if options:
            raise SettingsError(
                f"give settings or single options, not both; found both settings and {', '.join(options)}"
            )
        if not isinstance(settings, cls):
            raise SettingsError(f"settings must be TrainSettings; found {short_repr(settings)}")
        return settings

    def to_dict(self) -> dict[str, Any]:
        """Every setting as JSON."""
        return {**asdict(self), "report_to": list(self.report_to)}


def layers_to_drop(value: object) -> int | range:
    """Parse ``drop_layers``: the number of layers without adapters, or a range to draw that number from.

    Raises:
        SettingsError: Neither a number from 0 on, nor a range as ``"0-5"``.
    """
    text = str(value)
    if span := _SPAN.fullmatch(text) if isinstance(value, str) else None:
        low, high = int(span[1]), int(span[2])
        if low <= high:
            return range(low, high + 1)
    elif isinstance(value, str | Integral) and not isinstance(value, bool) and re.fullmatch("[0-9]{1,9}", text):
        return int(text)
    raise SettingsError(f"drop_layers must be a number of layers, as 3, or a range, as 0-5; found {value!r}")


# By field: the minimum, the maximum, and whether the minimum is allowed.
_RANGES: Final[Mapping[str, tuple[float, float, bool]]] = {
    "epochs": (0, 10_000, False),
    "learning_rate": (0, 10, False),
    "warmup": (0, 1, True),
    "average": (0, 1, True),
    "weight_decay": (0, 1, True),
    "max_grad_norm": (0, 1e6, False),
    "eval_every": (0, 1e12, False),
}
_COUNTS: Final = (
    "max_length",
    "max_steps",
    "batch_size",
    "gradient_accumulation",
    "max_train_rows",
    "max_eval_rows",
    "patience",
    "checkpoint_every",
)
_SPAN: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
