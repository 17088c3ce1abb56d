"""Versions and adapters: lists, one in full, and what it was made from."""

from functools import partial
from typing import Any

from pointsman.registry import Lineage, Registry, Version
from pointsman.registry.errors import DamagedRowError, NotFoundError
from pointsman.registry.refs import check_name

from ...core.plain import plain
from ...details.fields import Field, composition_text, config_fields
from ...details.texts import short_base
from ...web.endpoints import Endpoint
from ..calls import PAGE, ApiCall, reading
from ..records import run_of, runs_json, version_json


def endpoints(registry: Registry) -> list[Endpoint]:
    """The endpoints over a registry."""
    return [
        reading("/api/versions", partial(_list, registry), "where", "sort", "reverse", "newest", "name", *PAGE),
        reading("/api/versions/{ref}", partial(_version, registry)),
        reading("/api/lineage/{ref}", partial(_lineage, registry)),
        reading("/api/adapters/{name}", lambda call: registry.adapter(call.path["name"])),
    ]


def _list(registry: Registry, call: ApiCall) -> dict[str, Any]:
    query = call.query
    limit, offset = query.page()
    name = query.text("name")
    page = registry.versions(
        query.text("where"),
        name=None if name is None else check_name(name),
        sort=query.text("sort") or "name",
        reverse=query.flag("reverse"),
        newest_only=query.flag("newest"),
        limit=limit,
        offset=offset,
    )
    return {
        "items": [version_json(version) for version in page],
        "total": page.total,
        "offset": page.offset,
        "damaged": page.damaged,
    }


def _version(registry: Registry, call: ApiCall) -> dict[str, Any]:
    version = registry.version(call.path["ref"])
    run = run_of(registry, version)
    task = version.task
    return {
        **version_json(version),
        "digest": version.digest,
        "max_length": version.max_length,
        "labels": list(task.get("labels") or ()),
        "text": list(task.get("text") or ()),
        "description": task.get("description"),
        "files": version.files,
        "config": [_field(field) for field in config_fields(version)],
        "composition": composition_text(version),
        "parents": registry.parents(version.ref),
        "evaluation": version.evaluation,
        "base": {**plain(version.base), "name": short_base(version.base.name)},
        "run": None if run is None else runs_json(registry, [run])[0],
        "siblings": registry.adapter(version.name).numbers,
    }


def _field(field: Field) -> dict[str, Any]:
    default = {"default": field.default} if field.has_default else {}
    return {"name": field.name, "value": field.value, **default, "differs": field.chosen}


def _lineage(registry: Registry, call: ApiCall) -> dict[str, Any]:
    lineage = registry.lineage(call.path["ref"])
    present = {
        lineage.ref,
        *lineage.parents,
        *lineage.children,
        *(child for made in lineage.children.values() for child in made),
    }
    edges = [
        {"from": parent.ref, "to": child, "role": parent.role}
        for child, parents in lineage.parents.items()
        for parent in parents
    ]
    absent = {parent.ref for parents in lineage.parents.values() for parent in parents if not parent.present}
    nodes = [_node(registry, ref) for ref in sorted(present | _present_parents(lineage))]
    nodes += [{"ref": ref, "present": False, **_UNKNOWN} for ref in sorted(absent - present)]
    return {"ref": lineage.ref, "nodes": nodes, "edges": edges}


_UNKNOWN = {"method": None, "score": None, "primary_metric": None}


def _present_parents(lineage: Lineage) -> set[str]:
    return {parent.ref for parents in lineage.parents.values() for parent in parents if parent.present}


def _node(registry: Registry, ref: str) -> dict[str, Any]:
    """A version of the graph; of one whose row is damaged nothing but its ref is known."""
    try:
        version: Version = registry.version(ref)
    except DamagedRowError:
        return {"ref": ref, "present": True, **_UNKNOWN}
    except NotFoundError:  # removed meanwhile
        return {"ref": ref, "present": False, **_UNKNOWN}
    return {
        "ref": ref,
        "present": True,
        "method": version.method,
        "score": version.score,
        "primary_metric": version.primary_metric,
    }
