"""Upkeep: what garbage collection removes, what a backup holds, and what the doctor reports."""

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa
from faults import replace_with

from pointsman.registry import Registry, RunStatus
from pointsman.registry.database import events
from pointsman.registry.database import tables as t
from pointsman.registry.errors import (
    Action,
    Advice,
    ConflictError,
    ObjectMissingError,
    StoreError,
)
from pointsman.registry.runs import runs
from pointsman.registry.upkeep import Problem, back_up, collect_garbage, diagnose, doctor, verify
from pointsman.registry.versions import part as versions_part

from shapes import FIELDS, RUN

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


@pytest.mark.databases
@pytest.mark.parametrize("broken", [False, True])
def test_a_row_with_a_wrong_digest_makes_no_file_garbage(registry, add, broken):
    """A bad disk changed a digit: the file is needed by the version's manifest, also where that is damaged as well."""
    version = add(files={"a": b"kept"})
    digest = version.files[0].sha256
    add(files={"a": b"gone"})
    registry.remove("sst2@2")
    wrong = ("0" if digest[0] != "0" else "1") + digest[1:]
    with registry.database.writing() as connection:
        connection.execute(sa.update(t.version_file).where(t.version_file.c.sha256 == digest).values(sha256=wrong))
        if broken:
            half = sa.func.substr(t.version.c.manifest, 2)
            connection.execute(sa.update(t.version).values(manifest=half))
    age(registry)
    assert [file.size for file in collect_garbage(registry).files] == [4]
    assert [file.size for file in collect_garbage(registry, apply=True).files] == [4]
    assert registry.store.read(digest) == b"kept"


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
    assert moment > 1


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
        with pytest.raises(ConflictError, match="is neither empty nor an earlier backup; name another directory"):
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
    with pytest.raises(ConflictError, match="was written to since it was made; name another directory"):
        back_up(filled, tmp_path / "backup")
    with Registry(tmp_path / "backup") as copy:
        assert copy.version("sst2").tags == {"only": "here"}


_SECOND = """
import sys
from pointsman.registry import Registry
from pointsman.registry.upkeep import back_up

try:
    with Registry(sys.argv[1]) as registry:
        back_up(registry, sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_two_backups_at_once_into_one_directory(filled, spawn, monkeypatch, tmp_path):
    directory = tmp_path / "backup"
    back_up(filled, directory)
    filled.add_version("sst2", **{**FIELDS, "files": {"a": b"later"}})
    real, said = filled.store.stream, []

    def stream(digest):
        """Read an object while another process, and another thread, try to back up into the directory, too."""
        if not said:
            said.append(spawn(_SECOND, filled.home, directory).communicate(timeout=60)[0])
            with pytest.raises(ConflictError, match="another backup is being written into"):
                back_up(filled, directory)
        return real(digest)

    monkeypatch.setattr(filled.store, "stream", stream)
    assert back_up(filled, directory).copied == 1
    expected = f"ConflictError another backup is being written into {directory}; try again when it has ended"
    assert said[0].startswith(expected), said
    assert not list(directory.glob(".*.tmp"))
    with Registry(directory) as copy:
        assert verify(copy).problems == ()
        assert copy.versions(name="sst2").total == 3
    assert spawn(_SECOND, filled.home, directory).communicate(timeout=60) == ("", "")


_KILLED = """
import sys
from pointsman.registry import Registry
from pointsman.registry.upkeep import back_up

registry = Registry(sys.argv[1])
registry.store.stream = lambda digest: print("copying", flush=True) or sys.stdin.read()
back_up(registry, sys.argv[2])
"""


def test_a_backup_that_was_killed_locks_nobody_out(filled, spawn, tmp_path):
    process = spawn(_KILLED, filled.home, tmp_path / "backup")
    assert process.stdout.readline() == "copying\n"
    with pytest.raises(ConflictError, match="another backup is being written into"):
        back_up(filled, tmp_path / "backup")
    process.kill()
    process.wait()
    assert list((tmp_path / "backup").glob(".*.tmp"))
    back_up(filled, tmp_path / "backup")
    assert not list((tmp_path / "backup").glob(".*.tmp"))
    with Registry(tmp_path / "backup") as copy:
        assert verify(copy).problems == ()


_LOCKED = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    other.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_a_backup_leaves_the_locks_of_the_process(filled, spawn, tmp_path):
    """POSIX releases a process's locks on a file when it closes any descriptor of it."""
    back_up(filled, tmp_path / "backup")
    with Registry(tmp_path / "backup") as copy:
        copy.set_tags("sst2", {"only": "here"})
        with copy.database.writing():
            with pytest.raises(ConflictError, match="was written to since"):
                back_up(filled, tmp_path / "backup")
            said = spawn(_LOCKED, tmp_path / "backup" / "registry.db").communicate(timeout=60)
    assert said == ("database is locked\n", "")


