"""What an adapter learns: GLUE's tasks as one table, and tasks of the user's own.

This module imports nothing heavy, so that listing the tasks starts at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

from pointsman.registry.errors import SettingsError, TaskNotFoundError, unknown

METRICS: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "share of rows whose predicted class is the right one",
        "f1": "F1 of the positive class, which is class 1",
        "f1_macro": "F1 averaged over the classes, each counting the same",
        "matthews_correlation": "Matthews' correlation coefficient, -1 to 1",
        "pearson": "Pearson's correlation of scores, -1 to 1",
        "spearmanr": "Spearman's rank correlation of scores, -1 to 1",
        "mse": "mean squared error of scores",
    }
)
"""Every metric a task can name, and what it says. All are better when greater, but for ``mse``."""

SYNTHETIC = "sample (synthetic)"
"""Where the rows of ``--data sample`` came from, as a run's record says it: they tell nothing about GLUE."""

_REGRESSION_METRICS = frozenset({"pearson", "spearmanr", "mse"})


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned: text columns, labels or a score, metrics and the primary one.

    Raises:
        SettingsError: a field that contradicts another or is of the wrong type.
    """

    name: str
    """What the task is called, `sst2`."""
    description: str
    """One line for people."""
    text: tuple[str, ...]
    """The one or two columns of text, in the order the encoder reads them."""
    label: str = "label"
    """The column of the label or score."""
    labels: tuple[str, ...]
    """Class names in the order of their ids; empty for a regression."""
    metrics: tuple[str, ...]
    """Names out of `METRICS`, in the order they are shown."""
    primary: str
    """The metric that picks the best checkpoint and version: one of `metrics` that is better when greater."""
    validation: tuple[str, ...] = ("validation",)
    """The splits it is evaluated on; the first one picks the best checkpoint."""
    bounds: tuple[float, float] | None = None
    """Lowest and highest score of a regression, where they are known."""
    scored_with: str | None = None
    """The task whose adapter this one is scored on, for a task without training data of its own."""

    def __post_init__(self) -> None:
        for field in ("name", "description", "label", "primary"):
            if not isinstance(getattr(self, field), str) or not getattr(self, field).strip():
                raise SettingsError(f"task {field} must be a non-empty string; found {getattr(self, field)!r}")
        for field in ("text", "labels", "metrics", "validation"):
            self._check_names(field)
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

    def _check_names(self, field: str) -> None:
        value = getattr(self, field)
        if not isinstance(value, tuple) or not all(isinstance(item, str) and item for item in value):
            raise SettingsError(f"task {self.name!r}: {field} must be a tuple of non-empty strings; found {value!r}")
        if len(set(value)) != len(value):
            raise SettingsError(f"task {self.name!r}: {field} names something twice: {list(value)}")

    def _check_metrics(self) -> None:
        fitting = [name for name in METRICS if (name in _REGRESSION_METRICS) == self.is_regression]
        if wrong := [name for name in self.metrics if name not in fitting]:
            kind = "regression" if self.is_regression else "classification"
            raise SettingsError(f"task {self.name!r}: {kind} has no metric {wrong[0]!r}; known: {', '.join(fitting)}")
        if "f1" in self.metrics and len(self.labels) != 2:
            raise SettingsError(
                f"task {self.name!r}: f1 is of the positive class out of two; found {len(self.labels)}; use f1_macro"
            )
        if self.primary not in self.metrics or self.primary == "mse":
            able = [name for name in self.metrics if name != "mse"]
            raise SettingsError(
                f"task {self.name!r}: primary must be one of its metrics that is better when greater; "
                f"found {self.primary!r}; possible: {', '.join(able)}"
            )

    def _check_bounds(self) -> None:
        if self.bounds is None:
            return
        shaped = isinstance(self.bounds, tuple) and len(self.bounds) == 2
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
        return len(self.labels) or 1

    def to_dict(self) -> dict[str, Any]:
        """Every field, in types that JSON has; `from_dict` reads it back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Task":
        """Read what `to_dict` wrote.

        Raises:
            SettingsError: a key is missing or unknown, or a value does not fit.
        """
        known = [field.name for field in fields(cls)]
        if strange := sorted(set(values) - set(known)):
            raise SettingsError(f"a task has no field {', '.join(map(repr, strange))}; known: {', '.join(known)}")
        if missing := [name for name in known if name not in values]:
            raise SettingsError(f"a task needs the field {', '.join(map(repr, missing))}; found: {', '.join(values)}")
        read: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**read)


_NLI = ("entailment", "neutral", "contradiction")

