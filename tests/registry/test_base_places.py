"""Where a base is loaded from: places of this registry's users; a name that came with a bundle is a hint only."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pointsman.registry import Registry
from pointsman.registry.errors import BusyError, SettingsError
from pointsman.registry.upkeep import export_bundle, import_bundle, verify

from shapes import BASE, FIELDS, RUN

MINE = replace(BASE, name="/mine", tokenizer="aa" * 32)
THEIRS = replace(MINE, name="/theirs")


def train(registry, adapter, base):
    with registry.start_run(adapter, **{**RUN, "base": base}) as run:
        pass
    return registry.add_version(adapter, **{**FIELDS, "base": base}, run=run.uid)


@pytest.fixture
def bundle(tmp_path):
    with Registry(tmp_path / "other") as other:
        train(other, "theirs", THEIRS)
        export_bundle(other, ["theirs"], tmp_path / "theirs.tar")
    return tmp_path / "theirs.tar"


@pytest.mark.databases
def test_the_place_used_last_comes_first(registry):
    version = train(registry, "one", MINE)
    assert registry.base_places(version.base) == ["/mine"]
    train(registry, "two", replace(MINE, name="bert-base-uncased", revision="12" * 20))
    hub = f"bert-base-uncased@{'12' * 20}"
    assert registry.base_places(version.base) == [hub, "/mine"]
    assert registry.version("one").base.name == "bert-base-uncased"
    registry.remember_base(MINE)
    assert registry.base_places(version.base) == ["/mine", hub]
    assert registry.base_names() == ["/mine", "bert-base-uncased"]
    assert [version.ref for version in registry.versions(base="bert-base-uncased")] == ["one@1", "two@1"]


@pytest.mark.databases
def test_a_bundles_name_is_no_place_and_gives_way_to_ones_own(registry, bundle):
    import_bundle(registry, bundle)
    base = registry.version("theirs").base
    assert (base.name, registry.base_places(base)) == ("/theirs", [])
    train(registry, "own", MINE)
    base = registry.version("theirs").base
    assert (base.name, registry.base_places(base)) == ("/mine", ["/mine"])
    assert base.tokenizer == MINE.tokenizer
    import_bundle(registry, bundle)
    assert registry.version("own").base.name == "/mine"


@pytest.mark.databases
def test_what_is_made_of_a_bundles_versions_makes_its_name_no_place(registry, bundle):
    import_bundle(registry, bundle)
    base = registry.version("theirs").base
    registry.add_version("merged", **{**FIELDS, "base": base}, parents=[("member", "theirs@1")])
    assert registry.base_places(base) == []


@pytest.mark.databases
def test_one_base_with_another_tokenizer_is_another_base(registry):
    other = replace(MINE, tokenizer="bb" * 32, name="/exchanged")
    unknown = replace(MINE, tokenizer=None, name="/old")
    first, second, old = (
        train(registry, name, base) for name, base in (("first", MINE), ("second", other), ("old", unknown))
    )
    assert [version.base.tokenizer for version in (first, second, old)] == ["aa" * 32, "bb" * 32, None]
    assert first.base.has_same_weights(second.base)
    assert not first.base.is_same(second.base)
    assert first.base.is_same(old.base)
    assert second.base.is_same(old.base)
    assert registry.base_places(second.base) == ["/old", "/exchanged"]


def test_a_base_that_the_registry_lacks_is_not_remembered(registry):
    registry.remember_base(MINE)
    assert registry.base_names() == []


def test_a_digest_of_a_tokenizer_is_a_sha256(registry):
    with pytest.raises(SettingsError, match=r"base\.tokenizer"):
        train(registry, "one", replace(MINE, tokenizer="short"))


def test_verify_notes_versions_without_a_tokenizer(registry):
    train(registry, "old", replace(BASE, former_fingerprint="98" * 32))
    train(registry, "new", MINE)
    (note,) = (note for note in verify(registry).notes if "tokenizers" in note)
    assert note.startswith("versions stored before tokenizers were recorded: 1 of the base")


def test_an_upgrade_takes_the_names_of_own_trainings_for_places(tmp_path):
    stored = Path(__file__).parent.parent / "data" / "schema-0003"
    home = shutil.copytree(stored, tmp_path / "home")
    with Registry(home, upgrade=True) as registry:
        versions = registry.versions()
        assert versions
        for version in versions:
            assert registry.base_places(version.base)
            assert version.base.tokenizer is None


@pytest.mark.databases
def test_a_hint_waits_for_no_other_writer(registry):
    version = train(registry, "one", MINE)
    with registry.database.writing(), ThreadPoolExecutor(1) as other:
        started = time.monotonic()
        with pytest.raises(BusyError):
            other.submit(registry.remember_base, replace(MINE, name="/moved")).result()
        assert time.monotonic() - started < 10
    assert registry.base_places(version.base) == ["/mine"]
    registry.remember_base(replace(MINE, name="/moved"))
    assert registry.base_places(version.base) == ["/moved", "/mine"]


@pytest.mark.databases
def test_the_bases_that_versions_have(registry, add):
    other = replace(BASE, fingerprint="cd" * 32, name="other")
    assert registry.bases() == []
    registry.start_run("sst2", **{**RUN, "base": replace(BASE, fingerprint="ef" * 32)}).finish()
    add()
    add()
    add("cola", base=other)
    assert registry.bases() == [BASE, other]
    registry.remove("cola@1")
    assert registry.bases() == [BASE]
