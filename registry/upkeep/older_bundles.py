"""What bundles of earlier releases leave out, derived as the migration to schema 0003 derives it."""

from collections.abc import Mapping
from typing import Any

from ..records import Origin, VersionKind


def version_kind(method: str, config: Mapping[str, Any]) -> VersionKind:
    """Return the kind of a version that says none: a composition's configuration has one key."""
    if set(config) == {"composition"}:
        return VersionKind.COMPOSITION
    return VersionKind.FUSION if method == "fuse" else VersionKind.ADAPTER


def split_origin(record: Mapping[str, Any]) -> tuple[Origin | None, dict[str, Any]]:
    """Return the origin and the settings of a run's record; earlier releases had the one in the other."""
    settings = dict(record["settings"])
    if record.get("origin") is not None:
        given = record["origin"]
        details = dict(given.get("details") or {})
        return Origin(kind=given["kind"], name=given["name"], item=given["item"], details=details), settings
    origin = settings.get("origin")
    if "origin" in record or not isinstance(origin, Mapping):
        return None, settings
    study, trial, benchmark = origin.get("study"), origin.get("trial"), origin.get("benchmark")
    if isinstance(study, str) and type(trial) is int:
        kind, name, item, own = "trial", study, str(trial), {"study", "trial"}
    elif isinstance(benchmark, str):
        kind, name, own = "cell", benchmark, {"benchmark"}
        item = f"{record['task']}/{record['method']}/{record['seed']}"
    else:
        return None, settings
    del settings["origin"]
    details = {key: value for key, value in origin.items() if key not in own}
    return Origin(kind=kind, name=name, item=item, details=details), settings
