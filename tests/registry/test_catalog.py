import hashlib
import json
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.registry import File, Registry, VersionKind
from pointsman.registry.errors import (
    Action,
    AdapterNotFoundError,
    Advice,
    ConflictError,
    InvalidNameError,
    NotFoundError,
    ObjectCorruptError,
    ObjectMissingError,
    QueryError,
    RunNotFoundError,
    SettingsError,
    StoreError,
    VersionNotFoundError,
)
from pointsman.registry.versions import manifest

pytestmark = pytest.mark.databases


def refs(versions):
    return [version.ref for version in versions]


def stored_files(registry):
    return [file for file in registry.store.files() if file.digest is not None]


# Adding


@pytest.mark.sqlite
def test_a_record_is_what_was_given(registry, start, fields):
    before = datetime.now(UTC)
    with start() as run:
        pass
    fields |= {"metrics": {"eval/accuracy": 0.75, "eval/loss": math.nan}, "config": {"a": [1, None, {"b": "é"}]}}
    version = registry.add_version("sst2", **fields, run=run.uid)
    assert version.ref == "sst2@1"
    for name in ("task", "method", "config", "base", "max_length", "parameters", "primary_metric"):
        assert getattr(version, name) == fields[name]
    assert version.metrics == pytest.approx(fields["metrics"], nan_ok=True)
    assert (version.score, version.run) == (0.75, run.uid)
    assert version.files == tuple(
        File(name=name, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        for name, content in sorted(fields["files"].items())
    )
    assert version.size == sum(map(len, fields["files"].values()))
    assert (version.aliases, version.parents) == ((), ())
    assert before <= version.created_at <= datetime.now(UTC)
    assert registry.run(run.uid).version == "sst2@1"
    with Registry(registry.home) as other:
        again = other.version("sst2@1")
        assert repr(again) == repr(version)
        for name, content in fields["files"].items():
            assert other.read_file(again, name) == content


def test_versions_are_numbered_from_one_for_each_adapter(registry, add):
    assert [add(name).ref for name in ("a", "b", "a", "a", "b")] == ["a@1", "b@1", "a@2", "a@3", "b@2"]
    assert refs(registry.versions()) == ["a@1", "a@2", "a@3", "b@1", "b@2"]


def test_a_refused_version_takes_no_number(add):
    add()
    with pytest.raises(SettingsError):
        add(primary_metric="eval/f1")
    assert add().ref == "sst2@2"


@pytest.mark.sqlite
def test_processes_that_add_at_once_leave_no_gap(registry, spawn, fields):
    code = """
import sys
from pointsman.registry import Base, Registry
registry = Registry(sys.argv[1])
base = Base(fingerprint="cd" * 32, name="b", model_type="bert", hidden_size=1, layers=1, parameters=1, size=4)
print("ready", flush=True)
sys.stdin.readline()
for number in range(5):
    files = {"a": f"{sys.argv[2]} {number}".encode(), "same": b"same"}
    version = registry.add_version("sst2", files=files, task={"name": "sst2"}, method="seq_bn", config={}, base=base,
                                   max_length=8, parameters=1)
    print(version.ref, flush=True)
"""
    processes = [spawn(code, registry.home, index) for index in range(8)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 8
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    results = [process.communicate(timeout=60) for process in processes]
    assert [error for _, error in results] == [""] * 8
    acknowledged = [out.split() for out, _ in results]
    assert [len(lines) for lines in acknowledged] == [5] * 8
    assert sorted(ref for lines in acknowledged for ref in lines) == sorted(f"sst2@{number}" for number in range(1, 41))
    for index, lines in enumerate(acknowledged):
        for number, ref in enumerate(lines):
            assert registry.read_file(registry.version(ref), "a") == f"{index} {number}".encode()
    assert len(stored_files(registry)) == 41
    assert len(registry.events()) == 40
    with closing(sqlite3.connect(registry.home / "registry.db")) as connection:
        assert connection.execute("SELECT count(*) FROM base").fetchone() == (1,)


def test_identical_content_is_stored_once(registry, add):
    one, two = add(), add("cola")
    assert one.digest == two.digest
    assert one.files == two.files
    assert len(stored_files(registry)) == len(one.files) == 2


# What makes a version's identity


CHANGES = {
    "a file's content": {"files": {"adapter.safetensors": b"Weights", "adapter_config.json": b"{}"}},
    "a file's name": {"files": {"adapter.safetensor": b"weights", "adapter_config.json": b"{}"}},
    "swapped files": {"files": {"adapter.safetensors": b"{}", "adapter_config.json": b"weights"}},
    "one file more": {"files": {"adapter.safetensors": b"weights", "adapter_config.json": b"{}", "more": b""}},
    "task": {"task": {"name": "sst2", "labels": ["positive", "negative"]}},
    "method": {"method": "double_seq_bn"},
    "a falsy value": {"config": {"reduction_factor": 16, "non_linearity": "relu", "leave_out": []}},
    "another falsy value": {"config": {"reduction_factor": 16, "non_linearity": "relu", "leave_out": None}},
    "a value": {"config": {"reduction_factor": 2, "non_linearity": "relu"}},
    "a type": {"config": {"reduction_factor": "16", "non_linearity": "relu"}},
    "length": {"max_length": 64},
    "parents": {"parents": [("init", "sst2@1")]},
    "other parents": {"parents": [("init", "sst2@2")]},
    "parents in order": {"parents": [("init", "sst2@1"), ("init", "sst2@2")]},
    "parents in another order": {"parents": [("init", "sst2@2"), ("init", "sst2@1")]},
}


def test_any_changed_field_changes_the_digest(registry, add, base):
    digests = [add().digest, add(files={"x": b"another parent"}).digest]
    digests += [add(**change).digest for change in CHANGES.values()]
    digests.append(add(base=type(base)(**vars(base) | {"fingerprint": "cd" * 32})).digest)
    assert len(set(digests)) == len(digests) == 18


def test_equal_content_has_an_equal_digest(add, fields):
    """Scores, names and the order of keys are no part of what a version is."""
    first = add()
    again = add(
        "other",
        config=dict(reversed(fields["config"].items())),
        files=dict(reversed(fields["files"].items())),
        metrics={},
        primary_metric=None,
    )
    assert again.digest == first.digest


@pytest.mark.sqlite
def test_the_digest_is_that_of_the_manifest_in_the_database(registry, add, fields):
    version = add()
    with closing(sqlite3.connect(registry.home / "registry.db")) as connection:
        ((text,),) = connection.execute("SELECT manifest FROM version").fetchall()
    assert hashlib.sha256(text.encode()).hexdigest() == version.digest
    assert json.loads(text) == {
        "format": 1,
        "files": {file.name: file.sha256 for file in version.files},
        "task": fields["task"],
        "method": "seq_bn",
        "config": fields["config"],
        "base": fields["base"].fingerprint,
        "max_length": 128,
        "parents": [],
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_a_manifest_gives_back_the_configuration_and_ignores_the_order_of_keys(config):
    fixed = {
        "files": {"a": "0" * 64},
        "task": {"name": "t"},
        "method": "m",
        "base": "b",
        "max_length": 8,
        "parents": [],
    }
    text = manifest.build(config=config, **fixed)
    assert json.loads(text)["config"] == config
    assert manifest.build(config=dict(reversed(config.items())), **fixed) == text


# Refs


def test_refs(registry, score):
    score(0.5), score(0.9), score(0.7)
    registry.set_alias("sst2@1", "production")
    numbers = {selector: registry.version(f"sst2{selector}").number for selector in ("", "@latest", "@best", "@2")}
    assert numbers == {"": 3, "@latest": 3, "@best": 2, "@2": 2}
    assert registry.version("sst2@production").number == 1


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.5, math.nan, 0.4], 1),
        ([math.nan, 0.1], 2),
        ([math.nan, math.nan], 2),
        ([0.5, 0.5, 0.5], 3),
        ([-0.5, 0.0, -0.1], 2),
        ([0.9, 0.95, 0.95, 0.1], 3),
    ],
)
def test_the_best_is_a_number_and_the_newest_among_equals(registry, score, scores, best):
    for value in scores:
        score(value)
    assert registry.version("sst2@best").number == best


