"""A registry never deletes what is another's: whose store it is, who may take it, and how it changes hands."""

import json
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pointsman.registry import Registry
from pointsman.registry.database.generations import newest_generation
from pointsman.registry.errors import (
    Action,
    Advice,
    ForeignStoreError,
    NotARegistryError,
    NotFoundError,
    OldSchemaError,
    StoreError,
)
from pointsman.registry.storage.local import LocalStore
from pointsman.registry.storage.owner import OWNER_FILE, StoreOwner
from pointsman.registry.upkeep import (
    adopt_store,
    back_up,
    collect_garbage,
    diagnose,
    export_bundle,
    import_bundle,
    repair,
    verify,
)
from pointsman.registry.versions.ownership import check_store, own_store

from shapes import FIELDS

UNREADABLE = [
    b"",
    b"{",
    b"[]",
    b'{"registry": 1}',
    b'{"registry": "ab"}',
    b'{"registry": "ab", "claimed": "2026-01-01T00:00:00+00:00", "schema": "0004", "generation": 1}',
    b"\xff" * 100_000,
]

DATA = Path(__file__).parents[1] / "data"
OLD = sorted(path.name for path in DATA.glob("schema-*"))


def objects(store):
    return sorted(file.path for file in store.files() if file.digest is not None)


def age(root):
    for path in root.rglob("*"):
        os.utime(path, (0, 0))


def owner(registry):
    return StoreOwner.read(registry.store.read_owner(), registry.store.label)


def add(registry, content=b"weights", name="sst2"):
    return registry.add_version(name, **{**FIELDS, "files": {"a": content, "b": content + b"!"}})


@pytest.fixture
def team(tmp_path):
    """A team's registry with twenty versions in a store of its own, whose files are all old."""
    with Registry(tmp_path / "team", store=tmp_path / "store") as registry:
        for number in range(20):
            add(registry, b"%d" % number)
        age(tmp_path / "store")
        yield registry


@pytest.fixture
def mine(tmp_path):
    """A registry of one's own, with a version."""
    with Registry(tmp_path / "mine") as registry:
        add(registry, b"my own")
    return registry


add_to = add


def refused(store, *, bundle=None, **places):
    """The errors with which every operation that adds or removes is refused."""
    errors = []
    with Registry(store=store, **places) as other:
        operations = [
            lambda: collect_garbage(other, apply=True),
            lambda: collect_garbage(other),
            lambda: add(other),
            lambda: other.remove("sst2@1"),
            lambda: import_bundle(other, bundle or Path(store).parent / "bundle.tar"),
            lambda: repair(other, [], []),
            other.check_writable,
        ]
        for operation in operations:
            with pytest.raises(ForeignStoreError) as error:
                operation()
            errors.append(str(error.value))
        assert len(other.versions()) <= 1
    assert len(errors) == 7
    return errors


def test_a_store_says_whose_it_is(registry, add):
    assert registry.store.read_owner() is None
    add()
    found = owner(registry)
    assert (found.registry, found.preexisting) == (registry.database.identity, False)
    assert len(found.registry) == 32
    add()
    assert owner(registry) == replace(found, generation=owner(registry).generation)
    assert owner(registry).generation != found.generation
    # In plain sight, for people too.
    assert json.loads((registry.home / "objects" / OWNER_FILE).read_text())["registry"] == found.registry


@pytest.mark.parametrize("url_too", [False, True])
def test_a_forgotten_database_deletes_nothing(team, mine, tmp_path, url_too):
    """``POINTSMAN_STORE`` is set, and the database's URL is forgotten: the database is that of one's own home."""
    before = objects(team.store)
    export_bundle(team, ["sst2@1"], tmp_path / "bundle.tar")
    store = (tmp_path / "store").as_uri() if url_too else tmp_path / "store"
    for message in refused(tmp_path / "store", home=mine.home):
        assert message.startswith(f"the object store {tmp_path / 'store'} belongs to another registry, ")
        assert f"{owner(team).registry[:12]}, since 20" in message
        assert message.endswith("or a store of this one's own (POINTSMAN_STORE)")
    with Registry(mine.home, store=store) as other, pytest.raises(ForeignStoreError) as error:
        adopt_store(other)
    assert "holds 40 objects, and no version in" in str(error.value)
    assert objects(team.store) == before
    assert verify(team).problems == ()
    assert add(team, b"goes on").number == 21


