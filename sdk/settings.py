"""What a training is asked for: checked when made, and completed by the size of the data."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from pointsman.registry.errors import SettingsError

PRECISIONS: Final = ("auto", "bf16", "fp32")

_ROWS_TO_SEE: Final = 60_000
_EPOCHS: Final = (2, 6)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """The settings of one training.

    Raises:
        SettingsError: A value that cannot work; the message names the field and what is allowed.
    """

    epochs: float | None = None
    """Passes over the training rows; None: enough to see 60,000 rows, at least 2 and at most 6."""
    learning_rate: float = 1e-3
    """Reached over the first 6 % of the steps, and kept; the weights of the last fifth of the steps are averaged."""
    batch_size: int = 16
    """Rows in an optimiser step."""
    max_length: int | None = None
    """Tokens that an input is cut to; None: 128, or as many as the base takes if that is less."""
    seed: int = 0
    """Of the new weights, the order of rows and dropout."""
    max_train_rows: int | None = None
    """Train on so many rows, drawn by the seed; None: all."""
    max_eval_rows: int | None = None
    """Evaluate on the first so many rows; None: all."""
    eval_every: int | None = None
    """Evaluate after so many steps; None: after every epoch. The last step is always evaluated."""
    patience: int | None = None
    """Stop when the primary metric has not improved for so many evaluations; None: never."""
    precision: str = "auto"
    """Of training's matrix products: bf16, fp32, or auto: bf16 where the device is fast at it."""
    device: str = "cpu"
    """Where to train, as torch names it: cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        if self.epochs is not None and not 0 < self.epochs <= 10_000:
            raise SettingsError(f"epochs has to be over 0 and at most 10000; found {self.epochs}")
        if not 0 < self.learning_rate <= 10 or not math.isfinite(self.learning_rate):
            raise SettingsError(f"learning_rate has to be over 0 and at most 10; found {self.learning_rate}")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed has to be 0 or more, and under 2**32; found {self.seed}")
        for name in ("batch_size", "max_train_rows", "max_eval_rows", "eval_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} has to be 1 or more; found {value}")
        if self.max_length is not None and self.max_length < 8:
            raise SettingsError(f"max_length has to be 8 or more; found {self.max_length}")
        if self.precision not in PRECISIONS:
            raise SettingsError(f"precision has to be one of {', '.join(PRECISIONS)}; found '{self.precision}'")

    def completed(self, rows: int) -> Self:
        """The same settings with the epochs chosen for so many training rows.

        Raises:
            SettingsError: A batch would hold more rows than there are.
        """
        if self.batch_size > rows:
            raise SettingsError(f"batch_size {self.batch_size} is more than the {rows} training rows")
        if self.epochs is not None:
            return self
        fewest, most = _EPOCHS
        return replace(self, epochs=float(min(most, max(fewest, round(_ROWS_TO_SEE / rows)))))

    def to_dict(self) -> dict[str, Any]:
        """Every setting as JSON."""
        return asdict(self)
