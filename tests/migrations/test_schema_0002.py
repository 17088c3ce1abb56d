"""What an upgrade makes of a home of schema 0002, on either kind of database."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.registry import Evaluation, Origin, Registry, RunStatus, VersionKind
from pointsman.registry.database import tables
from pointsman.registry.database.database import REVISIONS, _Empty
from pointsman.registry.errors import ConflictError, OldSchemaError, ReservedError
from pointsman.registry.upkeep import verify

STORED = Path(__file__).parent.parent / "data" / "schema-0002"
STUDY = {"space": {"learning_rate": "0.0001..0.01 log", "reduction_factor": "2, 16"}, "fixed": {"max_steps": 8}}


def old(statement):
    """Rows of the stored database, without opening it for writing."""
    with closing(sqlite3.connect(f"file:{STORED / 'registry.db'}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()


def fill_server(url, path):
    """Make a PostgreSQL database of schema 0002 with the rows of a SQLite one."""
    with closing(_Empty(url)) as target, closing(_Empty(path)) as source:
        target.migrate("0002")
        with source.reading() as reading, target.writing() as writing:
            found = sa.MetaData()
            found.reflect(reading, only=lambda name, _: name != "alembic_version")
            for table in found.sorted_tables:
                if rows := [dict(row) for row in reading.execute(table.select()).mappings()]:
                    writing.execute(table.insert(), rows)
                if "id" in table.c:
                    last = max((row["id"] for row in rows), default=0) + 1
                    sequence = sa.func.pg_get_serial_sequence(table.name, "id")
                    writing.execute(sa.select(sa.func.setval(sequence, last, False)))


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """The home and the database of a registry of schema 0002."""
    home = Path(shutil.copytree(STORED, tmp_path / "home"))
    # The stored runs scored no rows; as a training records it, one did.
    with closing(sqlite3.connect(home / "registry.db")) as connection, connection:
        connection.execute("UPDATE run SET data = json_set(data, '$.rows.eval', 32) WHERE id = 1")
    if request.param == "sqlite":
        return home, None
    url = request.getfixturevalue("postgres_url")
    fill_server(url, home / "registry.db")
    (home / "registry.db").unlink()
    return home, url


@pytest.fixture
def upgraded(place):
    home, database = place
    with Registry(home, database=database, upgrade=True) as registry:
        yield registry


def test_it_is_refused_until_it_is_upgraded(place):
    home, database = place
    with pytest.raises(OldSchemaError, match=f"has schema 0002, this pointsman needs {REVISIONS[-1]}"):
        Registry(home, database=database)
    with Registry(home, database=database, upgrade=True) as registry:
        assert registry.database.backup is not None
        assert registry.database.revision() == REVISIONS[-1]
        assert verify(registry).problems == ()
    # The backup is a database of schema 0002, whatever it was copied from.
    with closing(sqlite3.connect(registry.database.backup)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0002",)]
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (10,)
    with Registry(home, database=database) as registry:
        assert registry.database.backup is None


def test_versions_have_what_their_runs_say_they_were_scored_on(upgraded):
    (one,) = upgraded.versions("evaluation is not null")
    assert one.evaluation == Evaluation(fingerprint="12" * 32, rows=32)
    assert upgraded.best(one.ref.partition("@")[0]).version == one


def test_versions_have_kinds(upgraded):
    assert {version.ref: version.kind for version in upgraded.versions()} == {
        "sst2@1": VersionKind.ADAPTER,
        "sst2-tune@1": VersionKind.ADAPTER,
        "rte@1": VersionKind.ADAPTER,
        "fused@1": VersionKind.FUSION,
        "pair@1": VersionKind.COMPOSITION,
    }
    assert [version.ref for version in upgraded.versions("kind != adapter")] == ["fused@1", "pair@1"]


def test_versions_are_what_they_were(upgraded):
    rows = old(
        "SELECT a.name || '@' || v.number, v.digest, v.config, v.note "
        "FROM version v JOIN adapter a ON a.id = v.adapter_id"
    )
    assert {(v.ref, v.digest, json.dumps(v.config), v.note) for v in upgraded.versions()} == set(rows)
    assert len(rows) == 5
    assert upgraded.read_files(upgraded.version("fused"))["fusion.safetensors"] == b"fusion"
    assert upgraded.version("pair").parents == ("sst2@1", "sst2-tune@1")
    assert upgraded.version("sst2").tags == {"stage": "test"}
    assert upgraded.version("sst2").note == "The first,\nby hand"
    assert upgraded.version("sst2@production").ref == "sst2@1"
    assert upgraded.version("sst2-tune@canary").ref == "sst2-tune@1"
    assert {version.base.former_fingerprint for version in upgraded.versions()} == {None}


def test_trials_and_cells_have_origins(upgraded):
    trials = upgraded.runs("origin.kind = trial and origin.name = 'sst2-seq_bn'")
    assert [run.origin for run in trials][::-1] == [
        Origin(
            kind="trial",
            name="sst2-seq_bn",
            item=str(number),
            details={"params": {"learning_rate": rate, "reduction_factor": factor}, **STUDY},
        )
        for number, (rate, factor) in enumerate([(0.001, 16), (0.0001, 2), (0.01, 2), (0.005, 16), (0.002, 16)])
    ]
    (cell,) = upgraded.runs("origin.kind = cell")
    assert cell.origin == Origin(kind="cell", name="glue", item="rte/lora/42", details={"settings": {"max_steps": 8}})
    assert cell.version == "rte@1"
    others = upgraded.runs("origin.kind is null")
    assert sorted(run.adapter for run in others) == ["cola", "fused", "mine", "sst2"]


def test_settings_lose_the_origin_and_nothing_else(upgraded):
    before = {uid: json.loads(settings) for uid, settings in old("SELECT uid, settings FROM run")}
    assert len(before) == 10
    for run in upgraded.runs():
        if run.origin is not None:
            assert before[run.uid].pop("origin")
        assert list(run.settings.items()) == list(before[run.uid].items())
    # Somebody's own origin, which is neither a trial's nor a cell's, stays where it is.
    (mine,) = upgraded.runs(adapter="mine")
    assert (mine.origin, mine.settings["origin"]) == (None, {"sweep": "mine", "part": 3})


def test_pruned_trials_are_pruned_runs(upgraded):
    trials = upgraded.runs("origin.kind = trial")[::-1]
    assert [(run.status, run.version) for run in trials] == [
        (RunStatus.FINISHED, "sst2-tune@1"),
        (RunStatus.PRUNED, None),
        (RunStatus.FAILED, None),
        (RunStatus.INTERRUPTED, None),
        (RunStatus.FINISHED, None),  # its version was removed
    ]
    assert trials[1].error.startswith("pruned after step 4 of 8")
    with pytest.raises(ConflictError, match=r"was pruned and cannot be resumed"):
        upgraded.check_resumable(trials[1].uid)


def test_histories_and_the_log_are_what_they_were(upgraded):
    points = old("SELECT count(*) FROM metric_point")[0][0]
    with upgraded.database.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.metric_point)) == points == 312
    assert upgraded.history("fused", "eval/accuracy")[0].value == 0.875
    events = old("SELECT action, subject, actor, details FROM event ORDER BY id DESC")
    assert [(e.action, e.subject, e.actor, json.dumps(e.details)) for e in upgraded.events()] == events
    with pytest.raises(ConflictError, match="append-only"), upgraded.database.writing() as connection:
        connection.execute(tables.event.delete())


def test_life_goes_on(upgraded):
    interrupted = upgraded.runs("origin.item = 3 and status = interrupted")[0]
    with upgraded.resume_run(interrupted.uid, last_step=1) as recorder:
        recorder.log({"train/loss": 1.0}, step=2)
    fields = {name: getattr(interrupted, name) for name in ("task", "method", "base", "settings", "data", "seed")}
    origin = interrupted.origin
    with pytest.raises(ReservedError):
        upgraded.start_run("sst2-tune", **fields, environment={}, origin=origin)
    with upgraded.start_run("sst2-tune", **fields, environment={}, origin=origin, if_newest=interrupted.uid) as run:
        pass
    assert upgraded.run(run.uid).origin == origin
    # The constraints came along.
    for table, column in ((tables.run, "status"), (tables.version, "kind")):
        with pytest.raises(ConflictError), upgraded.database.writing() as connection:
            connection.execute(table.update().values({column: "odd"}))
    assert verify(upgraded).problems == ()