def test_no_database_is_made_where_objects_lie(team, tmp_path, monkeypatch):
    """Neither in the place of a lost one, nor in an empty home with the team's store."""
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "new"))
    monkeypatch.setenv("POINTSMAN_STORE", str(tmp_path / "store"))
    with pytest.raises(NotARegistryError, match=r"registry.db is empty, but .*store holds 40 objects of a registry"):
        Registry()
    (problem,) = diagnose().problems
    assert (problem.subject, "holds 40 objects" in problem.text) == ("database", True)
    monkeypatch.delenv("POINTSMAN_STORE")
    Registry().close()
    assert verify(team).problems == ()


@pytest.mark.parametrize("lost", ["truncated", "removed"])
def test_a_database_of_no_bytes_is_an_error_where_objects_lie(registry, add, home, lost):
    add()
    registry.close()
    kept = (home / "registry.db").read_bytes()
    (home / "registry.db").write_bytes(b"")
    if lost == "removed":
        (home / "registry.db").unlink()
    for _ in range(2):
        with pytest.raises(NotARegistryError, match=r"is empty, but the object store .* holds 2 objects"):
            Registry(home)
    assert (home / "registry.db").exists() == (lost == "truncated")
    (home / "registry.db").write_bytes(kept)
    with Registry(home) as again:
        assert verify(again).problems == ()


def test_two_schemas_on_one_store(postgres, tmp_path):
    """Both were made before anything was stored: the first that adds something has the store."""
    import psycopg

    def schema(name):
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{postgres}?options=-csearch_path%3D{name}"

    store = tmp_path / "store"
    with (
        Registry(tmp_path / "a", database=schema("one"), store=store) as one,
        Registry(tmp_path / "b", database=schema("two"), store=store) as two,
    ):
        assert one.database.identity != two.database.identity
        add(one)
        with pytest.raises(ForeignStoreError, match=f"belongs to another registry, {one.database.identity[:12]}"):
            add(two)
        age(store)
        with pytest.raises(ForeignStoreError):
            collect_garbage(two, apply=True)
        assert verify(one).problems == ()
        assert two.versions().total == 0
    with pytest.raises(NotARegistryError, match="holds 2 objects of a registry"):
        Registry(tmp_path / "c", database=schema("three"), store=store)


def test_of_many_that_take_a_store_at_once_one_has_it(tmp_path):
    registries = [Registry(tmp_path / str(number), store=tmp_path / "store") for number in range(6)]
    ready, won, lost = threading.Barrier(6), [], []

    def take(registry):
        ready.wait()
        try:
            add(registry, registry.database.identity.encode())
        except ForeignStoreError:
            lost.append(registry)
        else:
            won.append(registry)

    threads = [threading.Thread(target=take, args=(registry,)) for registry in registries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 5)
    assert owner(won[0]).registry == won[0].database.identity
    assert not list((tmp_path / "store").rglob("*.tmp"))
    for registry in registries:
        registry.close()


def test_a_store_that_this_registry_takes_meanwhile_is_not_anothers(registry):
    """Two threads add first versions: one has stored its file, not its row, when the other lists the objects."""

    class Store(LocalStore):
        def files(self):
            first = LocalStore(self.root)
            own_store(registry.database, first)
            first.put(b"of the other thread")
            return super().files()

    own_store(registry.database, Store(registry.store.root))
    assert owner(registry).registry == registry.database.identity
    assert check_store(registry.database, Store(registry.store.root / "new")).registry == registry.database.identity


# Stores of older releases, which say nothing


def test_an_unclaimed_store_is_taken_by_whom_it_serves(team, mine, tmp_path):
    export_bundle(team, ["sst2@1"], tmp_path / "bundle.tar")
    (tmp_path / "store" / OWNER_FILE).unlink()
    # Not by a stranger, not even to look for garbage.
    for message in refused(tmp_path / "store", home=mine.home):
        assert "holds 40 objects, and no version in" in message
    assert team.store.read_owner() is None
    add(team)
    assert owner(team).registry == team.database.identity


