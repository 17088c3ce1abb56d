"""Upkeep: what verify finds, what gc leaves alone, and what a backup holds."""

import os
import sqlite3
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pointsman.registry import Registry, RunStatus
from pointsman.registry.database import events
from pointsman.registry.errors import ConflictError, ObjectCorruptError, ObjectMissingError, SettingsError, StoreError
from pointsman.registry.runs import listing as runs_listing
from pointsman.registry.runs import part as runs_part
from pointsman.registry.runs import runs
from pointsman.registry.upkeep import back_up, collect_garbage, diagnose, export_bundle, repair, verify
from pointsman.registry.versions import part as versions_part

from shapes import FIELDS, RUN


@pytest.fixture
def filled(registry):
    """Two versions of one file in common, a parent, an alias, a run with points."""
    with registry.start_run("sst2", **RUN) as run:
        for step in range(100):
            run.log({"loss": 1 / (step + 1)}, step=step)
    registry.add_version("sst2", **FIELDS, run=run.uid)
    registry.add_version("sst2", **{**FIELDS, "files": {"a": b"two", "adapter_config.json": b"{}"}})
    registry.add_version("mix", **FIELDS, parents=[("merged", "sst2@1"), ("merged", "sst2@2")])
    registry.set_alias("sst2@1", "production")
    return registry


def change(registry, statement):
    """Change a row behind the registry's back."""
    with registry.database.writing() as connection:
        assert connection.exec_driver_sql(statement).rowcount > 0


@pytest.mark.databases
def test_all_is_well(filled):
    report = verify(filled)
    assert (report.problems, report.versions, report.files, report.size) == ((), 3, 3, 12)


@pytest.mark.databases
@pytest.mark.parametrize(
    ("statement", "subject", "said"),
    [
        ("UPDATE version SET manifest = manifest || ' ' WHERE number = 2", "sst2@2", "its manifest has the sha256"),
        ("UPDATE version SET digest = 'no' WHERE number = 2", "sst2@2", "its manifest has the sha256"),
        ("UPDATE version SET max_length = 7 WHERE number = 2", "sst2@2", "not what its manifest says: max_length"),
        ("UPDATE version SET config = '{}' WHERE number = 2", "sst2@2", "not what its manifest says: config"),
        ("UPDATE version SET method = 'lora' WHERE number = 2", "sst2@2", "not what its manifest says: method"),
        ("UPDATE version SET task = '{}' WHERE number = 2", "sst2@2", "not what its manifest says: task"),
        ("UPDATE version SET task_name = 'rte' WHERE number = 2", "sst2@2", "listed under the task rte"),
        ("UPDATE version SET size = 1 WHERE number = 2", "sst2@2", "its files have 5 bytes, its row says 1"),
        ("UPDATE version SET score = 0.9 WHERE number = 2", "sst2@2", "its score is 0.9, and eval/accuracy is 0.5"),
        ("UPDATE version_metric SET value = 0.9 WHERE version_id = 2", "sst2@2", "eval/accuracy is 0.9"),
        ("UPDATE version_file SET name = 'b' WHERE name = 'a'", "sst2@2", "not what its manifest says: files"),
        ("DELETE FROM version_file WHERE name = 'a'", "sst2@2", "not what its manifest says: files"),
        ("DELETE FROM lineage WHERE position = 1", "mix@1", "not what its manifest says: parents"),
        ("UPDATE lineage SET parent_id = 1 WHERE position = 1", "mix@1", "linked to a version of other content"),
        ("UPDATE base SET fingerprint = 'no'", "sst2@1", "not what its manifest says: base"),
        (
            "UPDATE adapter SET last_number = 1 WHERE name = 'sst2'",
            "sst2",
            "counts 1 versions, and has one of number 2",
        ),
        ("UPDATE alias SET version_id = 3", "sst2@production", "points to a version of another adapter"),
        (
            "DELETE FROM metric_point WHERE step = 7",
            "run:",
            "from 0.01 to 1.0; there are 99 points",
        ),
        ("DELETE FROM metric_point", "run:", "counts 100 points, 0 of them NaN, from 0.01 to 1.0; there are 0 "),
        ("UPDATE metric_point SET value = 2 WHERE step = 7", "run:", "0 of them NaN, from 0.01 to 2"),
        (
            "UPDATE metric_point SET value = NULL WHERE step = 7",
            "run:",
            "there are 100 points, 1 of them NaN",
        ),
        (
            "UPDATE metric_summary SET min = 0",
            "run:",
            "from 0.0 to 1.0; there are 100 points, 0 of them NaN, from 0.01",
        ),
        ("UPDATE metric_bucket SET max = 2 WHERE level = 1", "run:", "loss, kept for each 1024 points, are not"),
        ("DELETE FROM metric_bucket WHERE level = 0 AND bucket = 1", "run:", "loss, kept for each 64 points, are not"),
        ("DELETE FROM metric_bucket WHERE level = 2", "run:", "loss, kept for each 16384 points, are not"),
        ("DELETE FROM metric_summary", "run:", "loss has 100 points and no summary"),
        ("UPDATE version_file SET size = 1 WHERE name = 'a'", None, "the file has 3 bytes, its rows say 1"),
    ],
)
def test_a_row_that_is_wrong(filled, statement, subject, said):
    change(filled, statement)
    problems = verify(filled).problems
    assert any(said in problem.text and problem.subject.startswith(subject or "") for problem in problems), problems


