"""What several commands print of a version: its scores, and its size beside the base's."""

from collections.abc import Mapping
from typing import Any

from pointsman.registry import Version
from pointsman.sdk.core.units import count, number, share, size

from .tables import table


def score_rows(version: Version) -> list[tuple[str, str]]:
    """Each metric with its value; the primary metric says so, and F1 of which class it is."""
    return [
        (f"{name} (primary)" if key == version.primary_metric else name, number(value))
        for key, value in version.metrics.items()
        for name in [metric_name(key, version.task)]
    ]


def metric_name(key: str, task: Mapping[str, Any]) -> str:
    """A metric with the class that it is of, if the task says so: ``eval/f1 of 'fraud'``."""
    of_class = task.get("positive") is not None and key.rpartition("/")[2] == "f1"
    return f"{key} of '{task['positive']}'" if of_class else key


def size_rows(version: Version) -> list[tuple[str, str]]:
    """Parameters and bytes, with their share of the base's."""
    base = version.base
    return [
        ("parameters", f"{count(version.parameters)} ({share(version.parameters, base.parameters)} of the base's)"),
        ("size", f"{size(version.size)} ({share(version.size, base.size)} of the base's {size(base.size)})"),
    ]


def print_metrics(metrics: Mapping[str, float], task: Mapping[str, Any]) -> None:
    """Print metrics of a task as a table."""
    rows = [(metric_name(key, task), number(value)) for key, value in metrics.items()]
    table(["metric", "value"], rows, right=("value",))
