"""Files that come and go while versions are written: nobody waits for a store while the write lock is held."""

import os
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa

from pointsman.registry import Registry
from pointsman.registry.database import tables as t
from pointsman.registry.errors import StoreError
from pointsman.registry.storage.local import LocalStore
from pointsman.registry.upkeep import collect_garbage, export_bundle, garbage, import_bundle, repair, verify
from pointsman.registry.versions import contents
from pointsman.registry.versions.contents import LEASE, end_removals, name_removals

from shapes import FIELDS

pytestmark = pytest.mark.databases

CALLS = ("put", "put_stream", "read", "has", "measure", "files", "remove", "read_owner", "write_owner")


class WatchedStore(LocalStore):
    """A store that looks, at every call, whether somebody else can write to the registry's database now."""

    def __init__(self, root, database):
        super().__init__(root)
        self._database = database
        self.calls = []


def _watched(name):
    def call(self, *arguments, **options):
        self.calls.append(name)
        self._database.check_writable()
        return getattr(LocalStore, name)(self, *arguments, **options)

    return call


for _name in CALLS:
    setattr(WatchedStore, _name, _watched(_name))


@pytest.fixture
def watched(registry, monkeypatch):
    """The registry, with a store that fails where the write lock is held."""
    monkeypatch.setattr("pointsman.registry.database.backends.BUSY_SECONDS", 0.1)
    backend = registry.database.backend
    place = backend.url.render_as_string(hide_password=False) if hasattr(backend, "url") else backend.path
    with Registry(registry.home, database=place) as other:
        registry.store = WatchedStore(registry.home / "objects", other.database)
        yield registry


def age(registry):
    for path in registry.store.root.rglob("*"):
        os.utime(path, (0, 0))


def test_no_store_is_asked_while_the_write_lock_is_held(watched, tmp_path):
    for number in range(3):
        watched.add_version("sst2", **{**FIELDS, "files": {"a": b"%d" % number, "b": b"common"}})
    export_bundle(watched, ["sst2"], tmp_path / "bundle.tar")
    watched.remove("sst2@2")
    age(watched)
    assert len(collect_garbage(watched, apply=True).files) == 1
    watched.remove("sst2@3")
    (imported,) = import_bundle(watched, tmp_path / "bundle.tar")
    assert imported.ref == "sst2@4"
    path = watched.store.path(watched.version("sst2@1").files[0].sha256)
    path.unlink()
    assert repair(watched, verify(watched).problems, [tmp_path / "bundle.tar"]).remaining != ()
    assert {"put", "put_stream", "measure", "files", "remove", "read_owner", "write_owner"} <= set(watched.store.calls)


@contextmanager
def begun(engine, times):
    """An event that is set when an engine has begun that many transactions."""
    reached, left = threading.Event(), [times]

    def count(*_):
        left[0] -= 1
        if left[0] <= 0:
            reached.set()

    sa.event.listen(engine, "begin", count)
    try:
        yield reached
    finally:
        sa.event.remove(engine, "begin", count)


@pytest.fixture
def garbage_file(registry, add):
    """An object that no version needs."""
    version = add(files={"a": b"again"})
    registry.remove(version.ref)
    return version.files[0].sha256


def removals(registry):
    with registry.database.reading() as connection:
        return {row.sha256: row.done for row in connection.execute(sa.select(t.removal))}


def test_whoever_needs_a_file_that_is_being_removed_waits_and_stores_it_anew(registry, add, garbage_file):
    assert name_removals(registry.database, {garbage_file}) == {garbage_file}
    added = []
    adder = threading.Thread(target=lambda: added.append(add(files={"a": b"again", "b": b"b"})))
    with begun(registry.database._engine, 8) as waits:
        adder.start()
        assert waits.wait(60)
    assert added == []
    assert [version.ref for version in registry.versions()] == []
    registry.store.path(garbage_file).unlink()
    with registry.database.writing() as connection:
        end_removals(connection, {garbage_file})
    adder.join(60)
    assert registry.read_file(added[0], "a") == b"again"
    assert removals(registry) == {}
    assert verify(registry).problems == ()
    # By now it is needed.
    assert name_removals(registry.database, {garbage_file}) == set()


def test_what_was_removed_since_it_was_looked_at_is_stored_anew(registry, add, garbage_file, monkeypatch):
    """All of a collection comes between the look at the store and the transaction."""
    age(registry)
    store, times = registry.store.put, []

    def put(content):
        digest = store(content)
        times.append(digest)
        if len(times) == 1:
            assert len(collect_garbage(registry, apply=True).files) == 1
            assert not registry.store.has(garbage_file)
        return digest

    monkeypatch.setattr(registry.store, "put", put)
    version = add(files={"a": b"again"})
    assert times == [garbage_file] * 2
    assert registry.read_file(version, "a") == b"again"
    assert removals(registry) == {}


def test_a_collection_that_was_killed_holds_nobody_up_for_good(registry, add, garbage_file):
    name_removals(registry.database, {garbage_file})
    registry.store.path(garbage_file).unlink()
    with registry.database.writing() as connection:
        row = connection.execute(sa.select(t.removal)).one()
        connection.execute(t.removal.update().values(at=row.at - LEASE - timedelta(seconds=1)))
    assert registry.read_file(add(files={"a": b"again"}), "a") == b"again"


def test_a_removal_that_fails_leaves_only_that_file_in_doubt(registry, add, garbage_file, monkeypatch):
    registry.remove(add(files={"a": b"another", "b": b"third"}).ref)
    age(registry)

    def remove(file):
        raise StoreError("no answer")

    monkeypatch.setattr(registry.store, "remove", remove)
    with pytest.raises(StoreError, match="no answer"):
        collect_garbage(registry, apply=True)
    assert sorted(removals(registry).values()) == [False, True, True]
    monkeypatch.undo()
    assert len(collect_garbage(registry, apply=True).files) == 3
    assert set(removals(registry).values()) == {True}


def test_removals_are_forgotten_after_a_day(registry, garbage_file):
    name_removals(registry.database, {"ab" * 32})
    with registry.database.writing() as connection:
        end_removals(connection, {"ab" * 32})
        connection.execute(t.removal.update().values(at=sa.select(t.identity.c.created_at).scalar_subquery()))
        row = connection.execute(sa.select(t.removal)).one()
        connection.execute(t.removal.update().values(at=row.at - timedelta(days=2)))
    name_removals(registry.database, {garbage_file})
    assert removals(registry) == {garbage_file: False}


def test_a_slow_store_is_cleared_in_several_batches(registry, add, monkeypatch):
    """However slow it is, each batch is over before others may take its files for gone."""
    for number in range(5):
        registry.remove(add(files={"a": b"%d" % number}).ref)
    age(registry)
    named = []

    def name(database, digests):
        named.append(len(digests))
        return name_removals(database, digests)

    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(garbage, "name_removals", name)
    monkeypatch.setattr(garbage.time, "monotonic", lambda: next(clock))
    assert len(collect_garbage(registry, apply=True).files) == 5
    assert named == [5, 1]
    assert LEASE.total_seconds() > contents.REMOVING + contents.LONGEST_REMOVAL
