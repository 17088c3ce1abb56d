"""A registry of 100,000 versions and 10 million metric points: a page of its list, its histories, one version more.

Every version has three scores, a tag, a run, and a file in the store; every adapter ten versions and an alias. One run
logged 5 million points of one metric, 1,000 runs a thousand each, all others 41 each. Rows go straight into the
tables, but the points of each kind of run are logged once as any others are, and then copied: every summary and every
bucket is what the registry itself writes.
"""

import functools
import hashlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.registry import Base, File, Registry
from pointsman.registry.database import tables as t
from pointsman.registry.database.bases import base_id
from pointsman.registry.metrics import points
from pointsman.registry.records import LoggedPoint, VersionKind
from pointsman.registry.versions import catalog
from pointsman.registry.versions import manifest as manifests

VERSIONS = 100_000
ADAPTERS = 10_000
LONG, MIDDLE, SHORT = 5_000_000, 1_000, 41
"""Points of the one long run, of the thousand after it, and of all others."""
MIDDLES = 1_000
QUERY = "task = sst2 and eval/f1 >= 0.9 and created > 2026-01-02"
"""Finds one version in forty."""
WIDE_QUERY = "task in (sst2, cola) and eval/f1 > 0.5 and created > 2026-01-02"
"""Finds every fourth."""
BOUND = 20.0
"""Milliseconds that a page or a picture may take."""
ROUNDS = 21
ADDED = 31

BASE = Base(fingerprint="0" * 64, name="none", model_type="bert", hidden_size=1, layers=1, parameters=1, size=1)
TASKS = [{"name": name, "labels": ["no", "yes"], "metric": "accuracy"} for name in ("sst2", "cola", "rte", "mrpc")]
METRICS = ("eval/accuracy", "eval/f1", "eval/loss")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = b'{"reduction_factor": 16}'


def run(bench: str, data: str) -> dict[str, Any]:
    """Milliseconds, the median of rounds, in a registry that was opened anew."""
    home = Path(_registry().name)
    with Registry(home) as registry:
        return {"scale-list": _list, "scale-history": _history, "scale-add": _add}[bench](registry)


def _list(registry: Registry) -> dict[str, Any]:
    by_metric = {"sort": "eval/accuracy"}
    taken = _medians(
        {
            "newest of each adapter": lambda: _page(registry, ADAPTERS, newest_only=True),
            "every version": lambda: _page(registry, VERSIONS),
            "query by metric": lambda: _page(registry, None, where=QUERY, **by_metric),
            "wide query by metric": lambda: _page(registry, None, where=WIDE_QUERY, **by_metric),
        }
    )
    # Counting what a quarter of all versions are is another task than finding some: it is shown, not bounded.
    wide = taken.pop("wide query by metric")
    figure = _bounded(taken, f"a page of 50 of {VERSIONS:,} versions and how many there are, the slowest of three")
    return figure | {"wide_query": wide}


def _page(registry: Registry, total: int | None, **asked: Any) -> None:
    found = registry.versions(limit=50, **asked)
    if len(found) != 50 or found.total != (found.total if total is None else total):
        raise RuntimeError(f"a page of {len(found)} of {found.total} versions, not 50 of {total}")


def _history(registry: Registry) -> dict[str, Any]:
    long, middle = ("run:" + _uid(row) for row in (1, 2))
    taken = _medians(
        {
            "all 1,000 points": lambda: _points(registry, middle, MIDDLE),
            "1,000 of 5 million points": lambda: _points(registry, long, 1_000),
            "1,000 of 500,000 in their middle": lambda: _points(registry, long, 1_000, 2_250_000, 2_749_999),
            "1,000 of 10,000 in their middle": lambda: _points(registry, long, 1_000, 2_495_000, 2_504_999),
        }
    )
    return _bounded(taken, "a history beside 10 million points, the slowest of four")


def _points(registry: Registry, ref: str, most: int, first: int | None = None, last: int | None = None) -> None:
    found = registry.history(ref, "train/loss", first_step=first, last_step=last, max_points=most)
    if not most / 2 < len(found) <= most:
        raise RuntimeError(f"a history of {len(found)} points, not of {most}")


