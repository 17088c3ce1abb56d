"""What the server is, who the caller is, and what a query can name."""

from collections.abc import Iterator, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any, Final

from pointsman.registry import Base, Registry
from pointsman.registry.search.run_fields import RUNS
from pointsman.registry.search.subject import Subject
from pointsman.registry.search.version_fields import VERSIONS
from pointsman.registry.versions.listing import SORTS

from ...details.texts import short_base
from ...web.access import Role
from ...web.endpoints import Endpoint
from ..calls import ApiCall, reading

_HELP: Final[Mapping[str, str]] = {
    "adapter": "the adapter that it trains a version of",
    "alias": "an alias of the version",
    "base": "the base's name",
    "config.FIELD": "a field of the method's configuration",
    "created": "when it was made",
    "data.FIELD": "where its rows came from, and how many",
    "digest": "the sha256 of its content",
    "ended": "when it ended",
    "error": "why it failed",
    "evaluation": "the sha256 of the rows that it is scored on",
    "evaluation_rows": "the rows that it is scored on",
    "fingerprint": "the base's fingerprint",
    "kind": "what it is made of",
    "max_length": "the tokens that an input is cut to",
    "method": "the adapter method",
    "metrics.NAME": "a score of the version",
    "name": "the adapter's name",
    "note": "its note",
    "number": "the version's number",
    "origin.FIELD": "a detail of the larger work that it is a part of",
    "origin.item": "which part of it",
    "origin.kind": "the larger work that it is a part of: trial or cell",
    "origin.name": "the name of the study or benchmark",
    "parameters": "its trained parameters",
    "parent": "a ref that it was made from",
    "primary_metric": "the metric that its score is of",
    "run": "the uid of the run",
    "score": "the value of its primary metric",
    "seed": "the random seed",
    "settings.FIELD": "a setting of the training",
    "size": "the bytes of its files",
    "started": "when it started",
    "status": "how it stands",
    "tags.KEY": "a tag",
    "task": "the task's name",
    "version": "the version's number, or, of a run, the ref of the version that it made",
}


def endpoints(registry: Registry, base: Base | None) -> list[Endpoint]:
    """The endpoints.

    Args:
        registry: The registry.
        base: The base that the server answers with.
    """
    return [
        reading("/api/about", partial(_about, registry, base)),
        reading("/api/fields", partial(_fields, registry)),
    ]


def _about(registry: Registry, base: Base | None, call: ApiCall) -> dict[str, Any]:
    role = call.role or Role.READ
    return {
        "version": version("pointsman"),
        "registry": registry.database.identity,
        "role": str(role),
        "can_change": role >= Role.ADMIN,
        "serves": base is not None,
        "base": None if base is None else {"name": short_base(base.name), "fingerprint": base.fingerprint},
        "adapters": registry.versions(newest_only=True, limit=1).total,
        "versions": registry.versions(limit=1).total,
        "runs": registry.runs(limit=1).total,
    }


def _fields(registry: Registry, _: ApiCall) -> dict[str, Any]:
    return {
        "versions": list(_fields_of(VERSIONS)),
        "runs": list(_fields_of(RUNS)),
        "metrics": registry.metric_names(),
        "sorts": list(SORTS),
    }


def _fields_of(subject: Subject) -> Iterator[dict[str, str]]:
    """The fields of a query, without the metrics that ``known`` has as examples."""
    for name in subject.known:
        if "/" not in name:
            place = subject.fields.get(name)
            kind = "any" if place is None else place.kind.name.removeprefix("a ")
            choices = "" if place is None or not place.kind.choices else f": {', '.join(place.kind.choices)}"
            yield {"name": name, "kind": kind, "help": f"{_HELP[name]}{choices}"}
