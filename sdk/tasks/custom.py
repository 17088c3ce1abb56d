"""Tasks of the user's own."""

from collections.abc import Sequence

from pointsman.registry.errors import SettingsError

from .glue import GLUE
from .kinds import KINDS
from .task import Task


def custom_task(
    name: str,
    *,
    text: Sequence[str],
    label: str,
    labels: Sequence[str] = (),
    description: str = "",
    primary: str | None = None,
    positive: str | None = None,
) -> Task:
    """Make a task of the user's own.

    Args:
        name: Its name, none of GLUE's.
        text: One or two text columns.
        label: The column of the label or score.
        labels: The class names by id, of a classification: its metrics are accuracy (primary), F1 of the positive
            class where there are two classes and macro F1 where there are more, and Matthews' correlation. Without
            them it is a regression: Pearson (primary), Spearman and the mean absolute error.
        description: One line for people; by default made of the columns.
        primary: Another primary metric, which picks the best checkpoint and version.
        positive: The class that F1 is of, by name; by default the second.

    Raises:
        SettingsError: The name is one of GLUE's, or a field does not fit.

    Examples:
        >>> custom_task("stars", text=["review"], label="stars", labels=["1", "2", "3", "4", "5"]).primary
        'accuracy'
    """
    if name in GLUE:
        raise SettingsError(f"{name!r} is a task of GLUE; give your own data another name, such as 'my-{name}'")
    if isinstance(text, str):
        raise SettingsError(f"task {name!r}: text takes a list of one or two columns; found the string {text!r}")
    metrics = KINDS["classification" if labels else "regression"].default_metrics(len(labels))
    target = f"{len(labels)} classes of" if labels else "a score of"
    task = Task(
        name=name,
        description=description or f"{target} {' and '.join(text)}, by the column {label}",
        text=tuple(text),
        label=label,
        labels=tuple(labels),
        metrics=metrics,
        primary=metrics[0],
    )
    return task.measured_by(primary=primary, positive=positive)