def test_objects_that_nobody_knows_outlive_the_claim(team, tmp_path):
    """Two registries of an older release shared a store: whichever takes it deletes nothing of the other's."""
    (tmp_path / "store" / OWNER_FILE).unlink()
    with Registry(tmp_path / "other") as other:
        add(other, b"other")
        add(other, b"7")  # of one content with the team's
    shutil.copytree(tmp_path / "other" / "objects", tmp_path / "store", dirs_exist_ok=True)
    (tmp_path / "store" / OWNER_FILE).unlink()
    age(tmp_path / "store")
    team.remove("sst2@1")
    with Registry(tmp_path / "other", store=tmp_path / "store") as other:
        found = collect_garbage(other, apply=True)
        assert (found.files, found.preexisting, owner(other).preexisting) == ((), 38, True)
        # What became garbage since is removed.
        add(other, b"later")
        other.remove("sst2@3")
        os.utime(other.store.path(other.store.put(b"later")), (2e9, 2e9))
        assert verify(other).problems == ()
    assert verify(team).problems == ()
    with pytest.raises(ForeignStoreError) as error:
        add(team)
    assert error.value.advice == Advice(Action.ADOPT_STORE)
    assert adopt_store(team).preexisting
    assert collect_garbage(team, apply=True).preexisting == 4
    assert len(collect_garbage(team, apply=True, preexisting=True).files) == 4
    assert verify(team).problems == ()


def test_a_home_whose_versions_were_removed_goes_on(registry, add, home):
    """An older release left files of removed versions, and no owner: they are this registry's own."""
    ref = add().ref
    registry.remove(ref)
    (home / "objects" / OWNER_FILE).unlink()
    age(home / "objects")
    registry.check_writable()
    assert collect_garbage(registry, apply=True).preexisting == 2
    assert owner(registry).preexisting
    assert len(collect_garbage(registry, apply=True, preexisting=True).files) == 2


def test_a_store_that_names_nobody_may_be_adopted(registry, add, home, tmp_path):
    ref = add().ref
    registry.remove(ref)
    (home / "objects" / OWNER_FILE).unlink()
    with Registry(tmp_path / "elsewhere", database=home / "registry.db", store=home / "objects") as same:
        same.check_writable()  # the home of the database, whatever is named as home
    (home / "objects").rename(tmp_path / "store")
    with Registry(home, store=tmp_path / "store") as moved:
        with pytest.raises(ForeignStoreError) as error:
            moved.check_writable()
        assert error.value.advice == Advice(Action.ADOPT_STORE)
        assert adopt_store(moved).preexisting
        assert add_to(moved).ref == "sst2@2"
    # A new database has no history: not even the objects in its own home are its own.
    (home / "objects").mkdir()
    with Registry(tmp_path / "new") as new:
        shutil.copytree(tmp_path / "store", new.home / "objects")
        (new.home / "objects" / OWNER_FILE).unlink()
        with pytest.raises(ForeignStoreError) as error:
            new.check_writable()
        assert error.value.advice is None


@pytest.mark.parametrize("schema", OLD)
def test_homes_of_older_releases_go_on(schema, tmp_path):
    """Also the backup that an upgrade made, which is upgraded a second time: it is the same registry."""
    home = Path(shutil.copytree(DATA / schema, tmp_path / "home"))
    with Registry(home, upgrade=True) as registry:
        backup = registry.database.backup
        known = registry.database.identity
        assert registry.check_writable() is None
        assert registry.store.read_owner() is None
        ref = add(registry).ref
        registry.remove(ref)
        collect_garbage(registry, apply=True)
        assert owner(registry).registry == known
    shutil.copy(backup, home / "registry.db")
    with pytest.raises(OldSchemaError):
        Registry(home)
    with Registry(home, upgrade=True) as restored:
        assert restored.database.identity == known
        with pytest.raises(ForeignStoreError, match="does not know"):
            add(restored)
        adopt_store(restored)
        assert add(restored).ref == ref
        assert verify(restored).problems == ()
    # Every home is a registry of its own, though.
    other = Path(shutil.copytree(DATA / next(name for name in OLD if name != schema), tmp_path / "other"))
    with Registry(other, upgrade=True) as another:
        assert another.database.identity != known


# Copies, backups, moves


