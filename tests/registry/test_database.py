import os
import random
import shutil
import signal
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.registry import Registry
from pointsman.registry.database import backends, database, tables, waiting
from pointsman.registry.database.backends import BUSY_SECONDS, WAL_IS_SAFE
from pointsman.registry.database.database import REVISIONS, Database
from pointsman.registry.database.tuples import fetch_tuples
from pointsman.registry.errors import (
    Action,
    Advice,
    BusyError,
    ConflictError,
    DatabaseError,
    DiskFullError,
    NewSchemaError,
    NotARegistryError,
    NotFoundError,
    OldSchemaError,
    ReadOnlyError,
    SettingsError,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "registry.db"


@pytest.fixture
def made(path):
    """The file of a database that nobody has open."""
    Database(path).close()
    return path


def execute(path, statement):
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def entries(directory):
    return sorted(path.name for path in directory.iterdir())


# Making one


def test_a_new_database_is_made_with_its_directories(tmp_path):
    path = tmp_path / "not" / "there yet" / "registry.db"
    with closing(Database(path)) as made:
        assert made.revision() == REVISIONS[-1]
    assert entries(path.parent) == ["registry.db", "registry.db-journal"]
    assert {name for (name,) in execute(path, "SELECT name FROM sqlite_master WHERE type = 'table'")} == {
        "alembic_version",
        *tables.metadata.tables,
    }
    assert len(tables.metadata.tables) == 18


def test_an_empty_file_becomes_a_database(path):
    path.touch()
    with closing(Database(path)) as made:
        assert made.revision() == REVISIONS[-1]


def test_opening_again_changes_nothing(made):
    before = made.read_bytes()
    Database(made).close()
    assert made.read_bytes() == before


def test_processes_that_make_one_database_at_once(tmp_path, spawn):
    code = """
import sys
from pathlib import Path
from pointsman.registry.database.database import Database
print("ready", flush=True)
for line in sys.stdin:
    database = Database(Path(line.strip()))
    database.check_writable()
    print(database.revision(), flush=True)
"""
    processes = [spawn(code) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for attempt in range(8):
        path = tmp_path / f"home{attempt}" / "registry.db"
        for process in processes:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
        assert [process.stdout.readline().strip() for process in processes] == [REVISIONS[-1]] * 3
        assert execute(path, "SELECT version_num FROM alembic_version") == [(REVISIONS[-1],)]
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert (process.returncode, error) == (0, "")


def test_a_relative_home_stays_where_it_was(tmp_path, monkeypatch, fields):
    monkeypatch.chdir(tmp_path)
    with Registry("home") as registry:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        registry.add_version("sst2", **fields)
    with Registry(tmp_path / "home") as registry:
        version = registry.version("sst2")
        assert registry.read_file(version, "adapter_config.json") == b"{}"
    assert entries(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("kind", [str, Path])
def test_a_relative_database_stays_where_it_was(tmp_path, monkeypatch, fields, kind):
    monkeypatch.chdir(tmp_path)
    with Registry(tmp_path / "home", database=kind("elsewhere.db")) as registry:
        assert registry.database.label == str(tmp_path / "elsewhere.db")
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        registry.close()
        registry.add_version("sst2", **fields)
    assert entries(tmp_path / "elsewhere") == []


# Refusing what is none


@pytest.mark.parametrize(
    "content", [b"not a database at all", b"\0" * 5_000, random.Random(0).randbytes(5_000), b"PK\x03\x04" * 999]
)
def test_a_file_that_is_no_database(path, content):
    path.write_bytes(content)
    with pytest.raises(NotARegistryError, match="not a SQLite database"):
        Database(path)
    assert path.read_bytes() == content


def test_a_database_of_something_else(path):
    execute(path, "CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(NotARegistryError, match="not a registry: found the tables bookmarks; name another home"):
        Database(path)
    assert path.read_bytes() == before


def test_a_database_of_something_else_that_uses_alembic(path):
    execute(path, "CREATE TABLE alembic_version (version_num TEXT)")
    execute(path, f"INSERT INTO alembic_version VALUES ('{REVISIONS[-1]}')")
    with pytest.raises(NotARegistryError, match="found the tables alembic_version"):
        Database(path)


def test_a_database_that_does_not_know_its_revision(made):
    execute(made, "DELETE FROM alembic_version")
    with pytest.raises(NotARegistryError, match="revision"):
        Database(made)


def test_a_truncated_database(made):
    os.truncate(made, made.stat().st_size // 2)
    with pytest.raises(NotARegistryError, match="restore a backup"):
        Database(made)


def test_a_database_with_a_damaged_page(made):
    content = bytearray(made.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    made.write_bytes(content)
    with pytest.raises(NotARegistryError, match="restore a backup"):
        Database(made)


def test_a_directory_where_the_file_should_be(path):
    path.mkdir()
    with pytest.raises(DatabaseError, match="cannot be opened"):
        Database(path)


def test_a_file_where_the_directory_should_be(path):
    path.touch()
    with pytest.raises(ReadOnlyError, match="cannot be created: File exists"):
        Database(path / "registry.db")


def test_a_home_whose_name_is_too_long(tmp_path):
    with pytest.raises(DatabaseError, match="File name too long"):
        Database(tmp_path / ("h" * 300) / "registry.db")


def test_a_newer_database_is_refused(made):
    execute(made, "UPDATE alembic_version SET version_num = '9999'")
    before = made.read_bytes()
    with pytest.raises(NewSchemaError, match=f"has schema 9999, newer than .* {REVISIONS[-1]}: upgrade pointsman"):
        Database(made)
    assert made.read_bytes() == before


@pytest.mark.parametrize("home", ["plain", "with a space", "with 'quotes'"])
def test_an_older_database_is_refused_with_the_advice_to_upgrade_it(tmp_path, monkeypatch, home):
    path = tmp_path / home / "registry.db"
    Database(path).close()
    before = path.read_bytes()
    monkeypatch.setattr(database, "REVISIONS", (*REVISIONS, "9999"))
    with pytest.raises(OldSchemaError, match=f"has schema {REVISIONS[-1]}, this pointsman needs 9999") as error:
        Database(path)
    assert error.value.advice == Advice(Action.UPGRADE_DATABASE, {"home": str(path.parent)})
    assert path.read_bytes() == before


# What cannot be written


READ = """
import sys
from pointsman.registry import Registry
from pointsman.registry.errors import ReadOnlyError
registry = Registry(sys.argv[1])
version = registry.version("sst2")
assert registry.read_file(version, "adapter_config.json") == b"{}"
for write in (registry.check_writable, lambda: registry.set_alias("sst2", "production")):
    try:
        write()
    except ReadOnlyError as error:
        print(error)
"""


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_read_only_registry_is_read_and_not_written(home, registry, add, unprivileged, what):
    add()
    registry.close()
    target, journal = home, home / "registry.db-journal"
    if what == "directory":
        journal.unlink()  # else SQLite writes the files that are there
    else:
        target = home / "registry.db"
    before = (home / "registry.db").read_bytes()
    target.chmod(target.stat().st_mode & ~0o222)
    messages = unprivileged(READ, home).splitlines()
    target.chmod(0o755)
    assert len(messages) == 2
    for message in messages:
        assert message.startswith(f"the database {home / 'registry.db'} cannot be used: ")
        assert "check" in message
        assert "permissions" in message or "can be written" in message
    assert (home / "registry.db").read_bytes() == before
    assert entries(home) == ["objects", "registry.db", *["registry.db-journal"] * (what == "file")]


OPEN = """
import sys
from pointsman.registry import Registry
from pointsman.registry.errors import ReadOnlyError
try:
    Registry(sys.argv[1])
except ReadOnlyError as error:
    print(error)
"""


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "no permission"])
def test_a_home_that_cannot_be_made(tmp_path, unprivileged, mode):
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o755)
    parent.chmod(mode)
    message = unprivileged(OPEN, parent / "home")
    parent.chmod(0o755)
    assert "Permission denied" in message
    assert entries(parent) == []


def test_a_database_without_permission_to_read(home, registry, unprivileged):
    registry.close()
    (home / "registry.db").chmod(0o000)
    assert "cannot be opened" in unprivileged(OPEN, home)


def test_a_full_disk_while_a_database_is_made(small_disk):
    (small_disk / "filler").write_bytes(bytes(2**20 - 64 * 1024))
    with pytest.raises(DiskFullError, match=r"no space is left.*nothing was half-written"):
        Registry(small_disk / "home")
    (small_disk / "filler").unlink()
    with Registry(small_disk / "home") as registry:
        assert list(registry.versions()) == []


def test_a_full_disk_while_versions_are_added(small_disk, fields):
    with Registry(small_disk / "home") as registry:
        added = []

        def fill():
            for number in range(1, 100):
                fields["files"] = {"adapter.safetensors": bytes([number]) * 40_000}
                added.append(registry.add_version("sst2", **fields).ref)

        with pytest.raises(DiskFullError):
            fill()
        assert 3 < len(added) < 27
        assert [version.ref for version in registry.versions()] == added
        for number, version in enumerate(registry.versions(), 1):
            assert registry.read_file(version, "adapter.safetensors") == bytes([number]) * 40_000
        assert execute(registry.home / "registry.db", "PRAGMA integrity_check") == [("ok",)]


def test_a_full_disk_while_metrics_are_logged(small_disk, start_run):
    with Registry(small_disk / "home") as registry, start_run(registry) as run:
        with pytest.raises(OSError, match="No space"):
            (small_disk / "filler").write_bytes(bytes(2**20))
        for step in range(5_000):
            run.log({"loss": step}, step=step)
        with pytest.raises(DiskFullError):
            run.flush()
        (small_disk / "filler").unlink()
        run.flush()
        assert [point.step for point in registry.history(f"run:{run.uid}", "loss")] == list(range(5_000))


def test_a_database_at_its_greatest_size(made):
    with closing(Database(made)) as opened:
        with opened.reading() as connection:
            # The pool hands the same connection out again.
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        before = made.read_bytes()
        with pytest.raises(DiskFullError, match="no space is left"), opened.writing() as connection:
            connection.execute(tables.metric_key.insert(), [{"name": f"{number:0200}"} for number in range(100)])
        assert made.read_bytes() == before
        with opened.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
            assert connection.execute(sa.select(tables.metric_key)).all() == []


def test_a_page_that_is_damaged_among_many_rows(made):
    names = [f"{number:0200}" for number in range(2_000)]
    query = sa.select(tables.metric_key.c.name).order_by(tables.metric_key.c.name)
    with closing(Database(made)) as opened:
        with opened.writing() as connection:
            connection.execute(tables.metric_key.insert(), [{"name": name} for name in names])
        with opened.reading() as connection:
            assert fetch_tuples(connection, query, {}) == [(name,) for name in names]
    content = made.read_bytes()
    made.write_bytes(content[: len(content) // 2].ljust(len(content), b"\xff"))
    with closing(Database(made)) as opened, ExitStack() as stack:
        stack.enter_context(pytest.raises(NotARegistryError, match="reports that it is damaged"))
        connection = stack.enter_context(opened.reading())
        assert connection.execute(query).first() == (names[0],)
        fetch_tuples(connection, query, {})


# Connections


def test_every_connection_has_the_pragmas(made):
    with closing(Database(made)) as opened, ExitStack() as stack:
        connections = [stack.enter_context(opened.reading()) for _ in range(20)]
        assert len({id(connection.connection.driver_connection) for connection in connections}) == 20
        for connection in connections:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("foreign_keys", "synchronous", "busy_timeout", "journal_mode", "mmap_size")
            }
            assert found == {
                "foreign_keys": 1,
                "synchronous": 2,
                "busy_timeout": BUSY_SECONDS * 1000,
                "journal_mode": "persist",
                "mmap_size": 0,
            }


def in_wal_mode(path):
    """Another process's connection, which has turned WAL mode on and holds the file."""
    other = sqlite3.connect(path, isolation_level=None)
    assert other.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    other.execute("CREATE TABLE IF NOT EXISTS theirs (x)")
    return other


@pytest.mark.parametrize("open_before", [False, True])
def test_a_database_that_another_process_holds_in_wal_mode(made, open_before):
    with ExitStack() as stack:
        if open_before:
            opened = stack.enter_context(closing(Database(made)))
            opened.check_writable()
        other = stack.enter_context(closing(in_wal_mode(made)))
        if not open_before:
            opened = stack.enter_context(closing(Database(made)))
        assert opened.revision() == REVISIONS[-1]
        if WAL_IS_SAFE:
            opened.check_writable()
        else:
            with pytest.raises(BusyError, match=r"another process has it open in WAL mode, in which SQLite 3\.\d+"):
                opened.check_writable()
        other.close()
        opened.check_writable()
        assert opened.revision() == REVISIONS[-1]
    with closing(Database(made)) as opened, opened.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "persist"
    assert entries(made.parent) == [made.name, f"{made.name}-journal"]


LOCKED = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    other.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""


def test_a_new_connection_leaves_the_locks_of_the_process(made, spawn):
    """POSIX releases a process's locks on a file when it closes any descriptor of it."""
    with closing(Database(made)) as opened, ExitStack() as stack:
        stack.enter_context(opened.writing())
        for _ in range(3):
            stack.enter_context(opened.reading())
        out, _ = spawn(LOCKED, made).communicate(timeout=60)
        assert out == "database is locked\n"


@pytest.mark.parametrize("changes", [False, True])
def test_a_database_in_wal_mode_on_a_read_only_disk(home, registry, add, unprivileged, changes):
    add()
    registry.close()
    other = in_wal_mode(home / "registry.db")
    if changes:
        other.execute("INSERT INTO theirs VALUES (1)")
        for suffix in ("", "-wal"):
            shutil.copy(home / f"registry.db{suffix}", home / f"copy{suffix}")
    other.close()
    if changes:
        for suffix in ("", "-wal"):
            (home / f"copy{suffix}").rename(home / f"registry.db{suffix}")
    home.chmod(0o555)
    try:
        messages = unprivileged(OPEN if changes else READ, home).splitlines()
    finally:
        home.chmod(0o755)
    if changes:
        assert messages == [
            f"the database {home / 'registry.db'} cannot be read: it is in WAL mode, its newest changes are in "
            "registry.db-wal, and its directory cannot be written; copy both files to one that can"
        ]
    else:
        assert len(messages) == 2  # it was read, and neither write was possible
    assert entries(home) == ["objects", "registry.db", *["registry.db-wal"] * changes]


def test_foreign_keys_are_enforced(made):
    with closing(Database(made)) as opened:
        with pytest.raises(ConflictError, match="FOREIGN KEY"), opened.writing() as connection:
            connection.execute(tables.tag.insert().values(version_id=999, key="a", value="b"))
        with opened.reading() as connection:
            assert connection.execute(sa.select(tables.tag)).all() == []


def test_a_writer_holds_the_lock_from_its_start(made):
    with closing(Database(made)) as opened, closing(sqlite3.connect(made, timeout=0)) as other:
        with opened.writing(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")


def test_an_error_rolls_all_of_a_transaction_back(made):
    with closing(Database(made)) as opened:

        def write_and_fail():
            with opened.writing() as connection:
                connection.execute(tables.metric_key.insert().values(name="loss"))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_and_fail()
        with opened.reading() as connection:
            assert connection.execute(sa.select(tables.metric_key)).all() == []


def test_a_busy_database_says_so(made, monkeypatch):
    monkeypatch.setattr(backends, "BUSY_SECONDS", 0.05)
    with closing(Database(made)) as opened, closing(sqlite3.connect(made, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="other processes held it"):
            opened.check_writable()
        other.execute("ROLLBACK")
        opened.check_writable()


def test_a_wait_for_a_busy_database_outlasts_its_slices(made, monkeypatch):
    monkeypatch.setattr(waiting, "SLICE", 0.01)
    with closing(Database(made)) as opened, closing(sqlite3.connect(made, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        slices = []

        def clock():
            slices.append(1)
            if len(slices) == 5:
                other.execute("ROLLBACK")
            return 0.0

        monkeypatch.setattr(waiting.time, "monotonic", clock)
        with opened.writing() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == BUSY_SECONDS * 1000
        assert len(slices) == 5


_INTERRUPTED = """
import signal, sys
from pointsman.registry import Registry
from pointsman.registry.database import waiting

registry = Registry(sys.argv[1], database=sys.argv[2])
registry.check_writable()
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
print("ready", flush=True)
sys.stdin.readline()
waiting.SLICE = 0.05
clock = waiting.time.monotonic
waiting.time.monotonic = lambda: print("asked", flush=True) or clock()
try:
    registry.check_writable()
except KeyboardInterrupt as error:
    print("interrupted", error, flush=True)
waiting.time.monotonic = clock
sys.stdin.readline()
registry.check_writable()
"""


@pytest.mark.databases
def test_an_interrupted_wait_says_what_it_waited_for(registry, spawn):
    """Another process holds the write lock; the interrupted one can write as soon as that has ended."""
    backend = registry.database.backend
    place = backend.url.render_as_string(hide_password=False) if hasattr(backend, "url") else str(backend.path)
    process = spawn(_INTERRUPTED, registry.home, place)
    assert process.stdout.readline() == "ready\n"
    with registry.database.writing() as connection:
        process.stdin.write("\n")
        process.stdin.flush()
        if hasattr(backend, "url"):
            waiters = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not connection.exec_driver_sql(waiters).scalar_one():
                pass
        else:
            assert [process.stdout.readline() for _ in range(2)] == ["asked\n"] * 2  # at the start, and after a slice
        process.send_signal(signal.SIGINT)
        said = next(line for line in process.stdout if line != "asked\n")
    expected = f"interrupted while waiting for another process that writes to the database {backend.label}\n"
    assert said.replace("+psycopg", "") == expected.replace("+psycopg", "")
    assert process.communicate("\n", timeout=60) == ("", "")
    assert process.returncode == 0


def test_a_commit_that_readers_hold_up_leaves_nothing(made, monkeypatch):
    monkeypatch.setattr(backends, "BUSY_SECONDS", 0.05)
    with closing(Database(made)) as opened, closing(sqlite3.connect(made, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM metric_key").fetchall()
        with pytest.raises(BusyError), opened.writing() as connection:
            connection.execute(tables.metric_key.insert().values(name="loss"))
        other.execute("COMMIT")
        with opened.writing() as connection:
            assert connection.execute(sa.select(tables.metric_key)).all() == []


# What SQLite cannot hold


@pytest.mark.parametrize("change", [{"seed": 2**63}, {"settings": {"at": float("nan")}}, {"data": {"a": b"bytes"}}])
def test_values_that_cannot_be_stored_are_refused(registry, start, change):
    with pytest.raises(SettingsError):
        start(**change)
    assert list(registry.runs()) == []


@pytest.mark.parametrize("text", ["\udcff", "a\0b", "a" * 10_000, "'; drop table run; --", "%", "\u202e"])
def test_hostile_text_finds_nothing(registry, start, text):
    start().finish()
    for look_up in (registry.run, lambda uid: registry.summaries(f"run:{uid}")):
        with pytest.raises(NotFoundError) as error:
            look_up(text)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 300
    for criterion in ("name", "task", "base", "method"):
        if text == "\udcff":
            with pytest.raises(SettingsError, match="Unicode"):
                registry.versions(**{criterion: text})
        else:
            assert list(registry.versions(**{criterion: text})) == []
    assert len(registry.runs()) == 1
