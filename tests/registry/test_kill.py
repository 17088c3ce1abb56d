"""kill -9 at every point where something is written: whatever was acknowledged is there, and nothing is broken.

Each operation runs in a child of this process, which kills itself with SIGKILL at its first, second, third … write: at
every file that is opened for writing, fsynced, renamed or removed, and around every statement and commit. Then the
registry is opened again, by a process that knows nothing of what happened.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from pointsman.registry import Registry
from pointsman.registry.upkeep import back_up, collect_garbage, export_bundle, import_bundle, verify

from shapes import FIELDS, RUN

OLD_SCHEMAS = Path(__file__).parents[1] / "data"
FILE_CALLS = ("fsync", "replace", "rename", "unlink", "mkdir")
HOUR = 3600


def killing_at(number):
    """From now on, die in place of write number ``number`` of this process."""
    left = [number]

    def tick(*_):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(name):
        call = getattr(os, name)

        def called(*arguments, **options):
            tick()
            result = call(*arguments, **options)
            tick()
            return result

        return called

    for name in FILE_CALLS:
        setattr(os, name, around(name))
    sys.addaudithook(
        lambda event, arguments: tick() if event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR) else None
    )
    for name in ("before_cursor_execute", "after_cursor_execute", "commit", "begin", "checkin"):
        sa.event.listen(sa.Engine if name != "checkin" else sa.Pool, name, tick)


def in_a_child(operation, home, number):
    """Run an operation in a child that dies at a write; returns what it acknowledged, and whether it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 3
        try:
            os.close(reading)
            killing_at(number)
            operation(home, lambda text: os.write(writing, f"{text}\n".encode()))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        acknowledged = pipe.read().decode().split()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the operation failed by itself"
    return acknowledged, os.WIFSIGNALED(status)


def at(home, **options):
    """The registry of a home: with a PostgreSQL database where its URL lies beside it."""
    url = home.parent / "url"
    return Registry(home, database=url.read_text() if url.exists() else None, **options)


def make(home):
    """A registry with two versions, a run, an alias, and a removed version's files, which are old."""
    with at(home) as registry:
        with registry.start_run("sst2", **RUN) as run:
            for step in range(5):
                run.log({"loss": 1.0, "lr": 0.1}, step=step)
        registry.add_version("sst2", **{**FIELDS, "files": {"a": b"one", "b": b"b"}}, run=run.uid)
        registry.add_version("sst2", **{**FIELDS, "files": {"a": b"two", "b": b"b"}}, parents=[("init", "sst2@1")])
        registry.set_alias("sst2@1", "production")
        for number in range(3):
            registry.add_version("old", **{**FIELDS, "files": {"a": b"old%d" % number}})
            registry.remove(f"old@{number + 1}")
        for file in (home / "objects").rglob("*"):
            os.utime(file, (0, 0))
        (home / "objects" / f".{'a' * 32}.tmp").write_bytes(b"half")
        os.utime(home / "objects" / f".{'a' * 32}.tmp", (0, 0))


def create(home, said):
    with at(home) as registry:
        said(len(registry.versions()))


def add(home, said):
    with at(home) as registry:
        for number in range(2):
            version = registry.add_version(
                "sst2", **{**FIELDS, "files": {"a": b"new%d" % number, "b": b"b"}}, parents=[("init", "sst2@2")]
            )
            said(version.ref)


def log(home, said):
    with at(home) as registry, registry.start_run("mrpc", **RUN) as run:
        for step in range(2):
            run.log({"loss": float(step), "lr": 0.1}, step=step)
            run.flush()
            said(f"{run.uid}:{step}")


def alias(home, said):
    with at(home) as registry:
        for number in (2, 1):
            registry.set_alias(f"sst2@{number}", "production")
            said(number)


def label(home, said):
    with at(home) as registry:
        registry.set_tags("sst2@1", {"a": "1", "b": "2"})
        registry.set_note("sst2@1", "kept")
        said("note")