def test_the_best_without_any_score_is_the_newest(registry, add):
    add(metrics={}, primary_metric=None), add(metrics={"eval/loss": 1.0}, primary_metric=None)
    assert registry.version("sst2@best").number == 2
    assert registry.version("sst2@best").score is None


def test_unknown_names_list_what_there_is(registry, add):
    with pytest.raises(AdapterNotFoundError, match=r"none exists yet$") as error:
        registry.version("sst2")
    assert error.value.advice == Advice(Action.TRAIN)
    add(), add(), add("cola")
    registry.set_alias("sst2@1", "production")
    with pytest.raises(
        AdapterNotFoundError, match=r"unknown adapter 'sst'; did you mean sst2[?]; known: cola, sst2$"
    ) as error:
        registry.version("sst")
    assert error.value.advice == Advice(Action.LIST_VERSIONS)
    with pytest.raises(VersionNotFoundError, match=r"unknown version 'sst2@7'; .*sst2@1, sst2@2, sst2@production"):
        registry.version("sst2@7")
    with pytest.raises(VersionNotFoundError, match="did you mean sst2@production"):
        registry.version("sst2@prodcution")
    with pytest.raises(NotFoundError):
        registry.set_alias("sst2@7", "production")
    with pytest.raises(InvalidNameError):
        registry.version("../sst2")
    with pytest.raises(StoreError, match=r"sst2@1 has no file 'a'; it has: adapter.safetensors, adapter_config.json"):
        registry.read_file(registry.version("sst2@1"), "a")


