"""One base under two fingerprints: what an older release stored and what this one stores are found together."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pointsman.registry import Registry
from pointsman.registry.upkeep import verify

from shapes import BASE, FIELDS, RUN

DATA = Path(__file__).parent.parent / "data"
NEW = replace(BASE, fingerprint="3f" * 32, former_fingerprint=BASE.fingerprint, tokenizer="7a" * 32)
"""The base of the stored homes, as this release describes it."""
OTHER = replace(BASE, fingerprint="99" * 32, former_fingerprint="98" * 32, name="another", tokenizer="7b" * 32)

EITHER = [BASE.fingerprint, BASE.fingerprint[:12], NEW.fingerprint, NEW.fingerprint[:8]]


@pytest.fixture
def both(registry):
    """Versions and runs of one base, stored by an older release and by this one, and of another base."""
    for adapter, base in (("old", BASE), ("new", NEW), ("other", OTHER)):
        with registry.start_run(adapter, **{**RUN, "base": base}) as run:
            pass
        registry.add_version(adapter, **{**FIELDS, "base": base}, run=run.uid)
    return registry


def refs(versions):
    return [version.ref for version in versions]


def adapters(runs):
    return sorted(run.adapter for run in runs)


@pytest.mark.databases
@pytest.mark.parametrize("fingerprint", EITHER)
def test_either_fingerprint_lists_both(fingerprint, both):
    assert refs(both.versions(base=fingerprint)) == ["new@1", "old@1"]
    assert refs(both.versions(base=fingerprint, limit=1, sort="created")) == ["new@1"]
    assert both.versions(base=fingerprint, limit=1).total == 2
    assert refs(both.versions(base=OTHER.former_fingerprint)) == ["other@1"]
    assert refs(both.versions(base="another")) == ["other@1"]
    assert refs(both.versions(base="77")) == []


@pytest.mark.databases
@pytest.mark.parametrize("fingerprint", EITHER)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("fingerprint like '{}%'", ["new", "old"]),
        ("fingerprint like '{}%' and not fingerprint like '99%'", ["new", "old"]),
        ("not fingerprint like '{}%'", ["other"]),
        ("fingerprint not like '{}%'", ["other"]),
        ("fingerprint is null", []),
        ("fingerprint is not null", ["new", "old", "other"]),
    ],
)
def test_a_query_by_either_fingerprint(query, expected, fingerprint, both):
    query = query.format(fingerprint)
    assert refs(both.versions(query)) == [f"{name}@1" for name in expected]
    assert adapters(both.runs(query)) == expected


@pytest.mark.databases
@pytest.mark.parametrize("fingerprint", [BASE.fingerprint, NEW.fingerprint])
def test_a_whole_fingerprint_in_a_query(fingerprint, both):
    for query, expected in [
        (f"fingerprint = '{fingerprint}'", ["new", "old"]),
        (f"fingerprint != '{fingerprint}'", ["other"]),
        (f"fingerprint in ('{fingerprint}', '{OTHER.fingerprint}')", ["new", "old", "other"]),
        (f"fingerprint not in ('{fingerprint}')", ["other"]),
    ]:
        assert refs(both.versions(query)) == [f"{name}@1" for name in expected], query
        assert adapters(both.runs(query)) == expected, query


@pytest.mark.databases
def test_verify_notes_the_versions_under_an_older_fingerprint(both):
    report = verify(both)
    assert report.problems == ()
    assert report.notes == (
        "versions stored under the fingerprint of an older release: 1 of the base 'tiny' (abababababab, now "
        "3f3f3f3f3f3f); they go on loading",
    )
    both.remove("old@1")
    assert verify(both).notes == ()


@pytest.mark.parametrize(("name", "counts"), [("schema-0001", {"tiny": 3, "other": 1}), ("schema-0002", {"tiny": 5})])
def test_the_versions_of_an_older_release_are_of_the_same_base(name, counts, tmp_path):
    home = shutil.copytree(DATA / name, tmp_path / "home")
    with Registry(home, upgrade=True) as registry:
        starts = {"tiny": "abababababab", "other": "cdcdcdcdcdcd"}
        assert verify(registry).problems == ()
        assert verify(registry).notes == tuple(
            f"versions stored under the fingerprint of an older release: {number} of the base '{base}' "
            f"({starts[base]}); they go on loading"
            for base, number in counts.items()
        )
        stored = refs(registry.versions(base=BASE.fingerprint))
        runs = registry.runs(f"fingerprint = '{BASE.fingerprint}'").total
        assert (len(stored), runs > 0) == (counts["tiny"], True)
        with registry.start_run("new", **{**RUN, "base": NEW}) as run:
            pass
        registry.add_version("new", **{**FIELDS, "base": NEW}, run=run.uid)
        for fingerprint in EITHER:
            query = f"fingerprint like '{fingerprint}%'"
            assert sorted(refs(registry.versions(base=fingerprint))) == sorted(["new@1", *stored])
            assert sorted(refs(registry.versions(query))) == sorted(["new@1", *stored])
            assert registry.runs(query).total == runs + 1
        assert all(version.base.is_same(NEW) for version in registry.versions(base=NEW.fingerprint))
        report = verify(registry)
        assert report.problems == ()
        assert f"{counts['tiny']} of the base 'tiny' (abababababab, now 3f3f3f3f3f3f)" in report.notes[0]
