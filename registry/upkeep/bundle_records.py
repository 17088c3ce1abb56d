"""The records of a bundle: versions, runs and metric points as JSON, written and read.

A bundle may come from anywhere, so the readers check every field. They raise KeyError, TypeError, ValueError and the
like, or an error of pointsman's, for a record that is not valid; the caller says where it stands.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import BundleError
from ..records import Base, File, LoggedPoint, Parent, Run, RunStatus, Version
from ..refs import Ref, check_alias, check_filename, check_metric, check_name, check_note, check_run, check_tag
from ..runs import runs
from ..storage.objects import check_digest
from ..versions import catalog
from .older_bundles import split_origin, version_kind


@dataclass(frozen=True, kw_only=True)
class BundledVersion:
    """A version in a bundle."""

    number: int
    """Its number in the registry that it was exported from."""
    new: catalog.NewVersion
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
    """A version as JSON."""
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
        "parents": [{"ref": parent.ref, "digest": parent.digest, "role": parent.role} for parent in parents],
        "run": version.run,
        "created_at": version.created_at.isoformat(),
    }


def read_version(record: Mapping[str, Any]) -> BundledVersion:
    """Read what ``version_record`` wrote, also in an earlier release."""
    new = catalog.NewVersion(
        name=check_name(record["name"]),
        files=[
            File(name=check_filename(file["name"]), sha256=check_digest(file["sha256"]), size=_integer(file["size"]))
            for file in record["files"]
        ],
        task=_task(record["task"]),
        kind=catalog.check_kind(record.get("kind", version_kind(record["method"], record["config"]))),
        method=_text(record["method"], 64),
        config=dict(record["config"]),
        base=_base(record["base"]),
        max_length=_integer(record["max_length"]),
        parameters=_integer(record["parameters"]),
        metrics={
            check_metric(key): math.nan if value is None else float(value) for key, value in record["metrics"].items()
        },
        primary_metric=record["primary_metric"],
        run=None if record["run"] is None else check_run(record["run"]),
        parents=[
            Parent(
                ref=str(Ref.parse(_text(parent["ref"], 80))),
                digest=check_digest(parent["digest"]),
                role=_text(parent["role"], 32),
                present=False,
            )
            for parent in record["parents"]
        ],
        created_at=_time(record["created_at"]),
        tags=dict(record["tags"]),
        note=None if record["note"] is None else check_note(record["note"]),
    )
    for key, value in new.tags.items():
        check_tag(key, _text(value, 5_000))
    if not new.files or len({file.name for file in new.files}) < len(new.files):
        raise BundleError(f"{new.name} has no files, or two with one name")
    if new.digest != record["digest"]:
        raise BundleError(f"{new.name}@{record['number']} has the digest {new.digest}, not {record['digest']}")
    number = _integer(record["number"])
    if not 0 < number < 10**9:
        raise BundleError(f"{new.name} has the number {number}, which is not from 1 to 999999999")
    return BundledVersion(number=number, new=new, aliases=tuple(check_alias(alias) for alias in record["aliases"]))


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
    origin, settings = split_origin(record)
    if origin is not None:
        runs.check_origin(origin)
    fields = {
        "task": check_name(record["task"], "task name"),
        "method": _text(record["method"], 64),
        "base": _base(record["base"]),
        "settings": settings,
        "data": dict(record["data"]),
        "environment": dict(record["environment"]),
        "seed": _integer(record["seed"], low=-(2**63)),
        "status": RunStatus(record["status"]),
        "error": None if record["error"] is None else _text(record["error"], 1 << 20),
        "started_at": _time(record["started_at"]),
        "ended_at": None if record["ended_at"] is None else _time(record["ended_at"]),
        "heartbeat_at": _time(record["heartbeat_at"]),
        "origin": origin,
    }
    return BundledRun(uid=check_run(record["uid"]), adapter=check_name(record["adapter"]), fields=fields)


def point_line(key: str, step: int, epoch: float | None, wall_time: float, value: float | None) -> bytes:
    """A metric point as a line of JSON; NaN is null, as in the database."""
    # JSON has no infinity, and every reader of floating-point numbers reads 1e999 as one.
    number = "null" if value is None else repr(value).replace("inf", "1e999")
    return f"[{json.dumps(key)},{step},{json.dumps(epoch)},{wall_time!r},{number}]\n".encode()


def read_point(line: bytes) -> LoggedPoint:
    """Read what ``point_line`` wrote."""
    key, step, epoch, wall_time, value = json.loads(line.decode())
    if epoch is not None:
        epoch = float(epoch)
    number = math.nan if value is None else float(value)
    return LoggedPoint(check_metric(key), _integer(step), number, epoch, float(wall_time))


def _task(value: Any) -> dict[str, Any]:
    task = dict(value)
    check_name(task["name"], "task name")
    return task


def _base(value: Mapping[str, Any]) -> Base:
    former = value.get("former_fingerprint")
    return Base(
        fingerprint=check_digest(value["fingerprint"]),
        name=_text(value["name"], 4_096),
        model_type=_text(value["model_type"], 64),
        hidden_size=_integer(value["hidden_size"]),
        layers=_integer(value["layers"]),
        parameters=_integer(value["parameters"]),
        size=_integer(value["size"]),
        former_fingerprint=None if former is None else check_digest(former),
    )


def _text(value: Any, max_length: int) -> str:
    if not isinstance(value, str) or len(value) > max_length:
        raise TypeError(f"expected a text of at most {max_length} characters")
    return value


def _integer(value: Any, low: int = 0) -> int:
    # bool is an int in Python, and not in a bundle.
    if type(value) is not int or not low <= value < 2**63:
        raise TypeError(f"expected a whole number from {low} to 2**63 - 1")
    return value


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(_text(value, 64))
    if time.tzinfo is None:
        raise ValueError("expected a time with its time zone")
    return time
