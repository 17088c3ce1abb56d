import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from pointsman.registry import Adapter, Registry
from pointsman.registry.errors import (
    AdapterNotFoundError,
    ChangedError,
    ConflictError,
    InvalidNameError,
    NotFoundError,
    SettingsError,
    VersionNotFoundError,
)

pytestmark = pytest.mark.databases


@pytest.fixture
def two(add):
    """sst2@1 and sst2@2."""
    return add(), add(files={"a": b"second"})


def log(registry, *arguments, **criteria):
    """Events in the order they happened."""
    return [(event.action, event.subject) for event in registry.events(*arguments, **criteria)][::-1]


# Aliases


def test_an_alias_moves(registry, add):
    add(), add("cola"), add()
    assert registry.set_alias("sst2@1", "production").aliases == ("production",)
    registry.set_alias("sst2@1", "champion")
    registry.set_alias("cola", "production")
    assert registry.version("sst2@1").aliases == ("champion", "production")
    assert registry.set_alias("sst2", "production").ref == "sst2@2"
    assert registry.version("sst2@production").ref == "sst2@2"
    assert registry.version("sst2@1").aliases == ("champion",)
    assert registry.version("cola@production").ref == "cola@1"
    assert registry.set_alias("sst2@champion", "production").ref == "sst2@1"


@pytest.mark.parametrize("alias", ["latest", "best", "3", "v3", "a/b", "", "A", "a" * 65, "\udcff", "a\n"])
def test_an_alias_that_cannot_be_is_refused(registry, add, alias):
    add()
    with pytest.raises(InvalidNameError) as error:
        registry.set_alias("sst2", alias)
    assert str(error.value).isprintable()
    assert registry.version("sst2").aliases == ()
    assert len(registry.events()) == 1


@pytest.mark.usefixtures("two")
def test_an_alias_moves_only_if_it_stands_where_one_thinks(registry):
    with pytest.raises(ConflictError, match="the alias sst2@canary does not exist, expected was sst2@2: it was not"):
        registry.set_alias("sst2@1", "canary", if_currently=2)
    assert registry.set_alias("sst2@1", "canary", if_currently=0).aliases == ("canary",)
    for wrong, expected in ((0, "none"), (2, "sst2@2"), (7, "sst2@7")):
        with pytest.raises(ConflictError, match=f"sst2@canary points to sst2@1, expected was {expected}: it was not"):
            registry.set_alias("sst2@2", "canary", if_currently=wrong)
    assert registry.version("sst2@canary").number == 1
    assert registry.set_alias("sst2@2", "canary", if_currently=1).number == 2
    assert registry.set_alias("sst2@2", "canary", if_currently=2).number == 2
    assert [action for action, _ in log(registry)] == ["add", "add", "alias", "alias", "alias"]


@pytest.mark.usefixtures("two")
def test_an_alias_of_one_adapter_is_none_of_another(registry, add):
    add("cola")
    registry.set_alias("cola@1", "canary")
    with pytest.raises(ConflictError, match="sst2@canary does not exist"):
        registry.set_alias("sst2@1", "canary", if_currently=1)
    assert registry.set_alias("sst2@2", "canary", if_currently=0).number == 2
    assert registry.version("cola@canary").number == 1