def test_a_copied_and_a_moved_home_go_on(registry, add, home, tmp_path):
    add()
    registry.close()
    shutil.copytree(home, tmp_path / "copy")
    home.rename(tmp_path / "moved")
    for place in ("copy", "moved"):
        with Registry(tmp_path / place) as again:
            again.check_writable()
            assert again.add_version("sst2", **FIELDS).ref == "sst2@2"
            again.remove("sst2@1")
            collect_garbage(again, apply=True)


@pytest.mark.databases
def test_a_backup_is_owned_and_restores_where_it_came_from(registry, add, home, tmp_path):
    add()
    made = back_up(registry, tmp_path / "backup")
    with Registry(made.path) as copy:
        assert copy.database.identity == registry.database.identity
        assert copy.store.read_owner() == registry.store.read_owner()
        assert copy.add_version("cola", **FIELDS).ref == "cola@1"
    # Its database in the place of the lost one, with the store that was there all the time.
    with Registry(tmp_path / "again", database=made.path / "registry.db", store=home / "objects") as restored:
        assert restored.add_version("cola", **FIELDS).ref == "cola@2"
        assert verify(restored).problems == ()


def test_whoever_finds_his_own_files_may_adopt(team, tmp_path):
    """The same versions in a registry made anew from a bundle, because the database was lost."""
    export_bundle(team, ["sst2@3", "sst2@4"], tmp_path / "bundle.tar")
    with Registry(tmp_path / "new") as new:
        import_bundle(new, tmp_path / "bundle.tar")
    with Registry(tmp_path / "new", store=tmp_path / "store") as moved:
        with pytest.raises(ForeignStoreError) as error:
            add(moved)
        assert error.value.advice == Advice(Action.ADOPT_STORE)
        adopted = adopt_store(moved)
        assert (adopted.registry, adopted.preexisting) == (moved.database.identity, True)
        assert moved.events()[0].action == "adopt"
        add(moved)
        assert collect_garbage(moved, apply=True).preexisting == 36
    with pytest.raises(ForeignStoreError):
        add(team)
    assert verify(team).problems == ()


# Copies of one database on one store


def copy_of(registry, path):
    """A copy of a registry's database, as it is now."""
    registry.database.copy(path)
    return path


@pytest.mark.databases
def test_an_older_copy_deletes_nothing(registry, add, tmp_path):
    """A backup of the database is opened beside the live store, and files of versions that it does not know are old."""
    add()
    older = copy_of(registry, tmp_path / "older.db")
    ref = registry.add_version("sst2", **{**FIELDS, "files": {"new": b"of the newer version"}}).ref
    export_bundle(registry, [ref], tmp_path / "bundle.tar")
    age(Path(registry.store.root))
    before = objects(registry.store)
    for message in refused(registry.store.root, home=tmp_path / "copy", database=older, bundle=tmp_path / "bundle.tar"):
        assert f"holds versions that {older} does not know" in message
    assert objects(registry.store) == before
    assert verify(registry).problems == ()
    # Reading is free, and the newer one goes on.
    with Registry(tmp_path / "copy", database=older, store=registry.store.root) as copy:
        assert copy.read_files(copy.version("sst2@1"))
    registry.remove(ref)
    assert collect_garbage(registry, apply=True).files


def test_an_older_copy_may_adopt_the_store(registry, add, tmp_path):
    """The newer database is lost: what only that knew stays, and from then on it is the one that is refused."""
    add()
    older = copy_of(registry, tmp_path / "older.db")
    lost = registry.add_version("sst2", **{**FIELDS, "files": {"new": b"of the newer version"}})
    age(Path(registry.store.root))
    with Registry(tmp_path / "copy", database=older, store=registry.store.root) as restored:
        with pytest.raises(ForeignStoreError) as error:
            restored.check_writable()
        assert error.value.advice == Advice(Action.ADOPT_STORE)
        assert adopt_store(restored).preexisting
        assert add_to(restored).ref == "sst2@2"
        assert collect_garbage(restored, apply=True).preexisting == 1
        assert registry.read_files(lost)
        with pytest.raises(ForeignStoreError, match="does not know"):
            registry.remove("sst2@1")


