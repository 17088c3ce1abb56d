"""What several commands print of a version: its scores, and its size beside the base's."""

from collections.abc import Mapping

from pointsman.registry import Version

from .tables import table
from .units import count, number, share, size


def score_rows(version: Version) -> list[tuple[str, str]]:
    """Each metric with its value; the primary metric says so."""
    return [
        (f"{key} (primary)" if key == version.primary_metric else key, number(value))
        for key, value in version.metrics.items()
    ]


def size_rows(version: Version) -> list[tuple[str, str]]:
    """Parameters and bytes, with their share of the base's."""
    base = version.base
    return [
        ("parameters", f"{count(version.parameters)} ({share(version.parameters, base.parameters)} of the base's)"),
        ("size", f"{size(version.size)} ({share(version.size, base.size)} of the base's {size(base.size)})"),
    ]


def print_metrics(metrics: Mapping[str, float]) -> None:
    """Print metrics as a table."""
    table(["metric", "value"], [(key, number(value)) for key, value in metrics.items()], right=("value",))
