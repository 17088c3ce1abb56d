"""What a training is asked for: checked when made, and completed by what the task, the method and the data ask for."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, Final, Self

from pointsman.registry.errors import SettingsError

from ..core.arguments import short_repr
from .defaults import default_batch_size, default_epochs, default_learning_rate

PRECISIONS: Final = ("auto", "bf16", "fp32")
SCHEDULES: Final = ("constant", "linear", "cosine")
BALANCED: Final = "balanced"
AVERAGED: Final = 0.2
"""The share of the steps whose weights the mean stands for, where the learning rate stays constant."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The settings of one training.

    Raises:
        SettingsError: A value that cannot work; the message names the field and what is allowed.
    """

    epochs: float | None = None
    """Passes over the training rows; None: what suits their number (see ``defaults``)."""
    max_steps: int | None = None
    """Optimiser steps, in place of ``epochs``."""
    learning_rate: float | None = None
    """Reached after warm-up; None: what suits the method."""
    schedule: str = "constant"
    """How the learning rate goes on after warm-up: constant, linear (to zero), cosine (to zero)."""
    warmup: float = 0.06
    """The share of the steps over which the learning rate rises from zero."""
    average: float | None = None
    """What is scored and kept is a mean of the latest weights, of about this share of the steps so far (see
    ``averaging``); 0: the weights as they are. None: 0.2 at a constant rate, else 0."""
    batch_size: int | None = None
    """Rows in a forward pass; None: what suits the task (16, cola 32), or all there are."""
    gradient_accumulation: int = 1
    """Forward passes in an optimiser step, which then sees so many times ``batch_size`` rows."""
    weight_decay: float = 0.0
    """AdamW's (Loshchilov & Hutter 2019), of matrices only."""
    max_grad_norm: float | None = 1.0
    """A gradient with a greater Euclidean norm is scaled down to it; None: none is."""
    class_weights: str | Mapping[str, float] | None = None
    """What a class counts in the loss: by its label, or ``balanced``, inversely to its share of the rows; None: 1."""
    max_length: int | None = None
    """Tokens that an input is cut to; None: 128, or as many as the base takes if that is less."""
    drop_layers: int | str = 0
    """Leave the adapters of so many layers out, the lowest ones; a range as ``"0-5"``: skip those of so many, another
    number for every batch, so that the version can do without any of them (AdapterDrop, see ``dropping``)."""
    seed: int = 0
    """Of the new weights, the order of rows and dropout."""
    max_train_rows: int | None = None
    """Train on so many rows, drawn by the seed; None: all."""
    max_eval_rows: int | None = None
    """Evaluate on the first so many rows; None: all."""
    eval_every: float | None = None
    """Evaluate after so many steps, or, below 1, so much of an epoch; None: after every epoch. The last step is always
    evaluated."""
    patience: int | None = None
    """Stop when the primary metric has not improved for so many evaluations; None: never."""
    checkpoint_every: int | None = None
    """Write a checkpoint to resume from after so many steps; None: after every half minute."""
    precision: str = "auto"
    """Of training's matrix products: bf16, fp32, or auto: bf16 where the device is fast at it."""
    device: str = "cpu"
    """Where to train, as torch names it: cpu, cuda, cuda:1, mps."""
    report_to: tuple[str, ...] = ()
    """Trackers that are told as well, by transformers' names: tensorboard, mlflow, wandb and others."""

    def __post_init__(self) -> None:
        for name, (low, high, including) in _RANGES.items():
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real):
                raise SettingsError(f"{name} has to be a number; found {value!r}")
            value = float(value)
            if not (low <= value if including else low < value) or not value <= high or not math.isfinite(value):
                raise SettingsError(
                    f"{name} has to be {f'{low:g} or more' if including else f'over {low:g}'} and at most {high:g}; "
                    f"found {value:g}"
                )
        for name in _WHOLE:
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < 1):
                raise SettingsError(f"{name} has to be a whole number, 1 or more; found {value!r}")
        self._check_words()
        if self.eval_every is not None and self.eval_every > 1 and self.eval_every != int(self.eval_every):
            raise SettingsError(f"eval_every has to be a number of steps, or below 1; found {self.eval_every}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, Integral) or not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed has to be a whole number, 0 or more, and under 2**32; found {self.seed}")
        if self.max_length is not None and self.max_length < 8:
            raise SettingsError(f"max_length has to be 8 or more; found {self.max_length}")
        if self.epochs is not None and self.max_steps is not None:
            raise SettingsError(f"give epochs or max_steps, not both; found {self.epochs} and {self.max_steps}")
        # One name may stand alone, and JSON has no tuples: settings that were recorded come back with a list.
        named = (self.report_to,) if isinstance(self.report_to, str) else tuple(self.report_to or ())
        object.__setattr__(self, "report_to", named)
        dropped = layers_to_drop(self.drop_layers)
        object.__setattr__(self, "drop_layers", self.drop_layers if isinstance(dropped, range) else dropped)
        self._check_class_weights()

    def _check_words(self) -> None:
        for name, known in (("precision", PRECISIONS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise SettingsError(f"{name} has to be one of {', '.join(known)}; found {getattr(self, name)!r}")
        if not isinstance(self.device, str):
            raise SettingsError(f"device has to be a name, as cpu or cuda:1; found {self.device!r}")

    def _check_class_weights(self) -> None:
        weights = self.class_weights
        if weights is None or weights == BALANCED:
            return
        if not isinstance(weights, Mapping) or not weights:
            raise SettingsError(f"class_weights has to be '{BALANCED}' or numbers by label; found {weights!r}")
        for label, value in weights.items():
            if not isinstance(label, str):
                raise SettingsError(f"class_weights goes by labels, which are words; found {label!r}")
            if not isinstance(value, Real) or not 0 <= value < math.inf:
                raise SettingsError(f"class_weights: that of '{label}' has to be 0 or more; found {value!r}")

    @property
    def asked(self) -> frozenset[str]:
        """The settings that are not as they are when nothing is said."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) != field.default)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The settings with these fields.

        Raises:
            SettingsError: No such field; the message lists all.
        """
        known = [field.name for field in fields(cls)]
        if strange := [name for name in options if name not in known]:
            raise SettingsError(f"there is no setting {strange[0]!r}; the settings are: {', '.join(known)}")
        return cls(**options)

    @classmethod
    def given(cls, settings: Self | None, options: Mapping[str, Any]) -> Self:
        """The settings that a caller gives whole, or as single options.

        Raises:
            SettingsError: They give both, something else than settings, or an option that is none.
        """
        if settings is None:
            return cls.of(options)
        if options:
            raise SettingsError(
                f"give settings or single options, not both; found both settings and {', '.join(options)}"
            )
        if not isinstance(settings, cls):
            raise SettingsError(f"settings have to be TrainSettings; found {short_repr(settings)}")
        return settings

    def completed(self, *, task: str, method: str, rows: int) -> Self:
        """The same settings with nothing left open but ``max_length``, which depends on the base.

        Args:
            task: The task's name.
            method: The adapter method's name.
            rows: How many training rows there are.

        Raises:
            SettingsError: A batch would hold more rows than there are.
        """
        batch_size = default_batch_size(task, rows) if self.batch_size is None else self.batch_size
        if batch_size > rows:
            raise SettingsError(f"batch_size {batch_size} is more than the {rows} training rows")
        epochs = default_epochs(task, rows) if self.epochs is None and self.max_steps is None else self.epochs
        return replace(
            self,
            epochs=epochs,
            learning_rate=default_learning_rate(method) if self.learning_rate is None else self.learning_rate,
            batch_size=batch_size,
            average=(AVERAGED if self.schedule == "constant" else 0.0) if self.average is None else self.average,
        )

    def to_dict(self) -> dict[str, Any]:
        """Every setting as JSON."""
        return {**asdict(self), "report_to": list(self.report_to)}


def layers_to_drop(value: object) -> int | range:
    """What ``drop_layers`` says: so many layers for good, or as many as a range holds, another number each time.

    Raises:
        SettingsError: It is no number from 0, and no range as ``"0-5"``.
    """
    text = str(value)
    if span := _SPAN.fullmatch(text) if isinstance(value, str) else None:
        low, high = int(span[1]), int(span[2])
        if low <= high:
            return range(low, high + 1)
    elif isinstance(value, str | Integral) and not isinstance(value, bool) and re.fullmatch("[0-9]{1,9}", text):
        return int(text)
    raise SettingsError(f"drop_layers has to be a number of layers, as 3, or a range of it, as 0-5; found {value!r}")


# By field: the least, the most, and whether the least is allowed.
_RANGES: Final[Mapping[str, tuple[float, float, bool]]] = {
    "epochs": (0, 10_000, False),
    "learning_rate": (0, 10, False),
    "warmup": (0, 1, True),
    "average": (0, 1, True),
    "weight_decay": (0, 1, True),
    "max_grad_norm": (0, 1e6, False),
    "eval_every": (0, 1e12, False),
}
_WHOLE: Final = (
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