def test_a_copy_that_went_its_own_way_is_an_older_one(registry, add, home, tmp_path):
    """A copied home has more versions than the original, but not those that were added there since."""
    add()
    shutil.copytree(home, tmp_path / "copy")
    add()
    with Registry(tmp_path / "copy") as copy:
        for number in range(5):
            add_to(copy, b"%d" % number)
    with Registry(tmp_path / "copy", store=home / "objects") as copy, pytest.raises(ForeignStoreError):
        collect_garbage(copy, apply=True)


@pytest.mark.parametrize("call", ["write_owner", "put"])
def test_a_write_that_stops_anywhere_locks_nobody_out(registry, add, monkeypatch, call):
    add()

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(registry.store, call, stop)
        with pytest.raises(KeyboardInterrupt):
            add()
    registry.remove("sst2@1")
    assert add().ref == "sst2@2"
    collect_garbage(registry, apply=True)


def test_of_writes_at_once_the_newest_is_named(registry, add, monkeypatch):
    """One that began earlier and comes later leaves the mark of the other."""
    add()
    write, first = registry.store.write_owner, [True]

    def late(content, **options):
        if first.pop() if first else False:
            add()
        write(content, **options)

    monkeypatch.setattr(registry.store, "write_owner", late)
    add()
    with registry.database.reading() as connection:
        assert owner(registry).generation == newest_generation(connection)


@pytest.mark.databases
def test_a_backup_goes_on_with_its_own_files(registry, add, tmp_path):
    for _ in range(2):
        add()
        back_up(registry, tmp_path / "backup")
    with Registry(tmp_path / "backup") as copy:
        assert owner(copy) == owner(registry)
        assert add_to(copy).ref == "sst2@3"
    # A backup of an older copy, too.
    add()
    older = copy_of(registry, tmp_path / "older.db")
    add()
    with Registry(tmp_path / "home", database=older, store=registry.store.root) as copy:
        back_up(copy, tmp_path / "again")
    with Registry(tmp_path / "again") as copy:
        copy.check_writable()


@pytest.mark.parametrize("content", UNREADABLE)
def test_an_owner_that_cannot_be_read_is_nobody(registry, add, home, content):
    add()
    (home / "objects" / OWNER_FILE).write_bytes(content)
    for operation in (add, lambda: registry.remove("sst2@1"), lambda: collect_garbage(registry, apply=True)):
        with pytest.raises(StoreError, match="does not say which registry the store belongs to") as error:
            operation()
        assert error.value.advice == Advice(Action.ADOPT_STORE)
    adopt_store(registry)
    assert add().ref == "sst2@2"


def test_fields_of_later_releases_are_ignored(registry, add, home):
    add()
    path = home / "objects" / OWNER_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "more": [1]}))
    assert add().ref == "sst2@2"


def test_a_database_that_does_not_say_which_registry_it_is(registry, add, home):
    registry.close()
    with closing(sqlite3.connect(home / "registry.db")) as connection, connection:
        connection.execute("DELETE FROM identity")
    with Registry(home) as nameless, pytest.raises(NotARegistryError, match="does not say which registry it is"):
        nameless.add_version("sst2", **FIELDS)


def test_doctor_counts_objects_without_versions(team, mine, tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSMAN_HOME", str(team.home))
    monkeypatch.setenv("POINTSMAN_STORE", str(tmp_path / "store"))
    assert diagnose().facts["objects without versions"] == "0 (0.0 MB)"
    for number in range(1, 6):
        team.remove(f"sst2@{number}")
    found = diagnose()
    assert found.facts["objects without versions"] == "10 (0.0 MB)"
    assert found.facts["registry"] == team.database.identity
    assert found.problems == ()
    # One's own home with the team's store.
    monkeypatch.setenv("POINTSMAN_HOME", str(mine.home))
    found = diagnose()
    assert found.facts["objects without versions"] == "40 (0.0 MB)"
    texts = [problem.text for problem in found.problems]
    assert len(texts) == 2
    assert texts[0].startswith("the object store")
    assert "belongs to another registry" in texts[0]
    assert texts[1].startswith("files missing or of the wrong size")


def test_a_refused_removal_removes_nothing(team, mine, tmp_path):
    with Registry(mine.home, store=tmp_path / "store") as other:
        with pytest.raises(ForeignStoreError):
            other.remove("sst2@1")
        assert other.version("sst2@1")
        with pytest.raises(NotFoundError):
            other.version("sst2@2")