# Parents


def test_parents_are_kept_in_order(registry, add):
    for name in "cab":
        add(name)
    child = add("child", parents=[("fused", "c"), ("fused", "a@1"), ("fused", "b@best"), ("head", "c@latest")])
    assert child.parents == ("c@1", "a@1", "b@1", "c@1")
    add("c")
    assert registry.version("child").parents == child.parents


def test_many_parents_stay_in_order(add):
    expected = tuple(add("p", files={"a": bytes([number])}).ref for number in range(12))
    assert add("child", parents=[("merged", ref) for ref in reversed(expected)]).parents == expected[::-1]


def test_an_unknown_parent_is_refused(registry, add):
    with pytest.raises(AdapterNotFoundError):
        add(parents=[("init", "nobody")])
    assert list(registry.versions()) == registry.events() == []


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        (("x" * 33, "a"), "the role .* is 33 characters long"),
        ((5, "a"), "the role is 5: it must be a text"),
        (("init", "a b"), "'a b'"),
    ],
)
def test_a_parent_that_cannot_be_is_refused_before_anything_is_stored(registry, add, parent, message):
    add("a")
    stored = stored_files(registry)
    with pytest.raises((SettingsError, InvalidNameError), match=message):
        add("child", files={"weights": b"of the child"}, parents=[parent])
    assert stored_files(registry) == stored


# Bad input


@pytest.mark.parametrize(
    "filename",
    ["", ".", "..", "a/b", "/a", "../a", "a\\b", "a\0", "a\nb", "\x1b[2J", "\u202ea", "\udcff", "n" * 256, "é" * 128],
)
def test_bad_file_names_are_refused(registry, add, filename):
    with pytest.raises(SettingsError, match=r"file name .* is not valid") as error:
        add(files={"good": b"good", filename: b"bad"})
    assert str(error.value).isprintable()
    assert list(registry.versions()) == stored_files(registry) == []


NAN, INFINITY = math.nan, math.inf


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (SettingsError, {"files": {}}),
        (SettingsError, {"metrics": {"eval/accuracy": INFINITY}}),
        (SettingsError, {"metrics": {"eval/accuracy": 0.5, "eval/loss": -INFINITY}}),
        (SettingsError, {"primary_metric": "eval/f1"}),
        (SettingsError, {"metrics": {}}),
        (SettingsError, {"config": {"a": NAN}}),
        (SettingsError, {"config": {"a": INFINITY}}),
        (SettingsError, {"config": {"a": b"bytes"}}),
        (SettingsError, {"config": {"a": {1, 2}}}),
        (SettingsError, {"config": {"a": "\udcff"}}),
        (SettingsError, {"method": "\udcff"}),
        (SettingsError, {"parameters": 2**63}),
        (InvalidNameError, {"task": {}}),
        (InvalidNameError, {"task": {"name": "../a"}}),
        (InvalidNameError, {"metrics": {"eval accuracy": 0.5}}),
        (InvalidNameError, {"parents": [("init", "a b")]}),
        (RunNotFoundError, {"run": "0123456789ab"}),
    ],
    ids=repr,
)
def test_bad_input_is_refused_and_nothing_is_listed(registry, add, error, change):
    with pytest.raises(error) as raised:
        add(**change)
    assert str(raised.value).isprintable()
    assert list(registry.versions()) == registry.events() == []
    assert add().ref == "sst2@1"