# Columns, class names and their order are those of the data set nyu-mll/glue on the Hugging Face hub. The metrics are
# those of Table 1 in the GLUE paper (Wang et al. 2019, https://openreview.net/pdf?id=rJ4km2R5t7). For MRPC and QQP the
# table lists accuracy before F1, and accuracy is primary here: on MRPC the constant answer "equivalent" already has an
# F1 of 0.81, so that picking checkpoints by F1 can prefer a model that has learned nothing.
# ruff format would spread this table over a hundred lines.
# fmt: off
_TABLE = (
    # name    columns                     classes, by id                        metrics, the primary one first
    ("cola", ("sentence",),               ("unacceptable", "acceptable"),       ("matthews_correlation",),
     "Is the sentence acceptable English?"),
    ("sst2", ("sentence",),               ("negative", "positive"),             ("accuracy",),
     "Is the sentence from a film review positive?"),
    ("mrpc", ("sentence1", "sentence2"),  ("not_equivalent", "equivalent"),     ("accuracy", "f1"),
     "Do two sentences from the news mean the same?"),
    ("stsb", ("sentence1", "sentence2"),  (),                                   ("pearson", "spearmanr"),
     "How alike are two sentences, from 0 to 5?"),
    ("qqp",  ("question1", "question2"),  ("not_duplicate", "duplicate"),       ("accuracy", "f1"),
     "Do two questions ask the same?"),
    ("mnli", ("premise", "hypothesis"),   _NLI,                                 ("accuracy",),
     "Does the premise entail the hypothesis, contradict it, or neither?"),
    ("qnli", ("question", "sentence"),    ("entailment", "not_entailment"),     ("accuracy",),
     "Does the sentence answer the question?"),
    ("rte",  ("sentence1", "sentence2"),  ("entailment", "not_entailment"),     ("accuracy",),
     "Does the first sentence entail the second?"),
    ("wnli", ("sentence1", "sentence2"),  ("not_entailment", "entailment"),     ("accuracy",),
     "Is the pronoun of the first sentence resolved rightly in the second?"),
    ("ax",   ("premise", "hypothesis"),   _NLI,                                 ("matthews_correlation",),
     "Diagnostic pairs for natural language inference, answered by mnli's adapter"),
)
_EXTRAS: Mapping[str, Mapping[str, Any]] = {
    "stsb": {"bounds": (0.0, 5.0)},
    "mnli": {"validation": ("validation_matched", "validation_mismatched")},
    "ax":   {"validation": ("test",), "scored_with": "mnli"},  # GLUE publishes no training data for it, and one split
}
# fmt: on

GLUE: Mapping[str, Task] = MappingProxyType(
    {
        name: Task(
            name=name,
            description=description,
            text=text,
            labels=labels,
            metrics=metrics,
            primary=metrics[0],
            **_EXTRAS.get(name, {}),
        )
        for name, text, labels, metrics, description in _TABLE
    }
)
"""GLUE's ten tasks (https://gluebenchmark.com) by name."""


def glue_task(name: str) -> Task:
    """GLUE's task of that name.

    Raises:
        TaskNotFoundError: GLUE has none of that name; the message names the near ones and lists all.
    """
    if name in GLUE:
        return GLUE[name]
    advice = "for a task of your own, give a file of data with its text and label columns"
    raise unknown(TaskNotFoundError, "GLUE task", name, GLUE, advice)


def custom_task(
    name: str,
    *,
    text: Sequence[str],
    label: str,
    labels: Sequence[str] = (),
    description: str = "",
) -> Task:
    """A task of the user's own.

    With `labels` (class names by id) it is a classification: accuracy (primary), F1 of class 1 where there are two
    classes and macro F1 where there are more, and Matthews' correlation. Without, it is a regression: Pearson
    (primary), Spearman and the mean squared error. A primary metric is always better when greater.

    Raises:
        SettingsError: the name is one of GLUE's, or a field does not fit.
    """
    if name in GLUE:
        raise SettingsError(f"{name!r} is a task of GLUE; give your own data another name, such as 'my-{name}'")
    if isinstance(text, str):
        raise SettingsError(f"task {name!r}: text takes a list of one or two columns; found the string {text!r}")
    if labels:
        metrics: tuple[str, ...] = ("accuracy", "f1" if len(labels) == 2 else "f1_macro", "matthews_correlation")
    else:
        metrics = ("pearson", "spearmanr", "mse")
    about = f"{len(labels)} classes of" if labels else "a score of"
    return Task(
        name=name,
        description=description or f"{about} {' and '.join(text)}, by the column {label}",
        text=tuple(text),
        label=label,
        labels=tuple(labels),
        metrics=metrics,
        primary=metrics[0],
    )