def remove(home, said):
    with at(home) as registry:
        said(registry.remove("sst2@1", force=True))


def collect(home, said):
    with at(home) as registry:
        said(len(collect_garbage(registry, apply=True).files))


def bring_in(home, said):
    with at(home) as registry:
        for one in import_bundle(registry, home.parent / "bundle.tar"):
            said(one.ref)


def export(home, said):
    with at(home) as registry:
        export_bundle(registry, ["sst2@2"], home / "out.tar")
        said("out")


def backup(home, said):
    with at(home) as registry:
        back_up(registry, home / "backup")
        said("backup")


def upgrade(home, said):
    with at(home, upgrade=True) as registry:
        said(len(registry.versions()))


OPERATIONS = {
    operation.__name__: operation
    for operation in (create, add, log, alias, label, remove, collect, bring_in, export, backup, upgrade)
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Homes to start from, and a bundle beside them."""
    directory = tmp_path_factory.mktemp("kill")
    make(directory / "filled")
    with Registry(directory / "other") as other:
        with other.start_run("sst2", **RUN) as run:
            for step in range(70):
                run.log({"loss": 1.0}, step=step)
        other.add_version("sst2", **{**FIELDS, "files": {"a": b"far away"}}, run=run.uid, tags={"a": "b"})
        other.add_version("cola", **{**FIELDS, "files": {"a": b"further"}}, parents=[("init", "sst2@1")])
        other.set_alias("sst2@1", "imported")
        export_bundle(other, ["cola"], directory / "bundle.tar")
    shutil.copytree(OLD_SCHEMAS / "schema-0001", directory / "old")
    return directory


@pytest.fixture(scope="module")
def server_template(postgres, template, tmp_path_factory):
    """The filled home once more, with a PostgreSQL database, and the URL of that."""
    url = f"{postgres.removesuffix('/postgres')}/filled"
    home = tmp_path_factory.mktemp("kill-server") / "filled"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE filled")
    (home.parent / "url").write_text(url)
    make(home)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("name", ["create", "add", "log", "alias", "remove", "collect", "bring_in"])
def test_killed_at_many_writes_to_a_server(postgres, server_template, template, tmp_path, name):
    """What a client that dies had not committed, the server takes back; files and rows agree all the same."""
    deaths, number, died = 0, 1, True
    while died:
        home, database = tmp_path / str(number) / "home", f"{name}{number}"
        home.parent.mkdir()
        shutil.copy(template / "bundle.tar", home.parent)
        source = "template0"
        if name != "create":
            shutil.copytree(server_template, home)
            source = "filled"
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database} TEMPLATE {source}")
        (home.parent / "url").write_text(f"{postgres.removesuffix('/postgres')}/{database}")
        acknowledged, died = in_a_child(OPERATIONS[name], home, number)
        deaths += died
        examine(name, home, acknowledged)
        if deaths % 2 and name != "remove":
            again, _ = in_a_child(OPERATIONS[name], home, 0)
            assert again
            examine(None, home, [])
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)")
        shutil.rmtree(home.parent)
        number += 5 * STRIDES.get(name, 1)
    assert deaths >= 3, "the writes were not hit"


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_every_write(template, tmp_path, name):
    deaths, number, died = 0, 1, True
    while died:
        home = tmp_path / str(number) / "home"
        home.parent.mkdir()
        shutil.copy(template / "bundle.tar", home.parent)
        if name != "create":
            shutil.copytree(template / ("old" if name == "upgrade" else "filled"), home)
        acknowledged, died = in_a_child(OPERATIONS[name], home, number)
        deaths += died
        examine(name, home, acknowledged)
        if deaths % 5 == 0 and name != "remove":
            # Whatever it died of, the same thing works now.
            (home / "out.tar").unlink(missing_ok=True)
            again, _ = in_a_child(OPERATIONS[name], home, 0)
            assert again
            examine(None, home, [])
        shutil.rmtree(home.parent)
        number += STRIDES.get(name, 1)
    assert deaths >= FEWEST.get(name, 20), "the writes were not hit"


def examine(name, home, acknowledged):
    """What holds after an operation, whatever became of it, for one that opens the registry now."""
    with at(home, upgrade=name == "upgrade") as registry:
        CHECKS.get(name, check)(registry, home, acknowledged)


STRIDES = {"create": 13, "upgrade": 9, "add": 2, "log": 2, "bring_in": 2, "backup": 2}
"""Schemas are made and changed in one transaction of statements that are alike; the others do a thing twice or more."""

FEWEST = {"add": 40}


def check(registry, home, acknowledged):
    """Readable, and nothing wrong with anything."""
    assert verify(registry).problems == ()
    versions = registry.versions()
    assert len(registry.events(limit=None)) >= len(versions)
    for version in versions:
        for file in version.files:
            assert registry.read_file(version, file.name)


def check_added(registry, home, acknowledged):
    check(registry, home, acknowledged)
    numbers = [version.number for version in registry.versions(name="sst2")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {f"sst2@{number}" for number in numbers} >= set(acknowledged)
    added = [event.subject for event in registry.events("sst2") if event.action == "add"]
    assert sorted(added) == [f"sst2@{number}" for number in numbers]


def check_logged(registry, home, acknowledged):
    check(registry, home, acknowledged)
    for run in registry.runs(adapter="mrpc"):
        counts = {summary.key: summary.count for summary in registry.summaries(f"run:{run.uid}")}
        seen = sum(line.startswith(run.uid) for line in acknowledged)
        assert counts.keys() <= {"loss", "lr"}
        assert len(set(counts.values())) <= 1
        points = registry.history(f"run:{run.uid}", "loss") if counts else []
        assert [point.step for point in points] == list(range(len(points)))
        assert len(points) >= seen


def check_aliased(registry, home, acknowledged):
    check(registry, home, acknowledged)
    moves = [1, 2, 1]
    there = registry.version("sst2@production").number
    # The one that was acknowledged last, or the next.
    assert there in moves[len(acknowledged) : len(acknowledged) + 2]
    logged = [event for event in registry.events("sst2") if event.action == "alias"]
    assert len(logged) - 1 in (len(acknowledged), len(acknowledged) + 1)


def check_collected(registry, home, acknowledged):
    check(registry, home, acknowledged)
    assert len(registry.versions()) == 2
    if acknowledged:
        assert acknowledged == ["4"]
        assert not list((home / "objects").glob(".*.tmp"))


def check_imported(registry, home, acknowledged):
    check(registry, home, acknowledged)
    refs = {version.ref for version in registry.versions()}
    # All of a bundle, or nothing of it.
    assert refs in ({"sst2@1", "sst2@2"}, {"sst2@1", "sst2@2", "sst2@3", "cola@1"})
    assert refs >= set(acknowledged)


def check_backed_up(registry, home, acknowledged):
    check(registry, home, acknowledged)
    if (home / "backup" / "registry.db").exists():
        with Registry(home / "backup") as copy:
            check(copy, home / "backup", [])
            assert list(copy.versions()) == list(registry.versions())
    else:
        assert not acknowledged


def check_exported(registry, home, acknowledged):
    check(registry, home, acknowledged)
    if (home / "out.tar").exists():
        with Registry(home.parent / "new") as other:
            assert len(import_bundle(other, home / "out.tar")) == 2
    else:
        assert not acknowledged


def check_upgraded(registry, home, acknowledged):
    assert verify(registry).problems == ()
    assert len(registry.versions()) == 4
    assert registry.version("both@1").parents == ("sst2@1", "sst2@2")


CHECKS = {
    "add": check_added,
    "log": check_logged,
    "alias": check_aliased,
    "collect": check_collected,
    "bring_in": check_imported,
    "backup": check_backed_up,
    "export": check_exported,
    "upgrade": check_upgraded,
}
