"""Versions and runs side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..records import ComparedField, Run, Version


class Column(NamedTuple):
    """One column: a version with the run that made it, or either alone."""

    version: Version | None
    run: Run | None
    logged: Mapping[str, float]
    """The last values of the run's metrics, where there is no version with scores of its own."""


def compare(columns: Sequence[Column]) -> list[ComparedField]:
    """Every field of some versions or runs, with the value that each has.

    Returns:
        One row a field: ``task``, ``config.reduction_factor``, ``settings.lr``, ``metrics.eval/accuracy`` and so on.
    """
    fields = [
        {**_of_run(run), **_of_version(version), **{f"metrics.{name}": value for name, value in logged.items()}}
        for version, run, logged in columns
    ]
    names = dict.fromkeys(name for column in fields for name in column)
    order = sorted(names, key=lambda name: _SECTIONS.index(name.partition(".")[0]))
    return [ComparedField(name=name, values=tuple(column.get(name) for column in fields)) for name in order]


_SECTIONS = (
    "task", "base", "method", "parameters", "size", "max_length", "made from", "seed", "status",
    "config", "settings", "data", "environment", "scored on", "metrics",
)  # fmt: skip


def _of_version(version: Version | None) -> dict[str, Any]:
    if version is None:
        return {}
    return {
        "task": version.task["name"],
        "base": f"{version.base.name} ({version.base.fingerprint[:12]})",
        "method": version.method,
        "parameters": version.parameters,
        "size": version.size,
        "max_length": version.max_length,
        "made from": ", ".join(version.parents) or None,
        **_flat("config", version.config),
        **_flat("scored on", {} if version.evaluation is None else vars(version.evaluation)),
        **{f"metrics.{name}": value for name, value in version.metrics.items()},
    }


def _of_run(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {}
    # Which settings were requested, "asked", is no setting: their values are compared.
    settings = {key: value for key, value in run.settings.items() if key not in ("config", "asked")}
    return {
        "task": run.task,
        "base": f"{run.base.name} ({run.base.fingerprint[:12]})",
        "method": run.method,
        "seed": run.seed,
        "status": run.status.value,
        **_flat("config", run.settings.get("config") or {}),
        **_flat("settings", settings),
        **_flat("data", run.data),
        **_flat("environment", run.environment),
    }


def _flat(prefix: str, value: Any) -> dict[str, Any]:
    """A nested mapping as ``{"prefix.a.b": value}``."""
    if isinstance(value, Mapping) and value:
        return {name: item for key in value for name, item in _flat(f"{prefix}.{key}", value[key]).items()}
    return {} if isinstance(value, Mapping) else {prefix: value}