def test_a_file_that_is_wrong(registry, add):
    version = add(files={name: name.encode() * 100 for name in "abcdef"})
    path = {file.name: registry.store.path(file.sha256) for file in version.files}
    flipped = bytearray(path["a"].read_bytes())
    flipped[50] ^= 1
    path["a"].write_bytes(flipped)
    path["b"].write_bytes(path["b"].read_bytes()[:-1])
    path["c"].write_bytes(bytes(100))
    path["d"].unlink()
    swapped = path["f"].read_bytes()
    path["e"].write_bytes(swapped)
    by_name = {file.sha256: file.name for file in version.files}
    found = {by_name[problem.digest]: problem.text for problem in verify(registry).problems}
    assert found.keys() == {*"abcde"}
    assert "is damaged: its 100 bytes" in found["a"]
    assert "is damaged: its 99 bytes (100 are right)" in found["b"]
    assert "is missing from" in found["d"]
    assert all("sst2@1" in text for text in found.values())
    for name, error in zip("abcdef", [ObjectCorruptError] * 3 + [ObjectMissingError, ObjectCorruptError], strict=False):
        with pytest.raises(error):
            registry.read_file(version, name)
    assert registry.read_file(version, "f") == b"f" * 100


def test_a_damaged_page_is_found(registry, add, home):
    for _ in range(50):
        add(files={"a": os.urandom(10)})
    registry.close()
    path = home / "registry.db"
    content = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_version_digest'").fetchone()
    content[(page - 1) * 4096 + 3 : page * 4096] = bytes(4093)
    path.write_bytes(content)
    with Registry(home) as damaged:
        assert any(problem.subject == "database" for problem in verify(damaged).problems)


def test_what_is_removed_meanwhile_is_no_problem(registry, add):
    version = add()
    store, lock = registry.store, threading.Lock()

    class Slow(type(store)):
        """A store during whose reading the version is removed and its files are collected."""

        def measure(self, digest):
            with lock:
                if registry.versions():
                    registry.remove("sst2@1")
                    for file in version.files:
                        self.path(file.sha256).unlink()
            return super().measure(digest)

    registry.store = Slow(store.root)
    assert verify(registry).problems == ()


