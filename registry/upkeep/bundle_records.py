"""The records of a bundle: versions, runs and metric points as JSON, written and read.

A bundle may come from anywhere. What is read passes the checks of whatever is made here (``versions.checks`` and
``runs.checks``). The readers raise KeyError, TypeError, ValueError and the like, or an error of pointsman's, for a
record that is not valid; the caller says where it stands.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..database.bases import check_base
from ..errors import BundleError
from ..records import Base, Evaluation, File, LoggedPoint, Parent, Run, RunStatus, Version
from ..refs import GREATEST_NUMBER, Ref, check_alias, check_metric, check_note, check_run
from ..runs import liveness
from ..runs.checks import check_fields
from ..storage.objects import check_digest
from ..values import check_number, check_object, check_seconds, check_text, check_time, check_whole, refused
from ..versions import catalog, manifest
from ..versions.checks import check_kind, check_role
from ..versions.evaluations import derived
from .older_bundles import split_origin, version_kind


@dataclass(frozen=True, kw_only=True)
class BundledVersion:
    """A version in a bundle."""

    number: int
    """Its number in the registry that it was exported from."""
    new: catalog.NewVersion
    parents: tuple[Parent, ...]
    created_at: datetime
    digest: str
    """The sha256 of its manifest."""
    aliases: tuple[str, ...]

    @property
    def ref(self) -> str:
        """Its ref in the registry that it was exported from."""
        return f"{self.new.name}@{self.number}"


@dataclass(frozen=True, kw_only=True)
class BundledRun:
    """A run in a bundle."""

    uid: str
    adapter: str
    fields: Mapping[str, Any]
    """The other arguments of ``runs.insert``."""


def version_record(version: Version, parents: Sequence[Parent]) -> dict[str, Any]:
    """A version as JSON; its parents have the refs that they had when it was made, by which it may name them."""
    return {
        "name": version.name,
        "number": version.number,
        "digest": version.digest,
        "task": version.task,
        "kind": version.kind.value,
        "method": version.method,
        "config": version.config,
        "base": vars(version.base),
        "max_length": version.max_length,
        "parameters": version.parameters,
        "metrics": {key: None if math.isnan(value) else value for key, value in version.metrics.items()},
        "primary_metric": version.primary_metric,
        "files": [vars(file) for file in version.files],
        "aliases": list(version.aliases),
        "tags": version.tags,
        "note": version.note,
        "parents": [
            {"ref": ref, "digest": parent.digest, "role": parent.role}
            for ref, parent in zip(version.parents, parents, strict=True)
        ],
        "run": version.run,
        "created_at": version.created_at.isoformat(),
        "evaluation": None if version.evaluation is None else vars(version.evaluation),
    }


def read_version(record: Mapping[str, Any], runs: Mapping[str, BundledRun]) -> BundledVersion:
    """Read what ``version_record`` wrote, also in an earlier release, whose runs say what scores were computed on."""
    config = check_object("config", record["config"])
    files = [File(name=file["name"], sha256=file["sha256"], size=file["size"]) for file in _list(record, "files")]
    parents = tuple(_parent(parent) for parent in _list(record, "parents"))
    metrics = check_object("metrics", record["metrics"])
    new = catalog.NewVersion(
        name=record["name"],
        files=files,
        task=record["task"],
        kind=check_kind(record.get("kind", version_kind(record["method"], config))),
        method=record["method"],
        config=config,
        base=_base(record["base"]),
        max_length=record["max_length"],
        parameters=record["parameters"],
        metrics={key: math.nan if value is None else value for key, value in metrics.items()},
        primary_metric=record["primary_metric"],
        run=record["run"],
        tags=record["tags"],
        note=None if record["note"] is None else check_note(record["note"]),
        evaluation=_evaluation(record, runs),
    )
    digest = manifest.digest(new.manifest(parents))
    if digest != check_digest(record["digest"]):
        raise BundleError(f"its digest is {digest}, not {record['digest']}")
    return BundledVersion(
        number=check_whole("number", record["number"], 1, GREATEST_NUMBER),
        new=new,
        parents=parents,
        created_at=_time("created_at", record["created_at"]),
        digest=digest,
        aliases=tuple(check_alias(alias) for alias in _list(record, "aliases")),
    )


def run_record(run: Run) -> dict[str, Any]:
    """A run as JSON, without its points."""
    return {
        "uid": run.uid,
        "adapter": run.adapter,
        "task": run.task,
        "method": run.method,
        "base": vars(run.base),
        "settings": run.settings,
        "data": run.data,
        "environment": run.environment,
        "seed": run.seed,
        "status": run.status.value,
        "error": run.error,
        "started_at": run.started_at.isoformat(),
        "ended_at": None if run.ended_at is None else run.ended_at.isoformat(),
        "heartbeat_at": run.heartbeat_at.isoformat(),
        "origin": None if run.origin is None else vars(run.origin),
    }


def read_run(record: Mapping[str, Any]) -> BundledRun:
    """Read what ``run_record`` wrote, also in an earlier release."""
    check_object("settings", record["settings"])
    origin, settings = split_origin(record)
    times = {
        field: None if field == "ended_at" and record[field] is None else _time(field, record[field])
        for field in ("started_at", "ended_at", "heartbeat_at")
    }
    checked = {
        "task": record["task"],
        "method": record["method"],
        "settings": settings,
        "data": record["data"],
        "environment": record["environment"],
        "seed": record["seed"],
        "error": record["error"],
        "origin": origin,
    }
    if liveness.KEY in check_object("environment", record["environment"]):
        raise BundleError(f"its environment has the key '{liveness.KEY}', which only a registry sets for its own runs")
    check_fields(adapter=record["adapter"], times=[time for time in times.values() if time is not None], **checked)
    fields = {**checked, **times, "base": _base(record["base"]), "status": RunStatus(record["status"])}
    return BundledRun(uid=check_run(record["uid"]), adapter=record["adapter"], fields=fields)


def point_line(key: str, step: int, epoch: float | None, wall_time: float, value: float | None) -> bytes:
    """A metric point as a line of JSON; NaN is null, as in the database."""
    # JSON has no infinity, and every reader of floating-point numbers reads 1e999 as one.
    number = "null" if value is None else repr(value).replace("inf", "1e999")
    return f"[{json.dumps(key)},{step},{json.dumps(epoch)},{wall_time!r},{number}]\n".encode()


def read_point(line: bytes) -> LoggedPoint:
    """Read what ``point_line`` wrote."""
    key, step, epoch, wall_time, value = json.loads(line.decode())
    return LoggedPoint(
        key=check_metric(key),
        step=check_whole("step", step),
        value=math.nan if value is None else check_number("value", value),
        epoch=None if epoch is None else check_number("epoch", epoch, finite=True),
        wall_time=check_seconds("time", wall_time),
    )


def _base(value: Mapping[str, Any]) -> Base:
    base = Base(
        fingerprint=value["fingerprint"],
        name=value["name"],
        model_type=value["model_type"],
        hidden_size=value["hidden_size"],
        layers=value["layers"],
        parameters=value["parameters"],
        size=value["size"],
        former_fingerprint=value.get("former_fingerprint"),
        tokenizer=value.get("tokenizer"),
    )
    check_base(base)
    return base


def _evaluation(record: Mapping[str, Any], runs: Mapping[str, BundledRun]) -> Evaluation | None:
    if "evaluation" not in record:
        run = runs.get(record["run"])
        return None if run is None else derived(run.fields["data"])
    if record["evaluation"] is None:
        return None
    given = check_object("evaluation", record["evaluation"])
    return Evaluation(fingerprint=given["fingerprint"], rows=given["rows"])


def _parent(record: Mapping[str, Any]) -> Parent:
    ref = check_text("a parent's ref", str(Ref.parse(record["ref"])), 80)
    return Parent(ref=ref, digest=check_digest(record["digest"]), role=check_role(record["role"]), present=False)


def _list(record: Mapping[str, Any], field: str) -> list[Any]:
    value = record[field]
    if not isinstance(value, list):
        raise refused(field, value, "a list")
    return value


def _time(field: str, value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(check_text(field, value, 64))
    except ValueError:
        raise refused(field, value, "a time in the format of ISO 8601") from None
    return check_time(field, time)