def test_a_backup_of_a_database_in_wal_mode_is_like_any_other(filled, home, tmp_path):
    filled.close()
    with closing(sqlite3.connect(home / "registry.db")) as other:
        assert other.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        other.execute("SELECT * FROM version").fetchone()
        with Registry(home) as registry:
            back_up(registry, tmp_path / "backup")
    # Bytes 18 and 19 of the header (sqlite.org/fileformat.html).
    assert (tmp_path / "backup" / "registry.db").read_bytes()[18:20] == b"\x01\x01"
    names = {path.name for path in (tmp_path / "backup").iterdir()}
    assert names == {"backup.json", "objects", "registry.db"}


@pytest.mark.parametrize("name", ["backup.json", "registry.db"])
def test_a_backup_whose_own_file_is_a_pipe(filled, tmp_path, name):
    back_up(filled, tmp_path / "backup")
    replace_with("pipe", tmp_path / "backup" / name)
    with pytest.raises(StoreError, match=rf"cannot be written: .*{name}: it is a pipe, not a file"):
        back_up(filled, tmp_path / "backup")


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
    clocks = (events, versions_part)
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
        assert runs.beat(connection, runs.run_id(connection, run.uid), 0)
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
    assert problem == Problem(
        subject="store",
        text=f"files missing or of the wrong size in {home / 'objects'}: 1",
        advice=Advice(Action.VERIFY),
    )
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "registry.db").write_bytes(b"not a database at all")
    (problem,) = diagnose(tmp_path / "broken").problems
    assert problem.subject == "database"
    assert "not a SQLite database" in problem.text


def test_doctor_of_a_home_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", str(tmp_path / "x.db"))
    monkeypatch.setenv("POINTSMAN_STORE", str(tmp_path / "files"))
    diagnosis = diagnose()
    assert diagnosis.problems == ()
    assert diagnosis.facts["database"] == str(tmp_path / "x.db")
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", "mysql://x/y")
    (problem,) = diagnose().problems
    assert problem.subject == "settings"
    assert "of a kind that is not supported" in problem.text


def test_doctor_shows_no_password(monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", "postgresql://ann:secret@127.0.0.1:9/team")
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    diagnosis = diagnose()
    assert diagnosis.problems
    assert "secret" not in repr(diagnosis)


def test_low_disk_space_is_a_problem(monkeypatch, tmp_path):
    Registry(tmp_path / "none").close()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 12_300_000))
    diagnosis = diagnose(tmp_path / "none")
    assert diagnosis.facts["free disk"] == "0.0 GB"
    assert diagnosis.problems == (
        Problem(subject="disk", text=f"only 12 MB are free on the disk of {tmp_path / 'none'}"),
    )
    monkeypatch.setattr(doctor, "LOW_DISK", 12_300_000)
    assert diagnose(tmp_path / "none").problems == ()


def test_what_no_version_needs_is_advice_and_no_problem(registry, add, home):
    add(files={"a": b"gone"})
    registry.remove("sst2@1")
    assert diagnose(home).advice == {}
    age(registry)
    diagnosis = diagnose(home)
    assert diagnosis.facts["garbage"] == "1 files (0.0 MB)"
    assert diagnosis.problems == ()
    assert diagnosis.advice == {"garbage": Advice(Action.COLLECT_GARBAGE)}


def test_doctor_counts_runs_that_never_ended(registry, start, home):
    with start():
        pass
    start()
    assert diagnose(home).facts["unfinished runs"] == "1 running, 0 interrupted"


def test_one_cause_is_one_problem(registry, add, home):
    """Files and garbage fail with one message; the other checks still run."""
    add()
    registry.close()
    with closing(sqlite3.connect(home / "registry.db")) as connection, connection:
        connection.execute("DROP TABLE version_file")
        connection.execute("CREATE TABLE version_file (other)")
    diagnosis = diagnose(home)
    texts = [problem.text for problem in diagnosis.problems]
    label = home / "registry.db"
    assert texts[:4] == [
        f"{label}: the table version_file lacks the column {name}: restore a backup"
        for name in ("version_id", "name", "sha256", "size")
    ]
    assert all("no such column: version_file." in text for text in texts[4:])
    assert len(texts) == 6
    assert (diagnosis.facts["versions"], diagnosis.facts["unfinished runs"]) == ("1", "0 running, 0 interrupted")
    assert not {"files", "garbage"} & diagnosis.facts.keys()