def raced(registries, alias):
    """Let each registry set an alias that is not there, to the version of its number; who won, what others heard."""
    barrier = threading.Barrier(len(registries))
    won, lost = [], []

    def race(number, opened):
        barrier.wait()
        try:
            won.append(opened.set_alias(f"sst2@{number}", alias, if_currently=0).number)
        except ConflictError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=race, args=item) for item in enumerate(registries, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won, lost


@pytest.mark.sqlite
@pytest.mark.usefixtures("two")
def test_of_two_that_set_an_alias_at_once_one_wins(registry):
    with Registry(registry.home) as other:
        for attempt in range(10):
            alias = f"alias-{attempt}"
            won, lost = raced((registry, other), alias)
            assert (len(won), len(lost)) == (1, 1)
            assert registry.version(f"sst2@{alias}").number == won[0]
            assert f"sst2@{alias} points to sst2@{won[0]}, expected was none" in lost[0]
    assert [action for action, _ in log(registry)].count("alias") == 10


def test_an_adapter_has_its_numbers_and_aliases(registry, add):
    with pytest.raises(AdapterNotFoundError, match="unknown adapter 'sst2'"):
        registry.adapter("sst2")
    for name in ("sst2", "cola", "sst2", "sst2"):
        add(name)
    for ref, alias in (("sst2@3", "production"), ("sst2@3", "canary"), ("sst2@1", "old"), ("cola", "canary")):
        registry.set_alias(ref, alias)
    registry.remove("sst2@2")
    assert registry.adapter("sst2") == Adapter(
        name="sst2", numbers=(3, 1), aliases={"canary": 3, "old": 1, "production": 3}
    )
    with pytest.raises(InvalidNameError):
        registry.adapter("sst2@1")


def test_an_alias_is_removed_and_the_version_stays(registry, two):
    registry.set_alias("sst2@1", "canary")
    registry.set_alias("sst2@1", "production")
    registry.remove_alias("sst2", "canary")
    assert registry.version("sst2@1").aliases == ("production",)
    assert registry.version("sst2@1").digest == two[0].digest
    with pytest.raises(VersionNotFoundError, match="unknown version 'sst2@canary'"):
        registry.version("sst2@canary")
    assert registry.set_alias("sst2@2", "canary", if_currently=0).number == 2


@pytest.mark.usefixtures("two")
def test_an_alias_is_removed_only_if_it_points_where_one_thinks(registry):
    registry.set_alias("sst2@1", "canary")
    with pytest.raises(ChangedError) as error:
        registry.set_alias("sst2@1", "production", if_currently=1)
    assert error.value.current == 0
    before = registry.events()
    for wrong, expected in ((2, "sst2@2"), (0, "none")):
        with pytest.raises(
            ChangedError, match=f"sst2@canary points to sst2@1, expected was {expected}: it was not removed"
        ) as error:
            registry.remove_alias("sst2", "canary", if_currently=wrong)
        assert error.value.current == 1
    assert registry.events() == before
    registry.remove_alias("sst2", "canary", if_currently=1)
    assert registry.version("sst2@1").aliases == ()
    with pytest.raises(VersionNotFoundError, match="unknown alias"):
        registry.remove_alias("sst2", "canary", if_currently=1)


@pytest.mark.usefixtures("two")
def test_an_unknown_alias_lists_those_known(registry, add):
    add("cola")
    registry.set_alias("cola", "elsewhere")
    with pytest.raises(VersionNotFoundError, match="unknown alias 'sst2@canary'; none exists yet"):
        registry.remove_alias("sst2", "canary")
    for alias in ("production", "canary"):
        registry.set_alias("sst2@1", alias)
    for text in ("prodcution", "elsewhere", "latest", "1", "", "\x1b[2J", "a\0"):
        with pytest.raises(VersionNotFoundError, match=r"; known: sst2@canary, sst2@production$") as error:
            registry.remove_alias("sst2", text)
        assert str(error.value).isprintable()
        assert ("did you mean sst2@production?" in str(error.value)) == (text == "prodcution")
    with pytest.raises(AdapterNotFoundError, match=r"unknown adapter 'sst'; did you mean sst2[?]; known: cola, sst2"):
        registry.remove_alias("sst", "canary")
    with pytest.raises(InvalidNameError):
        registry.remove_alias("../sst2", "canary")
    assert registry.version("sst2@1").aliases == ("canary", "production")


# Tags and notes


def test_tags_are_set_replaced_and_removed(registry, two):
    assert [version.tags for version in two] == [{}, {}]
    registry.set_tags("sst2@2", {"team": "other"})
    assert registry.set_tags("sst2@1", {"team": "vision", "eval/host": "lab3"}).tags == {
        "eval/host": "lab3",
        "team": "vision",
    }
    assert registry.set_tags("sst2@1", {"team": "text", "added": ""}).tags == {
        "added": "",
        "eval/host": "lab3",
        "team": "text",
    }
    assert registry.set_tags("sst2@1", {"team": None, "never-set": None, "added": "é\tand\nmore"}).tags == {
        "added": "é\tand\nmore",
        "eval/host": "lab3",
    }
    assert registry.version("sst2@2").tags == {"team": "other"}
    assert registry.version("sst2@1").digest == two[0].digest


def test_a_version_is_added_with_tags_and_a_note(registry, add):
    version = add(tags={"team": "text", "a": "b"}, note="First try.\nWorks.")
    assert (version.tags, version.note) == ({"a": "b", "team": "text"}, "First try.\nWorks.")
    assert add().digest == version.digest
    with pytest.raises(InvalidNameError):
        add(tags={"a b": "c"})
    with pytest.raises(InvalidNameError):
        add(note="\0")
    assert len(registry.versions()) == 2


BAD_TAGS = {
    "an empty key": {"": "a"},
    "a space in a key": {"a b": "a"},
    "a quote in a key": {"a'": "a"},
    "a long key": {"k" * 201: "a"},
    "a bad key to remove": {"a b": None},
    "a long value": {"k": "v" * 5_001},
    "a megabyte": {"k": "v" * 1_000_000},
    "an escape sequence": {"k": "\x1b[2J"},
    "a carriage return": {"k": "a\rb"},
    "a NUL": {"k": "a\0b"},
    "a delete": {"k": "\x7f"},
    "a lone surrogate": {"k": "\udcff"},
}


@pytest.mark.parametrize("bad", BAD_TAGS.values(), ids=BAD_TAGS.keys())
def test_a_bad_tag_changes_nothing(registry, two, bad):
    registry.set_tags("sst2@1", {"kept": "old", "going": "stays"})
    before = registry.events()
    with pytest.raises(InvalidNameError) as error:
        registry.set_tags("sst2@1", {"kept": "new", "going": None, "more": "more", **bad})
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300
    assert registry.version("sst2@1").tags == {"going": "stays", "kept": "old"}
    assert registry.events() == before


@pytest.mark.usefixtures("two")
def test_tags_change_only_if_they_are_what_one_thinks(registry):
    registry.set_tags("sst2@1", {"stage": "canary", "team": "text"})
    before = registry.events()
    for expected, said in (
        ({"stage": "live"}, "the tag 'stage' of sst2@1 is 'canary', expected was 'live': nothing was changed"),
        ({"stage": None}, "the tag 'stage' of sst2@1 is 'canary', expected was none"),
        ({"stage": "canary", "owner": "ann"}, "the tag 'owner' of sst2@1 is not set, expected was 'ann'"),
    ):
        for changes in ({"stage": "live", "team": None}, {}):
            with pytest.raises(ChangedError, match=said) as error:
                registry.set_tags("sst2@1", changes, if_currently=expected)
            assert error.value.current == {key: {"stage": "canary"}.get(key) for key in expected}
    with pytest.raises(InvalidNameError):
        registry.set_tags("sst2@1", {"stage": "live"}, if_currently={"a b": None})
    assert registry.set_tags("sst2@1", {}, if_currently={"stage": "canary"}).tags["stage"] == "canary"
    assert registry.events() == before
    changed = registry.set_tags("sst2@1", {"stage": "live"}, if_currently={"stage": "canary", "owner": None})
    assert changed.tags == {"stage": "live", "team": "text"}


@pytest.mark.usefixtures("two")
def test_a_note_changes_only_if_it_is_what_one_thinks(registry):
    with pytest.raises(ChangedError, match="the note of sst2@1 is empty, expected was 'old': it was not changed"):
        registry.set_note("sst2@1", "new", if_currently="old")
    assert registry.set_note("sst2@1", "a\nb", if_currently="").note == "a\nb"
    before = registry.events()
    for wrong, expected in (("", "none"), ("a", "'a'")):
        with pytest.raises(ChangedError, match=rf"is 'a\\nb', expected was {expected}") as error:
            registry.set_note("sst2@1", None, if_currently=wrong)
        assert error.value.current == "a\nb"
    assert registry.events() == before
    assert registry.set_note("sst2@1", None, if_currently="a\r\nb").note is None
    assert registry.set_note("sst2@1", "n" * 1_000, if_currently="").note == "n" * 1_000
    with pytest.raises(ChangedError) as error:
        registry.set_note("sst2@1", None, if_currently="m")
    assert len(str(error.value)) < 200


@pytest.mark.usefixtures("two")
def test_of_many_that_change_a_tag_at_once_one_wins(registry):
    barrier = threading.Barrier(4)
    won, lost = [], []

    def race(name):
        barrier.wait()
        try:
            won.append(registry.set_tags("sst2@1", {"owner": name}, if_currently={"owner": None}).tags["owner"])
        except ChangedError as error:
            lost.append(error.current["owner"])

    threads = [threading.Thread(target=race, args=(name,)) for name in ("ann", "bob", "eve", "joe")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == won * 3
    assert registry.version("sst2@1").tags == {"owner": won[0]}


@pytest.mark.usefixtures("two")
def test_the_longest_texts(registry):
    key, value, note = "k" * 200, "é" * 5_000, "ß\n" * 32_768
    assert registry.set_tags("sst2@1", {key: value}).tags == {key: value}
    assert registry.set_note("sst2@1", note).note == note


@pytest.mark.usefixtures("two")
def test_a_note_is_set_replaced_and_taken_away(registry):
    assert registry.version("sst2@1").note is None
    assert registry.set_note("sst2@1", "First line.\n\n\tSecond: é 😀").note == "First line.\n\n\tSecond: é 😀"
    assert registry.set_note("sst2@1", "Another.").note == "Another."
    assert registry.version("sst2@2").note is None
    assert registry.set_note("sst2@1", None).note is None


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("note", ["n" * 65_537, "a\0", "\x1b]0;title\x07", "\udcff", "\x85"], ids=ascii)
def test_a_bad_note_changes_nothing(registry, note):
    registry.set_note("sst2@1", "old")
    with pytest.raises(InvalidNameError) as error:
        registry.set_note("sst2@1", note)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300
    assert registry.version("sst2@1").note == "old"


@pytest.mark.usefixtures("two")
def test_labels_of_what_is_not_there(registry):
    before = registry.events()
    for ref in ("sst2@7", "sst2@canary", "nobody"):
        for change in (registry.set_tags, registry.set_note, registry.set_alias):
            with pytest.raises(NotFoundError):
                change(ref, {"a": "b"} if change == registry.set_tags else "text")
    assert registry.events() == before


# Events


def test_events_say_who_did_what(registry, add):
    before = datetime.now(UTC)
    version = add()
    registry.set_alias("sst2", "production")
    moved, added = registry.events()
    assert (added.action, added.subject, added.details) == ("add", "sst2@1", {"digest": version.digest, "run": None})
    assert (moved.action, moved.subject, moved.details) == ("alias", "sst2@1", {"alias": "production", "from": None})
    assert added.actor == moved.actor
    user, _, machine = added.actor.partition("@")
    assert user
    assert machine
    assert before <= added.at <= moved.at <= datetime.now(UTC)
    assert registry.events(limit=1) == [moved]


@pytest.mark.parametrize("user", ["ann", "\udcff", "u" * 300])
def test_an_actor_is_the_user_and_the_machine(registry, add, monkeypatch, user):
    monkeypatch.setenv("LOGNAME", user)
    add()
    (event,) = registry.events()
    assert event.actor.isprintable()
    assert len(event.actor) <= 200
    assert event.actor.startswith({"ann": "ann@", "\udcff": "?@"}.get(user, "u" * 200))


def test_every_change_of_labels_is_an_event(registry, two):
    registry.set_alias("sst2@1", "canary")
    registry.set_alias("sst2@2", "canary")
    registry.remove_alias("sst2", "canary")
    registry.set_tags("sst2@1", {"a": "b", "c": None})
    registry.set_note("sst2@best", "text")
    registry.remove("sst2@1")
    assert [(event.action, event.subject, event.details) for event in registry.events(limit=6)][::-1] == [
        ("alias", "sst2@1", {"alias": "canary", "from": None}),
        ("alias", "sst2@2", {"alias": "canary", "from": 1}),
        ("unalias", "sst2@2", {"alias": "canary"}),
        ("tag", "sst2@1", {"a": "b", "c": None}),
        ("note", "sst2@2", {"note": "text"}),
        ("remove", "sst2@1", {"digest": two[0].digest, "aliases": []}),
    ]


@pytest.fixture
def logged(registry, two, add):
    """Events of sst2@1, sst2@2 and cola@1, in turn."""
    add("cola")
    registry.set_alias("sst2@1", "canary")
    registry.set_tags("cola@1", {"a": "b"})
    registry.set_note("sst2@2", "text")
    registry.set_alias("sst2@2", "production")


@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (None, "add sst2@1, add sst2@2, add cola@1, alias sst2@1, tag cola@1, note sst2@2, alias sst2@2"),
        ("sst2", "add sst2@1, add sst2@2, alias sst2@1, note sst2@2, alias sst2@2"),
        ("cola", "add cola@1, tag cola@1"),
        ("sst2@1", "add sst2@1, alias sst2@1"),
        ("sst2@2", "add sst2@2, note sst2@2, alias sst2@2"),
        ("sst2@canary", "add sst2@1, alias sst2@1"),
        ("sst2@production", "add sst2@2, note sst2@2, alias sst2@2"),
        ("sst2@best", "add sst2@2, note sst2@2, alias sst2@2"),
        ("sst", ""),
        ("sst2@11", ""),
    ],
)
def test_events_are_filtered_by_what_they_are_about(registry, ref, expected):
    assert ", ".join(f"{action} {subject}" for action, subject in log(registry, ref)) == expected