@pytest.mark.parametrize("name", ["", "..", "a/b", "SST2", "a@1", "a" * 65])
def test_bad_adapter_names_are_refused(registry, add, name):
    with pytest.raises(InvalidNameError):
        add(name)
    assert list(registry.versions()) == stored_files(registry) == []


def test_a_run_makes_one_version(registry, start, add):
    with start() as run:
        pass
    add(run=run.uid)
    with pytest.raises(ConflictError, match=run.uid):
        add(run=run.uid)
    assert refs(registry.versions()) == ["sst2@1"]
    assert len(registry.events()) == 1


def test_metrics_of_numpy_are_numbers(registry, add):
    numpy = pytest.importorskip("numpy")
    version = add(metrics={"eval/accuracy": numpy.float32(0.5), "eval/f1": numpy.float64(0.25)})
    assert version.metrics == {"eval/accuracy": 0.5, "eval/f1": 0.25}


# Export


@pytest.mark.parametrize("name", ["plain", "n" * 255, "é" * 127])
def test_an_export_holds_the_files(registry, add, tmp_path, name):
    files = {name: b"content", "adapter_config.json": b"{}"}
    add(files=files)
    directory = registry.export("sst2", tmp_path / "not" / "there")
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == files
    assert registry.export("sst2", directory) == directory


def test_an_export_overwrites_no_other_file(registry, add, tmp_path):
    add()
    (tmp_path / "adapter_config.json").write_text("mine")
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConflictError, match="exists and is another file: name an empty directory"):
        registry.export("sst2", tmp_path)
    assert (tmp_path / "adapter_config.json").read_text() == "mine"
    assert not (tmp_path / "adapter.safetensors").exists()


@pytest.mark.parametrize("kind", [ObjectMissingError, ObjectCorruptError])
def test_an_export_of_a_damaged_version_writes_nothing(registry, add, tmp_path, kind):
    sha256 = add().files[-1].sha256
    path = registry.home / "objects" / sha256[:2] / sha256[2:]
    path.unlink() if kind is ObjectMissingError else path.write_bytes(b"damaged")
    with pytest.raises(kind):
        registry.export("sst2", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_onto_a_full_disk_leaves_no_file(registry, add, small_disk):
    add(files={"a": bytes(600_000), "b": bytes(600_000), "kept": b"kept"})
    (small_disk / "kept").write_bytes(b"kept")
    with pytest.raises(StoreError, match="cannot be written: No space left on device"):
        registry.export("sst2", small_disk)
    assert [path.name for path in small_disk.iterdir()] == ["kept"]


def test_an_export_to_a_file_is_refused(registry, add, tmp_path):
    add()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written: File exists"):
        registry.export("sst2", tmp_path / "file")


# Kinds, and former fingerprints of bases


@pytest.mark.parametrize("kind", list(VersionKind))
def test_a_version_keeps_its_kind_and_its_digest_does_not_depend_on_it(registry, add, kind):
    config = {"composition": {"fuse": ["a@1", "b@1"]}}
    plain, version = add(config=config), add(config=config, kind=kind.value)
    assert (plain.kind, version.kind, registry.version("sst2@2").kind) == (VersionKind.ADAPTER, kind, kind)
    assert plain.digest == version.digest
    assert [found.ref for found in registry.versions(f"kind = {kind} and number = 2")] == ["sst2@2"]
    others = [other for other in VersionKind if other != kind]
    assert list(registry.versions(f"kind in ({', '.join(others)}) and number = 2")) == []


def test_an_unknown_kind_is_refused(registry, add):
    message = "unknown kind of version 'Fusion'; did you mean fusion\\?; known: adapter, fusion, composition"
    with pytest.raises(SettingsError, match=message):
        add(kind="Fusion")
    assert registry.versions().total == 0
    with pytest.raises(QueryError, match="unknown kind 'adaptor'; known: adapter, fusion, composition"):
        registry.versions("kind = adaptor")


def test_a_base_is_given_its_former_fingerprint_once(registry, add, base):
    assert add().base.former_fingerprint is None
    former = replace(base, former_fingerprint="ef" * 32)
    assert add(base=former).base == former
    assert registry.version("sst2@1").base == former
    # What is known stays: by another release's reckoning, or by none.
    add(base=replace(base, former_fingerprint="12" * 32))
    add(base=base)
    assert {version.base.former_fingerprint for version in registry.versions()} == {"ef" * 32}
    with pytest.raises(SettingsError, match=r"base\.former_fingerprint is 'none': it must be a sha256"):
        add(base=replace(base, former_fingerprint="none"))
