"""Homes as released schemas left them, in tests/data: whatever was in them is there after the upgrade."""

import json
import math
import random
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.registry import Base, Registry, RunRecorder, RunStatus
from pointsman.registry.database.database import REVISIONS
from pointsman.registry.errors import Action, Advice, ConflictError, DatabaseError, DiskFullError, OldSchemaError
from pointsman.registry.metrics.points import insert_points
from pointsman.registry.records import LoggedPoint
from pointsman.registry.runs import runs

from helpers import dump, interrupted_before, lines

DATA = Path(__file__).parent.parent / "data"
STORED = sorted(path.name for path in DATA.glob("schema-*"))
BASE = Base(
    fingerprint="ab" * 32, name="tiny", model_type="bert", hidden_size=8, layers=2, parameters=1_000, size=4_000
)
OTHER = Base(**vars(BASE) | {"fingerprint": "cd" * 32, "name": "other"})


of_schema_0001 = pytest.mark.parametrize("home", ["schema-0001"], indirect=True)
"""For tests that know what is in the home."""


@pytest.fixture(params=STORED)
def home(request, tmp_path):
    """A copy of a stored home, of which only one revision knows how to read it."""
    return Path(shutil.copytree(DATA / request.param, tmp_path / "home"))


@pytest.fixture
def old(home):
    """The tables that were in it, with their columns: ``{table: (columns, rows)}``."""
    execute(home, "INSERT INTO tag VALUES (1, 'team', 'text')")
    return contents(home / "registry.db")


@pytest.fixture
def upgraded(home, old):
    """The same, upgraded and open; ``old`` is what was in it."""
    with Registry(home, upgrade=True) as registry:
        yield registry


def execute(home, statement, *parameters):
    with closing(sqlite3.connect(home / "registry.db")) as connection, connection:
        return connection.execute(statement, parameters).fetchall()


def contents(path):
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for name in names:
            cursor = connection.execute(f"SELECT * FROM {name}")
            found[name] = [column for column, *_ in cursor.description], cursor.fetchall()
    del found["alembic_version"]
    return found


def number(value):
    """SQLite stores NaN as NULL."""
    return math.nan if value is None else value


def points_of(tables):
    """``(run, metric, step, value, epoch, time)`` of every point, in the order they were logged in."""
    columns, rows = tables["metric_point"]
    names = dict(tables["metric_key"][1])
    points = sorted((dict(zip(columns, row, strict=True)) for row in rows), key=itemgetter("run_id", "seq"))
    return [
        (p["run_id"], names[p["key_id"]], p["step"], number(p["value"]), p["epoch"], p["wall_time"]) for p in points
    ]


def buckets(home):
    """What is kept about stretches of points, by run and metric."""
    columns, rows = contents(home / "registry.db")["metric_bucket"]
    names = dict(execute(home, "SELECT id, name FROM metric_key"))
    place = columns.index("key_id")
    return sorted(((*row[:place], names[row[place]], *row[place + 1 :]) for row in rows), key=lambda row: row[:4])


def logged_afresh(home, points):
    """The buckets of a new registry in which the same points were logged."""
    with Registry(home) as registry:
        for _, of_run in groupby(points, key=itemgetter(0)):
            settings = {"task": "sst2", "method": "seq_bn", "base": BASE, "settings": {}, "data": {}, "environment": {}}
            with registry.start_run("sst2", **settings, seed=1) as run, registry.database.writing() as connection:
                logged = [LoggedPoint(*point[1:]) for point in of_run]
                insert_points(connection, runs.run_id(connection, run.uid), logged)
    return buckets(home)


def test_every_released_schema_is_stored():
    assert [f"schema-{revision}" for revision in REVISIONS[:-1]] == STORED
    for name in STORED:
        assert execute(DATA / name, "SELECT version_num FROM alembic_version") == [(name.removeprefix("schema-"),)]


def test_it_is_refused_with_the_command_that_upgrades_it(home):
    before = (home / "registry.db").read_bytes()
    with pytest.raises(OldSchemaError, match=r"upgrade it \(a backup is made first\)$") as refused:
        Registry(home)
    assert refused.value.advice == Advice(Action.UPGRADE_DATABASE, {"home": str(home)})
    assert (home / "registry.db").read_bytes() == before
    assert sorted(path.name for path in home.iterdir()) == ["objects", "registry.db"]


def test_a_backup_is_the_old_database(home):
    before = dump(home / "registry.db")
    with Registry(home, upgrade=True) as registry:
        backup = registry.database.backup
        assert registry.database.revision() == REVISIONS[-1]
        assert registry.database.problems() == []
    assert backup.parent == home
    assert dump(backup) == before
    with Registry(home, upgrade=True) as registry:
        assert registry.database.backup is None
    with Registry(home):
        made = ["objects", "registry.db", "registry.db-journal", backup.name]
        assert sorted(path.name for path in home.iterdir()) == sorted(made)
    # It can be put back, and upgraded again.
    shutil.copy(backup, home / "registry.db")
    with pytest.raises(OldSchemaError):
        Registry(home)
    Registry(home, upgrade=True).close()