@pytest.mark.databases
def test_repair_takes_the_first_copy_that_is_right(filled, tmp_path):
    back_up(filled, tmp_path / "bad")
    back_up(filled, tmp_path / "good")
    export_bundle(filled, ["mix"], tmp_path / "some.tar")
    digests = sorted({file.sha256 for version in filled.versions() for file in version.files})
    for digest in digests:
        filled.store.path(digest).write_bytes(b"?")
        (tmp_path / "bad" / "objects" / digest[:2] / digest[2:]).write_bytes(b"!")
    before = verify(filled).problems
    assert repair(filled, before, [tmp_path / "bad"]).mended == ()
    some = repair(filled, before[:1], [tmp_path / "bad", tmp_path / "good" / "objects"])
    assert (len(some.mended), some.left) == (1, ())
    rest = repair(filled, verify(filled).problems, [tmp_path / "bad", tmp_path / "some.tar"])
    assert len(rest.mended) == 2
    assert verify(filled).problems == ()
    with pytest.raises(SettingsError, match="is not there: name a backup"):
        repair(filled, before, [tmp_path / "nosuch"])


@pytest.mark.databases
def test_repair_leaves_what_no_file_can_mend(filled, tmp_path):
    back_up(filled, tmp_path / "good")
    change(filled, "UPDATE version SET size = 1 WHERE number = 2")
    outcome = repair(filled, verify(filled).problems, [tmp_path / "good"])
    assert (outcome.mended, len(outcome.left)) == ((), 1)


# Garbage


def age(registry, hours=2.0):
    past = time.time() - hours * 3600
    for path in registry.store.root.rglob("*"):
        os.utime(path, (past, past))


def test_garbage_is_what_no_version_needs(registry, add, home):
    add(files={"a": b"kept", "b": b"common"})
    add(files={"a": b"gone", "b": b"common"})
    registry.remove("sst2@2")
    (home / "objects" / "12").mkdir(exist_ok=True)
    (home / "objects" / "12" / f".{'0' * 32}.tmp").write_bytes(b"half")
    (home / "objects" / "notes.txt").write_bytes(b"a person's")
    young = collect_garbage(registry)
    assert (young.files, young.young) == ((), 2)
    age(registry)
    found = collect_garbage(registry)
    assert sorted(file.size for file in found.files) == [4, 4]
    assert found.size == 8
    assert collect_garbage(registry).files == found.files
    done = collect_garbage(registry, apply=True)
    assert done.files == found.files
    assert collect_garbage(registry).files == ()
    assert (home / "objects" / "notes.txt").exists()
    assert verify(registry).problems == ()
    assert registry.events()[0].action == "gc"
    assert registry.events()[0].details == {"files": 2, "size": 8}


@pytest.mark.parametrize(("hours", "count"), [(0.9, 0), (1.1, 1), (-5, 0)])
def test_young_files_and_those_of_a_clock_that_was_ahead_stay(registry, add, hours, count):
    add(files={"a": b"gone"})
    registry.remove("sst2@1")
    age(registry, hours)
    assert len(collect_garbage(registry, apply=True).files) == count