def test_events_of_one_version_are_none_of_another_whose_number_begins_alike(registry, add):
    for name in ("sst2", "sst"):
        for _ in range(12):
            add(name)
    assert log(registry, "sst2@1") == [("add", "sst2@1")]
    assert len(registry.events("sst")) == 12


@pytest.mark.usefixtures("logged")
def test_events_come_a_page_at_a_time(registry):
    everything = registry.events()
    assert len(everything) == 7
    assert all(newer.at >= older.at for newer, older in pairwise(everything))
    for ref, whole in ((None, everything), ("sst2", registry.events("sst2"))):
        for offset in range(len(whole) + 2):
            for limit in (1, 2, 100, None):
                assert registry.events(ref, limit=limit, offset=offset) == whole[offset:][:limit]


@pytest.mark.usefixtures("logged")
def test_events_of_a_bad_ref_are_refused(registry):
    with pytest.raises(VersionNotFoundError, match=r"unknown version 'sst2@nightly'; .*sst2@canary, sst2@production"):
        registry.events("sst2@nightly")
    with pytest.raises(InvalidNameError):
        registry.events("'; drop table event; --")
    with pytest.raises(SettingsError):
        registry.events(limit=0)


@pytest.mark.usefixtures("logged")
def test_events_outlive_what_they_are_about(registry):
    before = registry.events("cola")
    registry.remove("cola@1")
    removed, *rest = registry.events("cola")
    assert (removed.action, rest) == ("remove", before)
    assert registry.events("cola@1") == [removed, *rest]


@pytest.mark.sqlite
@pytest.mark.usefixtures("logged")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET actor = 'nobody'",
        "UPDATE event SET details = '{}' WHERE id = 1",
        "UPDATE OR REPLACE event SET id = 2 WHERE id = 1",
        "DELETE FROM event",
        "INSERT OR REPLACE INTO event SELECT id, at, 'nobody', action, subject, details, adapter_name FROM event",
        "DELETE FROM event WHERE id = (SELECT max(id) FROM event)",
    ],
)
def test_nobody_changes_the_log(registry, statement):
    before = registry.events()
    refused = pytest.raises(sqlite3.IntegrityError, match="the event log is append-only")
    with closing(sqlite3.connect(registry.home / "registry.db")) as connection, refused, connection:
        connection.execute(statement)
    assert registry.events() == before