@pytest.mark.parametrize("name", STORED)
def test_a_full_disk_while_a_backup_is_made_changes_nothing(small_disk, name):
    home = Path(shutil.copytree(DATA / name, small_disk / "home"))
    before = dump(home / "registry.db")
    left = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(left - (home / "registry.db").stat().st_size // 2))
    with pytest.raises(DiskFullError, match=r"no space is left.*nothing was half-written"):
        Registry(home, upgrade=True)
    assert sorted(path.name for path in home.iterdir()) == ["objects", "registry.db"]
    assert dump(home / "registry.db") == before
    (small_disk / "filler").unlink()
    with Registry(home, upgrade=True) as registry:
        assert dump(registry.database.backup) == before


def test_no_row_is_lost(home, old, upgraded):
    new = contents(home / "registry.db")
    assert set(old) <= set(new)
    for name, (columns, rows) in old.items():
        now, found = new[name]
        # What the upgrade changes on purpose: points are counted within their metric, scores have a table, origins
        # have columns, and a pruned run has a status of its own (test_schema_0002 looks at these).
        changed = {("metric_point", "seq")}
        if any("origin" in json.loads(row[columns.index("settings")]) for row in rows if name == "run"):
            changed |= {("run", "settings"), ("run", "status")}
        kept = [column for column in columns if column in now and (name, column) not in changed]
        assert {*columns} - {*kept} <= {"seq", "metrics"} | {column for table, column in changed if table == name}
        before = [itemgetter(*map(columns.index, kept))(row) for row in rows]
        after = [itemgetter(*map(now.index, kept))(row) for row in found]
        if name == "metric_key":
            assert after[: len(before)] == before
        else:
            assert sorted(after, key=repr) == sorted(before, key=repr), name


@of_schema_0001
def test_versions_are_what_they_were(home, old, upgraded):
    columns, rows = old["version"]
    digests = [row[columns.index("digest")] for row in rows]
    created = [datetime.fromisoformat(row[columns.index("created_at")]).replace(tzinfo=UTC) for row in rows]
    uids = [row[old["run"][0].index("uid")] for row in old["run"][1]]
    versions = {version.ref: version for version in upgraded.versions()}
    refs = ["sst2@1", "sst2@2", "cola@1", "both@1"]
    assert list(versions) == sorted(refs)
    assert [versions[ref].digest for ref in refs] == digests
    assert [versions[ref].created_at for ref in refs] == created
    assert [versions[ref].run for ref in refs] == [uids[0], uids[1], None, None]
    assert [versions[ref].base for ref in refs] == [BASE, BASE, OTHER, BASE]
    assert [versions[ref].task["name"] for ref in refs] == ["sst2", "sst2", "cola", "sst2"]
    assert [repr(dict(versions[ref].metrics)) for ref in refs] == [
        "{'eval/accuracy': 0.5, 'eval/loss': nan}",
        "{'eval/accuracy': 0.75}",
        "{}",
        "{'eval/accuracy': nan}",
    ]
    assert [versions[ref].score for ref in refs] == [0.5, 0.75, None, None]
    assert [versions[ref].primary_metric for ref in refs] == ["eval/accuracy", "eval/accuracy", None, "eval/accuracy"]
    assert [versions[ref].aliases for ref in refs] == [(), ("canary", "production"), (), ()]
    assert [versions[ref].parents for ref in refs] == [(), (), (), ("sst2@1", "sst2@2")]
    assert [versions[ref].tags for ref in refs] == [{"team": "text"}, {}, {}, {}]
    for ref, weights in zip(refs, (b"first", b"second", b"first", b"merged"), strict=True):
        version = versions[ref]
        assert (version.method, version.max_length, version.parameters, version.note) == ("seq_bn", 128, 100, None)
        assert version.config == {"reduction_factor": 16, "non_linearity": "relu"}
        assert {file.name: upgraded.read_file(version, file.name) for file in version.files} == {
            "adapter.safetensors": weights,
            "adapter_config.json": b"{}",
        }
        assert version.size == len(weights) + 2


@of_schema_0001
def test_scores_can_be_searched(home, upgraded):
    assert execute(
        home,
        "SELECT a.name, v.number, k.name, m.value FROM version_metric m JOIN version v ON v.id = m.version_id "
        "JOIN adapter a ON a.id = v.adapter_id JOIN metric_key k ON k.id = m.key_id ORDER BY v.id, k.name",
    ) == [
        ("sst2", 1, "eval/accuracy", 0.5),
        ("sst2", 1, "eval/loss", None),
        ("sst2", 2, "eval/accuracy", 0.75),
        ("both", 1, "eval/accuracy", None),
    ]
    assert upgraded.version("sst2@best").number == 2
    assert [version.ref for version in upgraded.versions("eval/accuracy >= 0.5 and last(train/loss) > 1")] == ["sst2@1"]
    assert [version.ref for version in upgraded.versions(sort="eval/accuracy", limit=2)] == ["sst2@2", "sst2@1"]
    assert [point.value for point in upgraded.version_history("sst2", "eval/accuracy")] == [0.5, 0.75]


@of_schema_0001
def test_parents_are_known_by_their_digests(upgraded):
    digests = [upgraded.version(f"sst2@{number}").digest for number in (1, 2)]
    parents = upgraded.lineage("both").parents["both@1"]
    assert [(parent.ref, parent.digest, parent.role, parent.present) for parent in parents] == [
        ("sst2@1", digests[0], "merged", True),
        ("sst2@2", digests[1], "merged", True),
    ]
    upgraded.remove("sst2@1", force=True)
    assert upgraded.version("both").parents == ("sst2@1", "sst2@2")
    assert [parent.present for parent in upgraded.lineage("both").parents["both@1"]] == [False, True]


@of_schema_0001
def test_the_log_is_what_it_was(old, upgraded):
    columns, rows = old["event"]
    events = upgraded.events()[::-1]
    assert [(event.action, event.subject) for event in events] == [
        ("add", "sst2@1"),
        ("add", "sst2@2"),
        ("add", "cola@1"),
        ("add", "both@1"),
        ("alias", "sst2@1"),
        ("alias", "sst2@2"),
        ("alias", "sst2@2"),
    ]
    at, actor = columns.index("at"), columns.index("actor")
    assert [event.at for event in events] == [datetime.fromisoformat(row[at]).replace(tzinfo=UTC) for row in rows]
    assert [event.actor for event in events] == [row[actor] for row in rows]
    assert [event.details["alias"] for event in events[4:]] == ["production", "canary", "production"]
    assert [event.details["digest"] for event in events[:4]] == [
        upgraded.version(event.subject).digest for event in events[:4]
    ]
    for name in ("sst2", "cola", "both"):
        assert upgraded.events(name)[::-1] == [event for event in events if event.subject.startswith(f"{name}@")]
    with pytest.raises(ConflictError, match="append-only"), upgraded.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM event")


@of_schema_0001
def test_runs_are_what_they_were(upgraded):
    found = upgraded.runs()[::-1]
    assert [(run.adapter, run.status, run.error, run.version) for run in found] == [
        ("sst2", RunStatus.FINISHED, None, "sst2@1"),
        ("sst2", RunStatus.FINISHED, None, "sst2@2"),
        ("cola", RunStatus.FAILED, "diverged", None),
        ("rte", RunStatus.INTERRUPTED, None, None),
    ]
    for run in found:
        assert (run.settings, run.data, run.environment) == ({"lr": 0.001}, {"rows": 3}, {"python": "3.11"})
        assert (run.method, run.base, run.seed) == ("seq_bn", BASE, 42)


@of_schema_0001
def test_every_point_of_every_history_is_there(home, old, upgraded):
    everything = points_of(old)
    uids = dict(execute(home, "SELECT id, uid FROM run"))
    series = {point[:2] for point in everything}
    assert len(series) == 6
    for run, metric in series:
        logged = [point[2:] for point in everything if point[:2] == (run, metric)]
        points = upgraded.history(f"run:{uids[run]}", metric)
        assert repr([tuple(point) for point in points]) == repr(sorted(logged, key=itemgetter(0)))
        assert execute(
            home,
            "SELECT p.seq, p.step FROM metric_point p JOIN metric_key k ON k.id = p.key_id "
            "WHERE p.run_id = ? AND k.name = ? ORDER BY p.seq",
            run,
            metric,
        ) == list(enumerate(point[0] for point in logged))
    loss = upgraded.history("sst2@1", "train/loss")
    assert [point.value for point in loss[:300]] == [1 / step for step in range(1, 301)]
    assert (str(loss[300].value), loss[301].value) == ("nan", math.inf)
    accuracy = upgraded.history("sst2@1", "eval/accuracy")
    assert [(point.step, point.value, point.epoch) for point in accuracy] == [
        (100, 0.4, 1.0), (150, 0.45, 1.5), (200, 0.5, 2.0),
    ]  # fmt: skip
    summary = {summary.key: summary for summary in upgraded.summaries("sst2@1")}["train/loss"]
    assert (summary.count, summary.nan_count, summary.min, summary.max) == (302, 1, 1 / 300, math.inf)


@of_schema_0001
def test_stretches_are_those_of_points_logged_afresh(home, old, upgraded, tmp_path):
    assert buckets(home) == logged_afresh(tmp_path / "fresh", points_of(old))
    thinned = upgraded.history("sst2@1", "train/loss", max_points=10)
    assert len(thinned) <= 10
    assert {"nan", "inf", str(1 / 300)} <= {str(point.value) for point in thinned}


@of_schema_0001
def test_a_long_history_of_any_order_is_upgraded(home, tmp_path):
    """Points of several metrics among each other, steps and values again and again, over all sizes of stretches."""
    rng = random.Random(0)
    run = execute(home, "SELECT max(id) FROM run")[0][0]
    execute(home, "DELETE FROM metric_point")
    execute(home, "DELETE FROM metric_summary")
    rows = [
        (
            run,
            rng.choice([1, 2, 2, 2]),
            rng.randrange(500) if seq % 3 else seq,
            # Not every number is taken: a buffer that could not be written may have left gaps.
            2 * seq,
            rng.choice([None, seq / 7]),
            1e9 + rng.randrange(1_000) / 4,
            rng.choice([None, math.inf, -math.inf, 0.0, 1.0, rng.random()]) if seq < 20_000 else None,
        )
        for seq in range(24_000)
    ]
    with closing(sqlite3.connect(home / "registry.db")) as connection, connection:
        connection.executemany("INSERT INTO metric_point VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    old = contents(home / "registry.db")
    Registry(home, upgrade=True).close()
    assert old["metric_point"][0] == ["run_id", "key_id", "step", "seq", "epoch", "wall_time", "value"]
    expected = logged_afresh(tmp_path / "fresh", points_of(old))
    assert [row[1:] for row in buckets(home)] == [row[1:] for row in expected]
    assert {row[2] for row in expected} == {0, 1, 2}
    assert len([row for row in expected if row[1:3] == ("train/loss", 2)]) == 2
    points = sorted(points_of(contents(home / "registry.db")), key=repr)
    assert repr(points) == repr(sorted(points_of(old), key=repr))


@of_schema_0001
def test_life_goes_on(home, upgraded):
    uid = upgraded.runs(adapter="rte")[0].uid
    resumed = RunRecorder(upgraded.database, uid)
    resumed.log({"train/loss": 2.0, "train/new": 1.0}, step=2)
    resumed.finish()
    assert [point.value for point in upgraded.history(f"run:{uid}", "train/loss")] == [3.0, 2.0]
    assert execute(home, "SELECT seq FROM metric_point WHERE run_id = 4 AND key_id = 2 ORDER BY step") == [(0,), (1,)]
    assert [summary.count for summary in upgraded.summaries(f"run:{uid}")] == [2, 1]
    assert upgraded.set_alias("sst2@1", "production", if_currently=2).number == 1
    assert upgraded.set_note("sst2@1", "text").note == "text"
    assert upgraded.set_tags("sst2@1", {"team": None}).tags == {}
    fields = {"files": {"a": b"first"}, "task": {"name": "sst2"}, "method": "m", "config": {}, "base": BASE}
    version = upgraded.add_version("sst2", **fields, max_length=8, parameters=1, run=uid, parents=[("init", "both")])
    assert (version.ref, version.parents) == ("sst2@3", ("both@1",))
    assert upgraded.database.problems() == []


@pytest.mark.slow
def test_an_upgrade_interrupted_anywhere_leaves_the_old_database_whole(home, tmp_path):
    before = dump(home / "registry.db")
    trial = Path(shutil.copytree(home, tmp_path / "trial"))
    with interrupted_before(0) as statements:
        Registry(trial, upgrade=True).close()
    begun = 1 + next(number for number, statement in enumerate(statements) if statement == "BEGIN IMMEDIATE")
    assert len(statements) - begun >= 5
    for number in range(begun, len(statements) + 1):
        # Alembic tries to tidy up even after KeyboardInterrupt, which has closed the connection.
        expected = (KeyboardInterrupt, sa.exc.PendingRollbackError)
        with pytest.raises(expected), interrupted_before(number):
            Registry(home, upgrade=True)
        assert dump(home / "registry.db") == before
    Registry(home, upgrade=True).close()
    assert lines(home / "registry.db") == lines(trial / "registry.db")


def test_a_row_that_the_upgrade_cannot_read_changes_nothing(tmp_path):
    home = Path(shutil.copytree(DATA / "schema-0003", tmp_path / "home"))
    execute(home, "UPDATE run SET started_at = 'x'")
    before = contents(home / "registry.db")
    with pytest.raises(DatabaseError, match="met a row that it cannot read, and nothing was changed: "):
        Registry(home, upgrade=True)
    assert contents(home / "registry.db") == before