def test_content_that_comes_back_while_garbage_is_collected(registry, add, home):
    """A version is added whose file is old and needed by nobody: at any moment of it, garbage is collected."""
    for moment in range(40):
        add(files={"a": b"again"})
        registry.remove(registry.version("sst2").ref)
        age(registry)
        steps = 0

        def collect(*_, moment=moment):
            nonlocal steps
            steps += 1
            # Within the write lock nobody collects: whoever tries waits until it is over.
            if steps == moment + 1 and not writing():
                with Registry(home) as other:
                    collect_garbage(other, apply=True)

        def writing():
            with closing(sqlite3.connect(home / "registry.db", timeout=0)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    return True
            return False

        engine = registry.database._engine
        sa.event.listen(engine, "begin", collect)
        sa.event.listen(engine, "checkout", collect)
        try:
            version = add(files={"a": b"again"})
        finally:
            sa.event.remove(engine, "begin", collect)
            sa.event.remove(engine, "checkout", collect)
        assert registry.read_file(version, "a") == b"again"
        assert verify(registry).problems == ()
        registry.remove(version.ref)
        if steps <= moment:
            break
    assert moment > 2


def test_versions_are_added_while_garbage_is_collected(registry, add, home):
    stop = threading.Event()
    failures = []

    def collect():
        with Registry(home) as other:
            while not stop.is_set():
                try:
                    # Not those that are half-written: these are young.
                    for file in other.store.files():
                        if file.digest is not None:
                            os.utime(other.store.path(file.digest), (0, 0))
                    collect_garbage(other, apply=True)
                except Exception as error:
                    failures.append(error)
                    return

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for number in range(30):
            version = add(files={"a": b"same", "b": b"%d" % (number % 3)})
            assert registry.read_file(version, "a") == b"same"
            registry.remove(version.ref)
    finally:
        stop.set()
        thread.join()
    assert failures == []


# Backups


@pytest.mark.databases
def test_a_backup_is_a_home(filled, tmp_path):
    made = back_up(filled, tmp_path / "backup")
    assert (made.files, made.copied, made.size) == (3, 3, 12)
    with Registry(made.path) as copy:
        assert [repr(version) for version in copy.versions()] == [repr(version) for version in filled.versions()]
        assert copy.events(limit=None) == filled.events(limit=None)
        assert copy.runs() == filled.runs()
        assert copy.history("sst2@1", "loss") == filled.history("sst2@1", "loss")
        assert copy.history("sst2@1", "loss", max_points=20) == filled.history("sst2@1", "loss", max_points=20)
        assert verify(copy).problems == ()
        # It goes on by itself.
        assert copy.add_version("sst2", **FIELDS).ref == "sst2@3"
    assert filled.versions(name="sst2").total == 2


@pytest.mark.databases
def test_a_backup_is_brought_up_to_date(filled, tmp_path):
    back_up(filled, tmp_path / "backup")
    filled.add_version("sst2", **{**FIELDS, "files": {"a": b"later"}})
    again = back_up(filled, tmp_path / "backup")
    assert (again.files, again.copied) == (4, 1)
    with Registry(tmp_path / "backup") as copy:
        assert copy.versions(name="sst2").total == 3


@pytest.mark.databases
def test_a_backup_that_fails_leaves_the_earlier_one(filled, tmp_path):
    back_up(filled, tmp_path / "backup")
    version = filled.add_version("sst2", **{**FIELDS, "files": {"a": b"later"}})
    filled.store.path(version.files[0].sha256).unlink()
    with pytest.raises(ObjectMissingError):
        back_up(filled, tmp_path / "backup")
    with Registry(tmp_path / "backup") as copy:
        assert copy.versions(name="sst2").total == 2
        assert verify(copy).problems == ()
    assert not list((tmp_path / "backup").glob(".*.tmp"))


@pytest.mark.databases
def test_a_backup_goes_nowhere_that_holds_something_else(filled, home, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for place in (tmp_path / "mine", filled.home):
        filled.home.mkdir(exist_ok=True)
        (filled.home / "x").touch()
        with pytest.raises(ConflictError, match="is no earlier backup, and not empty"):
            back_up(filled, place)


@pytest.mark.databases
def test_a_backup_that_was_written_to_is_somebodys(filled, tmp_path):
    back_up(filled, tmp_path / "backup")
    with Registry(tmp_path / "backup") as copy:
        copy.check_writable()
        diagnose(copy.home)
    back_up(filled, tmp_path / "backup")
    with Registry(tmp_path / "backup") as copy:
        copy.set_tags("sst2", {"only": "here"})
    with pytest.raises(ConflictError, match="was written to since it was made"):
        back_up(filled, tmp_path / "backup")
    with Registry(tmp_path / "backup") as copy:
        assert copy.version("sst2").tags == {"only": "here"}


@pytest.mark.databases
def test_a_backup_below_a_file(filled, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"the backup .* cannot be written: Not a directory"):
        back_up(filled, tmp_path / "file" / "below")


@pytest.mark.databases
def test_a_backup_while_others_write(registry, start_run, tmp_path):
    stop = threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            with start_run(registry) as run:
                for step in range(20):
                    run.log({"loss": 1.0, "lr": 2.0}, step=step)
            registry.add_version("sst2", **{**FIELDS, "files": {"a": b"%d" % number}}, run=run.uid)

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    try:
        for number in range(4):
            back_up(registry, tmp_path / f"backup-{number}")
            with Registry(tmp_path / f"backup-{number}") as copy:
                assert verify(copy).problems == ()
                seen.append(copy.versions().total)
    finally:
        stop.set()
        thread.join()
    assert seen == sorted(seen)


# Doctor and clocks


def test_a_clock_that_was_set_back(registry, start, monkeypatch):
    """A run whose last word lies in the future is not taken for a running one, and nothing else goes wrong."""
    real = events.now()
    ahead = real + timedelta(days=1)
    clocks = (events, runs, runs_listing, runs_part, versions_part)
    for module in clocks:
        monkeypatch.setattr(module, "now", lambda: ahead)
    run = start()
    run.log({"loss": 1.0}, step=0)
    run.flush()
    first = registry.add_version("sst2", **FIELDS)
    for module in clocks:
        monkeypatch.setattr(module, "now", lambda: real)
    assert registry.run(run.uid).status == RunStatus.INTERRUPTED
    second = registry.add_version("sst2", **FIELDS)
    assert second.created_at < first.created_at
    assert registry.version("sst2").ref == second.ref
    assert [event.subject for event in registry.events()] == ["sst2@2", "sst2@1"]
    # It says something again, and is running after all.
    with registry.database.writing() as connection:
        runs.beat(connection, run.uid)
    assert registry.run(run.uid).status == RunStatus.RUNNING
    run.finish()
    assert registry.run(run.uid).status == RunStatus.FINISHED
    assert verify(registry).problems == ()


def test_doctor(registry, add, home, tmp_path):
    version = add()
    healthy = diagnose(home)
    assert healthy.problems == ()
    assert healthy.facts["versions"] == "1"
    assert healthy.facts["home"] == str(home)
    registry.store.path(version.files[0].sha256).unlink()
    (problem,) = diagnose(home).problems
    assert "files missing or of the wrong size in " in problem
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "registry.db").write_bytes(b"not a database at all")
    (problem,) = diagnose(tmp_path / "broken").problems
    assert "not a SQLite database" in problem


def test_doctor_of_a_home_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", str(tmp_path / "x.db"))
    monkeypatch.setenv("POINTSMAN_STORE", str(tmp_path / "files"))
    diagnosis = diagnose()
    assert diagnosis.problems == ()
    assert diagnosis.facts["database"] == str(tmp_path / "x.db")
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", "mysql://x/y")
    assert "of a kind that is not supported" in diagnose().problems[0]


def test_doctor_shows_no_password(monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", "postgresql://ann:secret@127.0.0.1:9/team")
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    diagnosis = diagnose()
    assert diagnosis.problems
    assert "secret" not in repr(diagnosis)


def test_checkpoints_go_with_the_garbage_once_their_run_has_finished(registry):
    ended = {}
    for status in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.INTERRUPTED):
        run = registry.start_run("a", **RUN)
        registry.run_directory(run.uid).mkdir(parents=True)
        run.finish(status)
        ended[status] = run.uid
    (registry.home / "runs" / "elsewhere").mkdir()
    assert collect_garbage(registry).checkpoints == (ended[RunStatus.FINISHED],)
    assert len(list((registry.home / "runs").iterdir())) == 4
    collect_garbage(registry, apply=True)
    left = {path.name for path in (registry.home / "runs").iterdir()}
    assert left == {ended[RunStatus.FAILED], ended[RunStatus.INTERRUPTED], "elsewhere"}
