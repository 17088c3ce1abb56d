"""What holds the same on both databases, whatever the locale of a server, and through every way in."""

import secrets

import pytest

from pointsman.registry import Registry
from pointsman.registry.errors import MetricNotFoundError

NAMES = ["a", "a-b", "a_b", "ab", "b", "b-1", "b1", "b_1"]


@pytest.fixture
def in_a_locale(request, postgres):
    """The URL of an empty database whose locale sorts as English people do, and knows the case of every letter."""
    import psycopg

    name = f"l{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING utf8 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        )
        yield f"{postgres.removesuffix('/postgres')}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres in a locale"])
def anywhere(request, tmp_path):
    database = None if request.param == "sqlite" else request.getfixturevalue("in_a_locale")
    with Registry(tmp_path / "home", database=database) as opened:
        yield opened


def test_text_is_sorted_and_compared_byte_by_byte(anywhere, add_version):
    for name in reversed(NAMES):
        add_version(anywhere, name, tags={"place": f"{name.upper()}É"}, config={"place": name})
    ordered = sorted(NAMES)  # English sorts b1 before b-1 and a-b after a_b
    assert [version.name for version in anywhere.versions()] == ordered
    assert [version.name for version in anywhere.versions("name > 'a_'")] == [n for n in ordered if n > "a_"]
    assert [version.name for version in anywhere.versions("config.place >= 'b'")] == [n for n in ordered if n >= "b"]
    # LIKE ignores the case of ASCII letters alone, as SQLite's own does.
    assert anywhere.versions("tags.place like 'a_b%'").total == 2
    assert anywhere.versions("tags.place like '%É'").total == len(NAMES)
    assert anywhere.versions("tags.place like '%é'").total == 0


@pytest.mark.databases
def test_a_tag_whose_key_has_a_slash_is_found(registry, add):
    add(tags={"team/stage": "prod"})
    add("other")
    assert [version.ref for version in registry.versions("tags.team/stage = prod")] == ["sst2@1"]
    # Nothing that matches is an answer: the key is not the name of a metric.
    assert list(registry.versions("tags.team/stage = canary")) == []
    assert list(registry.versions("config.a/b = 1")) == []
    with pytest.raises(MetricNotFoundError, match="unknown metric 'team/stage'"):
        registry.versions("team/stage = 1")


@pytest.mark.databases
def test_the_number_of_a_version_is_also_called_version(registry, add):
    add()
    add()
    for query in ("version = 2", "number = 2", "version > 1 and name = sst2"):
        assert [version.ref for version in registry.versions(query)] == ["sst2@2"]


@pytest.mark.parametrize("written", ["one\r\ntwo", "one\rtwo", "one\ntwo"])
def test_a_note_has_one_kind_of_line_breaks(registry, add, written):
    assert add(note=written).note == "one\ntwo"
    assert registry.set_note("sst2@1", written).note == "one\ntwo"


@pytest.mark.databases
def test_a_change_of_labels_answers_with_what_it_set(registry, add, monkeypatch):
    """Also if another process changes the same again before the answer is read."""
    add()
    add()
    writing = registry.database.writing

    class Overtaken:
        """A transaction, after which another one follows at once."""

        def __init__(self, then):
            self.inner, self.then = writing(), then

        def __enter__(self):
            return self.inner.__enter__()

        def __exit__(self, *error):
            monkeypatch.undo()
            self.inner.__exit__(*error)
            self.then()

    def overtaken(then, earlier=0):
        passing = iter(range(earlier))

        def begin(*_):
            return Overtaken(then) if next(passing, None) is None else writing()

        monkeypatch.setattr(registry.database, "writing", begin)

    overtaken(lambda: registry.set_alias("sst2@2", "production"))
    moved = registry.set_alias("sst2@1", "production")
    assert (moved.ref, moved.aliases) == ("sst2@1", ("production",))
    overtaken(lambda: registry.remove("sst2@1"))
    assert registry.set_tags("sst2@1", {"stage": "live"}).tags == {"stage": "live"}
    overtaken(lambda: registry.remove("sst2@2", force=True))
    assert registry.set_note("sst2@2", "good").note == "good"
    overtaken(lambda: registry.remove("sst2@3"), earlier=1)  # the first one begins a generation of the store
    assert add().ref == "sst2@3"
