"""What an adapter learns: a task with its text columns, labels or score, and metrics."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

from pointsman.registry.errors import SettingsError, unknown

from ..core.arguments import as_float, not_unicode
from .kinds import kind_of

METRICS: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "share of rows whose predicted class is the right one",
        "f1": "F1 of the positive class out of two",
        "f1_macro": "F1 averaged over the classes, each counting the same",
        "matthews_correlation": "Matthews' correlation coefficient, -1 to 1",
        "pearson": "Pearson's correlation of scores, -1 to 1",
        "spearmanr": "Spearman's rank correlation of scores, -1 to 1",
        "mae": "mean absolute error of scores, in their unit",
        "mse": "mean squared error of scores",
    }
)
"""Every metric that a task can name, and what it measures. All are better when greater, except the ``ERRORS``."""

ERRORS: Final = ("mae", "mse")
"""The metrics that are better when smaller."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned: text columns, labels or a score, metrics and the primary one.

    Raises:
        SettingsError: A field contradicts another or is of the wrong type.

    Examples:
        >>> Task(
        ...     name="spam",
        ...     description="Is the mail spam?",
        ...     text=("mail",),
        ...     labels=("no", "yes"),
        ...     metrics=("f1", "accuracy"),
        ...     primary="f1",
        ... )
    """

    name: str
    """The task's name: ``sst2``."""
    description: str
    """One line for people."""
    text: tuple[str, ...]
    """The one or two columns of text, in the order in which the encoder reads them."""
    label: str = "label"
    """The column of the label or score."""
    labels: tuple[str, ...]
    """Class names in the order of their ids; empty for a regression."""
    metrics: tuple[str, ...]
    """Names of ``METRICS``, in the order in which they are printed."""
    primary: str
    """The metric that picks the best checkpoint and version: one of ``metrics`` that is better when greater."""
    validation: tuple[str, ...] = ("validation",)
    """The splits that it is evaluated on; the first one picks the best checkpoint."""
    bounds: tuple[float, float] | None = None
    """Lowest and highest score of a regression, where they are known."""
    positive: str | None = None
    """The class that F1 is of, by name; None: the second, class 1."""
    scored_with: str | None = None
    """The task whose adapter this one is scored on, for a task without training data of its own."""
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Fields that a newer release stored, by name: kept as they were read, and of no effect here but for ``kind``."""

    def __post_init__(self) -> None:
        for name in ("name", "description", "label", "primary"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise SettingsError(f"task {name} must be a non-empty string; found {getattr(self, name)!r}")
            if reason := not_unicode(getattr(self, name)):
                raise SettingsError(f"task {name} {getattr(self, name)!r} {reason}")
        for name in ("text", "labels", "metrics", "validation"):
            self._check_names(name)
        if len(self.text) not in (1, 2):
            raise SettingsError(f"task {self.name!r}: text takes one or two columns; found {list(self.text)}")
        if self.label in self.text:
            raise SettingsError(f"task {self.name!r}: column {self.label!r} cannot be both text and label")
        if len(self.labels) == 1:
            raise SettingsError(
                f"task {self.name!r}: one class, {self.labels[0]!r}, is nothing to learn; give two or more"
            )
        if not self.validation:
            raise SettingsError(f"task {self.name!r}: name at least one split to evaluate on")
        self._check_metrics()
        self._check_bounds()
        if self.scored_with is not None and (not isinstance(self.scored_with, str) or self.scored_with == self.name):
            raise SettingsError(f"task {self.name!r}: scored_with names another task; found {self.scored_with!r}")

    def _check_names(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, tuple) or not all(isinstance(item, str) and item for item in value):
            raise SettingsError(f"task {self.name!r}: {name} must be a tuple of non-empty strings; found {value!r}")
        for item in value:
            if reason := not_unicode(item):
                raise SettingsError(f"task {self.name!r}: {name} has {item!r}, which {reason}")
        if len(set(value)) != len(value):
            raise SettingsError(f"task {self.name!r}: {name} names something twice: {list(value)}")

    def _check_metrics(self) -> None:
        kind = kind_of(self)
        if wrong := [name for name in self.metrics if name not in kind.metrics]:
            raise SettingsError(
                f"task {self.name!r}: unknown {kind.name} metric {wrong[0]!r}; known: {', '.join(kind.metrics)}"
            )
        if "f1" in self.metrics and len(self.labels) != 2:
            raise SettingsError(
                f"task {self.name!r}: f1 is of the positive class out of two; found {len(self.labels)}; use f1_macro"
            )
        if self.positive is not None and len(self.labels) != 2:
            raise SettingsError(
                f"task {self.name!r}: a positive class is one of two; found {self.positive!r}, and {len(self.labels)} "
                "classes; the primary metric f1_macro counts every class the same"
            )
        if self.positive is not None and self.positive not in self.labels:
            raise unknown(SettingsError, f"class of '{self.name}' to be positive", str(self.positive), self.labels)
        if self.primary not in self.metrics or self.primary in ERRORS:
            able = [name for name in self.metrics if name not in ERRORS]
            raise SettingsError(
                f"task {self.name!r}: primary must be one of its metrics that is better when greater; "
                f"found {self.primary!r}; possible: {', '.join(able)}"
            )

    def _check_bounds(self) -> None:
        if self.bounds is None:
            return
        shaped = isinstance(self.bounds, tuple) and len(self.bounds) == 2
        shaped = shaped and all(isfinite(as_float(bound)) for bound in self.bounds)
        if not shaped or not self.is_regression or not self.bounds[0] < self.bounds[1]:
            raise SettingsError(
                f"task {self.name!r}: bounds are (lowest, highest) of a regression's score; found {self.bounds!r}"
            )

    @property
    def trainable(self) -> bool:
        """Whether it has training data of its own."""
        return self.scored_with is None

    @property
    def is_pair(self) -> bool:
        """Whether a row is two texts."""
        return len(self.text) == 2

    @property
    def is_regression(self) -> bool:
        """Whether a score is learned rather than a class."""
        return not self.labels

    @property
    def num_labels(self) -> int:
        """How many outputs the head has: one a class, or 1 for a regression."""
        return kind_of(self).outputs(self)

    @property
    def positive_id(self) -> int:
        """The id of the class that F1 is of."""
        return 1 if self.positive is None else self.labels.index(self.positive)

    @property
    def labels_text(self) -> str:
        """The labels for a message: ``negative, positive``, or ``a score`` for a regression."""
        return ", ".join(self.labels) or "a score"

    def measured_by(self, *, primary: str | None = None, positive: str | None = None) -> "Task":
        """The same task with another primary metric or another positive class; None leaves each as it is.

        Args:
            primary: One of the metrics of its kind, also as ``eval/f1``; it is printed first.
            positive: The class that F1 is of.

        Raises:
            SettingsError: The metric or the class is unknown, or does not fit the task.

        Examples:
            >>> task.measured_by(primary="f1", positive="fraud").metrics
            ('f1', 'accuracy', 'matthews_correlation')
        """
        primary = self.primary if primary is None else primary.removeprefix("eval/")
        metrics = self.metrics
        if primary != self.primary:
            metrics = (primary, *(name for name in self.metrics if name != primary))
        positive = self.positive if positive is None else positive
        return replace(self, metrics=metrics, primary=primary, positive=positive)

    def to_dict(self) -> dict[str, Any]:
        """Every field, in types that JSON has; ``from_dict`` reads it back."""
        values = asdict(self)
        extra: dict[str, Any] = values.pop("extra")
        return extra | {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Task":
        """Read what ``to_dict`` wrote, also that of an older or a newer release.

        A field that is missing gets its default, and a missing description the task's name; fields that are unknown
        here are kept in ``extra``.

        Raises:
            SettingsError: A field without a default is missing, or a value does not fit.
        """
        known = {column.name: column for column in fields(cls) if column.name != "extra"}
        required = [name for name, column in known.items() if column.default is MISSING and name != "description"]
        if missing := [name for name in required if name not in values]:
            raise SettingsError(f"a task needs the field {', '.join(map(repr, missing))}; found: {', '.join(values)}")
        extra = {name: value for name, value in values.items() if name not in known}
        arguments: dict[str, Any] = {"description": values["name"], "extra": extra}
        for name in known.keys() & values.keys():
            arguments[name] = tuple(values[name]) if isinstance(values[name], list) else values[name]
        return cls(**arguments)