def _add(registry: Registry) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home, Registry(home) as empty:
        number = iter(range(sys.maxsize))
        taken = _medians(
            {"big": lambda: _one_more(registry, next(number)), "empty": lambda: _one_more(empty, next(number))}, ADDED
        )
    return {
        "ours": taken["big"],
        "peer": taken["empty"],
        "ratio": taken["empty"] / taken["big"],
        "unit": "ms",
        "note": f"adding a version beside {VERSIONS:,} versions and 10 million points, and in an empty registry",
    }


def _one_more(registry: Registry, number: int) -> None:
    registry.add_version(
        f"adapter{number % 10}",
        files={"weights": f"one more {number}".encode(), "config": CONFIG},
        task=TASKS[0],
        method="seq_bn",
        config={"reduction_factor": 16},
        base=BASE,
        max_length=128,
        parameters=1,
        metrics=dict.fromkeys(METRICS, 0.5),
        primary_metric="eval/accuracy",
    )


def _medians(acts: dict[str, Callable[[], None]], rounds: int = ROUNDS) -> dict[str, float]:
    """Milliseconds of each, in turn, after one of each that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds + 1):
        for name, act in acts.items():
            began = time.perf_counter()
            act()
            taken[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(all_of[1:]) for name, all_of in taken.items()}


def _bounded(taken: dict[str, float], note: str) -> dict[str, Any]:
    slowest = max(taken.values())
    return {
        "ours": slowest,
        "peer": BOUND,
        "ratio": BOUND / slowest,
        "unit": "ms",
        "each": {name: round(milliseconds, 3) for name, milliseconds in taken.items()},
        "note": f"{note}; the peer is the bound",
    }


# Making it


@functools.cache
def _registry() -> tempfile.TemporaryDirectory[str]:
    """The big registry, made once in this process; it goes when the process ends."""
    directory = tempfile.TemporaryDirectory()
    began = time.monotonic()
    with Registry(directory.name) as registry:
        with registry.database.writing() as connection:
            _versions(connection, registry)
            _series(connection)
        with registry.database.reading() as connection:
            count = sa.select(sa.func.count())
            made = (
                connection.scalar(count.select_from(t.version)),
                connection.scalar(sa.select(sa.func.sum(t.metric_summary.c.count))),
                connection.scalar(count.select_from(t.metric_point)),
            )
    expected = LONG + MIDDLES * MIDDLE + (VERSIONS - MIDDLES - 1) * SHORT
    if made != (VERSIONS, expected, expected):
        raise RuntimeError(f"made {made} versions and points, not {VERSIONS} and {expected}")
    print(f"made a registry of {VERSIONS:,} versions in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return directory


def _versions(connection: sa.Connection, registry: Registry) -> None:
    """Adapters, runs and versions, with all that hangs on them."""
    base, keys, numbers = base_id(connection, BASE), points.key_ids(connection, METRICS), random.Random(0)
    shared = File(name="config", sha256=registry.store.put(CONFIG), size=len(CONFIG))
    adapters = range(1, ADAPTERS + 1)
    connection.execute(
        t.adapter.insert(),
        [{"id": row, "name": _name(row), "last_number": VERSIONS // ADAPTERS, "created_at": EPOCH} for row in adapters],
    )
    for rows in _stretches(range(1, VERSIONS + 1), 10_000):
        many: dict[sa.Table, list[dict[str, Any]]] = {
            table: [] for table in (t.run, t.version, t.version_file, t.version_metric, t.tag, t.event)
        }
        for row in rows:
            for table, values in _version(
                row, base=base, keys=keys, numbers=numbers, root=registry.store.root, shared=shared
            ):
                many[table].append(values)
        for table, inserted in many.items():
            connection.execute(table.insert(), inserted)
    connection.execute(
        t.alias.insert(),
        [{"adapter_id": row, "name": "production", "version_id": row, "moved_at": EPOCH} for row in adapters],
    )


def _version(
    row: int, *, base: int, keys: dict[str, int], numbers: random.Random, root: Path, shared: File
) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    """The rows of one version; its own file is stored, but not synced."""
    name, number, at = _name((row - 1) % ADAPTERS + 1), (row - 1) // ADAPTERS + 1, EPOCH + timedelta(minutes=row)
    task, method = TASKS[numbers.randrange(len(TASKS))], "seq_bn"
    config = {"reduction_factor": 2 ** numbers.randrange(1, 6), "non_linearity": "relu", "residual": True}
    content = f"weights of {row}".encode()
    own = File(name="weights", sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    path = root / own.sha256[:2] / own.sha256[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    scores = {metric: numbers.random() for metric in METRICS}
    new = catalog.NewVersion(
        name=name,
        files=[shared, own],
        task=task,
        method=method,
        config=config,
        kind=VersionKind.ADAPTER,
        base=BASE,
        max_length=128,
        parameters=numbers.randrange(10**6),
        metrics=scores,
        primary_metric=METRICS[0],
        run=None,
        tags={},
        note=None,
    )
    manifest = new.manifest([])
    digest = manifests.digest(manifest)
    yield (
        t.run,
        {
            "id": row,
            "uid": _uid(row),
            "adapter_name": name,
            "task": task["name"],
            "method": method,
            "base_id": base,
            "settings": {"learning_rate": 1e-4, "epochs": 3},
            "data": {"source": "bench", "rows": 67_349},
            "environment": {"python": "3.11"},
            "seed": row,
            "status": "finished",
            "started_at": at,
            "ended_at": at,
            "heartbeat_at": at,
        },
    )
    yield (
        t.version,
        {
            "id": row,
            "adapter_id": (row - 1) % ADAPTERS + 1,
            "number": number,
            "digest": digest,
            "manifest": manifest,
            "task_name": task["name"],
            "task": task,
            "method": method,
            "config": config,
            "base_id": base,
            "max_length": new.max_length,
            "parameters": new.parameters,
            "size": sum(file.size for file in new.files),
            "primary_metric": new.primary_metric,
            "score": scores[METRICS[0]],
            "run_id": row,
            "created_at": at,
            "kind": new.kind,
        },
    )
    for file in new.files:
        yield t.version_file, {"version_id": row, "name": file.name, "sha256": file.sha256, "size": file.size}
    for metric, value in scores.items():
        yield t.version_metric, {"version_id": row, "key_id": keys[metric], "value": value}
    yield t.tag, {"version_id": row, "key": "owner", "value": f"user{row % 50}"}
    yield (
        t.event,
        {
            "at": at,
            "actor": "ann@lab3",
            "action": "add",
            "adapter_name": name,
            "subject": f"{name}@{number}",
            "details": {"digest": digest},
        },
    )


def _series(connection: sa.Connection) -> None:
    """The points: of the first run, the second, and the first of the many logged; of all others copied from these."""
    first_short = MIDDLES + 2
    for row, count in ((1, LONG), (2, MIDDLE), (first_short, SHORT)):
        numbers = random.Random(row)
        for steps in _stretches(range(count), 100_000):
            logged = [
                LoggedPoint("train/loss", step, 1000 / (step + 1000) + numbers.random(), None, 1e9 + step)
                for step in steps
            ]
            points.insert_points(connection, row, logged)
    for table in (t.metric_point, t.metric_summary, t.metric_bucket):
        others = [column for column in table.c if column.name != "run_id"]
        for row, last in ((2, MIDDLES + 1), (first_short, VERSIONS)):
            copied = (
                sa.select(t.run.c.id, *others)
                .select_from(t.run.join(table, table.c.run_id == row))
                .where(t.run.c.id > row, t.run.c.id <= last)
                .order_by(t.run.c.id)
            )
            connection.execute(table.insert().from_select(["run_id", *(column.name for column in others)], copied))


def _stretches(numbers: range, size: int) -> Iterator[range]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _name(row: int) -> str:
    return f"adapter-{row:05}"


def _uid(row: int) -> str:
    return hashlib.sha256(str(row).encode()).hexdigest()[:12]
