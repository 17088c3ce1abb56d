"""Tasks of the user's own."""

from collections.abc import Sequence

from pointsman.registry.errors import SettingsError

from .glue import GLUE
from .task import Task


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
