"""The rules for versions and runs: the same whether they are made here or come in with a bundle."""

import json
import math
import shutil
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tars import change_index, read_members, write_members

from pointsman.registry import Registry
from pointsman.registry.errors import BundleError, ConflictError, InvalidNameError, SettingsError
from pointsman.registry.upkeep import export_bundle, import_bundle
from pointsman.registry.values import MAX_DEPTH, check_json, check_time
from pointsman.registry.versions.catalog import GREATEST_KEPT

from shapes import BASE, FIELDS, RUN

DEEP = json.loads("[" * 40 + "]" * 40)
TASK = FIELDS["task"]

VERSIONS = [
    ({"config": {"a": DEEP}}, "config.a has more than 32 levels of lists and objects inside each other"),
    ({"config": [["a", 1]]}, "config is [['a', 1]]: it must be a JSON object"),
    ({"config": {"a": {"b": 2**63}}}, "config.a.b is 9223372036854775808: it must be a whole number from -9,223"),
    ({"config": {"a": "\ud800"}}, r"config.a '\ud800' has the character '\ud800' in it, which no text can have"),
    ({"config": {"a\0": 1}}, r"a key of config 'a\x00' has the character '\x00' in it, which no text can have"),
    ({"config": {"a": "x" * (1 << 22)}}, "config is too large: at most 4,194,304 characters and values are allowed"),
    ({"task": {**TASK, "labels": "ab"}}, "task.labels is 'ab': it must be a list of texts"),
    ({"task": {**TASK, "labels": ["a", 1]}}, "task.labels is ['a', 1]: it must be a list of texts"),
    ({"task": {**TASK, "text": [None]}}, "task.text is [None]: it must be a list of texts"),
    ({"task": {**TASK, "bounds": [0, "5"]}}, "task.bounds is '5': it must be a finite number"),
    ({"task": {**TASK, "bounds": [1]}}, "task.bounds is [1]: it must be two numbers, or null"),
    ({"task": {**TASK, "primary": 7}}, "task.primary is 7: it must be a text"),
    ({"task": {**TASK, "name": "a b"}}, "task name 'a b' is not valid"),
    ({"max_length": 0}, "max_length is 0: it must be a whole number from 1 to 1,000,000"),
    ({"max_length": 2**31}, "max_length is 2147483648: it must be a whole number from 1 to 1,000,000"),
    ({"max_length": True}, "max_length is True: it must be a whole number"),
    ({"parameters": 1.5}, "parameters is 1.5: it must be a whole number"),
    ({"parameters": -1}, "parameters is -1: it must be a whole number"),
    ({"method": "a\0"}, r"method 'a\x00' has the character '\x00' in it, which no text can have"),
    ({"method": 5}, "method is 5: it must be a text"),
    ({"metrics": {"eval/accuracy": "0.5"}}, "metric 'eval/accuracy' is '0.5': it must be a number"),
    ({"metrics": {"eval/accuracy": True}}, "metric 'eval/accuracy' is True: it must be a number"),
    ({"primary_metric": ["eval/accuracy"]}, "primary_metric is ['eval/accuracy']: it must be a text"),
    ({"tags": {"a": 1}}, "tag 'a' is 1: it must be a text"),
    ({"tags": {"a": "\ud800"}}, r"tag 'a' '\ud800' has the character '\ud800' in it"),
    ({"note": 5}, "the note is no text: '5'"),
    ({"kind": "fusion"}, 'config.composition is None: it must be the members of a fusion, as {"fuse": ["a@1", "b@2"]}'),
    ({"kind": "composition", "config": {"composition": {}}}, "config.composition is {}: it must be the members of a"),
    (
        {"kind": "composition", "config": {"composition": {"stack": ["a@1", {"fuse": ["a@1", "b"]}]}}},
        "config.composition is 'b': it must be made of refs with numbers, such as sst2@3, which do not move",
    ),
    (
        {"kind": "composition", "config": {"composition": {"stack": ["a@best"]}}},
        "config.composition is 'a@best': it must be made of refs with numbers",
    ),
]
BASES = [
    ({"hidden_size": 2**31}, "base.hidden_size is 2147483648: it must be a whole number from 0 to 2,147,483,647"),
    ({"layers": True}, "base.layers is True: it must be a whole number"),
    ({"size": -1}, "base.size is -1: it must be a whole number"),
    ({"name": "\ud800"}, r"base.name '\ud800' has the character '\ud800' in it"),
    ({"name": None}, "base.name is None: it must be a text"),
    ({"fingerprint": "AB" * 32}, "it must be a sha256: 64 lower-case hexadecimal digits"),
]
RUNS = [
    ({"settings": {"a": math.nan}}, "settings.a is nan: it must be a finite number"),
    ({"settings": "none"}, "settings is 'none': it must be a JSON object"),
    ({"data": {"a": DEEP}}, "data.a has more than 32 levels"),
    ({"environment": {"packages": 5}}, "environment.packages is 5: it must be a JSON object"),
    ({"environment": {"git": "c"}}, "environment.git is 'c': it must be a JSON object"),
    ({"seed": 2**63}, "seed is 9223372036854775808: it must be a whole number"),
    ({"seed": "1"}, "seed is '1': it must be a whole number"),
    ({"method": "x" * 65}, "is 65 characters long: at most 64 are allowed"),
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of one version with a run."""
    directory = tmp_path_factory.mktemp("made")
    with Registry(directory / "source") as source:
        with source.start_run("sst2", **RUN) as run:
            run.log({"loss": 1.0}, step=1)
        source.add_version("sst2", **FIELDS, run=run.uid)
        export_bundle(source, ["sst2"], directory / "made.tar")
    return directory / "made.tar"


@pytest.fixture
def bundle(made, tmp_path):
    """A copy of that bundle."""
    return Path(shutil.copy(made, tmp_path / "odd.tar"))


def refused(registry, bundle, message):
    with pytest.raises(BundleError) as caught:
        import_bundle(registry, bundle)
    assert str(caught.value).startswith("the bundle 'odd.tar' has an invalid ")
    assert message in str(caught.value)
    assert (registry.versions().total, registry.runs().total, [*registry.store.files()]) == (0, 0, [])


@pytest.mark.parametrize(("change", "message"), VERSIONS)
def test_a_version_that_cannot_be_is_refused_wherever_it_is_made(registry, bundle, change, message):
    with pytest.raises((SettingsError, InvalidNameError)) as caught:
        registry.add_version("sst2", **{**FIELDS, **change})
    assert str(caught.value).startswith(message[:70])
    refused(registry, change_index(bundle, lambda index: index["versions"][0].update(change)), message)


@pytest.mark.parametrize(("change", "message"), BASES)
def test_so_is_a_base(registry, bundle, change, message):
    with pytest.raises(SettingsError) as caught:
        registry.add_version("sst2", **{**FIELDS, "base": replace(BASE, **change)})
    assert message in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        registry.start_run("sst2", **{**RUN, "base": replace(BASE, **change)})
    assert message in str(caught.value)
    refused(registry, change_index(bundle, lambda index: index["versions"][0]["base"].update(change)), message)


@pytest.mark.parametrize(("change", "message"), RUNS)
def test_so_is_a_run(registry, bundle, change, message):
    with pytest.raises((SettingsError, InvalidNameError)) as caught:
        registry.start_run("sst2", **{**RUN, **change})
    assert message in str(caught.value)
    refused(registry, change_index(bundle, lambda index: index["runs"][0].update(change)), message)


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "1969-12-31T23:59:59+00:00", "3000-01-01T00:00Z"]
)
def test_a_time_that_has_no_local_time_everywhere_is_refused(registry, bundle, time):
    message = "with its time zone, from 1970 up to the year 3000"
    refused(registry, change_index(bundle, lambda index: index["runs"][0].update(heartbeat_at=time)), message)
    refused(registry, change_index(bundle, lambda index: index["versions"][0].update(created_at=time)), message)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))])))
def test_a_time_is_accepted_or_refused_and_never_overflows(time):
    try:
        check_time("time", time)
    except SettingsError:
        assert not 1970 < time.year < 2999
    else:
        time.astimezone()
        assert 1969 <= time.year <= 3000


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('["loss",1,NaN,0,1]', "epoch"), ('["loss",1,Infinity,0,1]', "epoch"), ('["loss",1,"1",0,1]', "epoch"),
        ('["loss",1,true,0,1]', "epoch"), ('["loss",1,null,1e18,1]', "time"), ('["loss",1,null,-1,1]', "time"),
        ('["loss",1,null,NaN,1]', "time"), ('["loss",1,null,"0",1]', "time"), ('["loss",1,null,0,"1"]', "value"),
        ('["loss",1,null,0,true]', "value"), ('["loss",true,null,0,1]', "step"), ('[["loss"],1,null,0,1]', "metric"),
        ('["loss",1,null,0,1' + "0" * 400 + "]", "value"),
    ],
)  # fmt: skip
def test_a_point_that_could_not_be_drawn_is_refused(registry, bundle, line, field):
    contents = read_members(bundle)
    (name,) = [name for name in contents if name.startswith("history/")]
    write_members(bundle, {**contents, name: contents[name] + line.encode() + b"\n"})
    with pytest.raises(BundleError, match=f"has an invalid line, number 2: .*{field}"):
        import_bundle(registry, bundle)
    assert registry.runs().total == 0


@pytest.mark.databases
def test_a_number_far_beyond_all_others_is_not_kept_so_that_the_next_one_can_be_named(registry, bundle):
    registry.add_version("sst2", **FIELDS)
    change_index(bundle, lambda index: index["versions"][0].update(number=999_999_999))
    assert [one.ref for one in import_bundle(registry, bundle)] == ["sst2@2"]
    assert registry.add_version("sst2", **{**FIELDS, "files": {"a": b"next"}}).ref == "sst2@3"
    assert [one.new for one in import_bundle(registry, bundle)] == [False]


@pytest.mark.databases
def test_a_number_of_six_digits_is_kept(registry, bundle):
    change_index(bundle, lambda index: index["versions"][0].update(number=GREATEST_KEPT))
    assert [one.ref for one in import_bundle(registry, bundle)] == ["sst2@999999"]
    assert registry.add_version("sst2", **{**FIELDS, "files": {"a": b"next"}}).ref == "sst2@1000000"


def test_an_adapter_that_has_had_the_greatest_number_says_so(registry, add):
    add()
    with registry.database.writing() as connection:
        connection.exec_driver_sql("UPDATE adapter SET last_number = 999999999")
    message = "the adapter 'sst2' has had a version 999999999, the greatest number there is: use another name"
    with pytest.raises(ConflictError, match=message):
        add()


def test_a_size_that_is_not_that_of_the_file_is_refused(registry, bundle):
    change_index(bundle, lambda index: index["versions"][0]["files"][0].update(size=5))
    with pytest.raises(BundleError, match=r"says that the file .* of sst2 has 5 bytes: it has [0-9]+$"):
        import_bundle(registry, bundle)


def test_an_object_that_no_version_needs_is_not_stored(registry, bundle):
    change_index(bundle, lambda index: index["versions"].clear())
    assert import_bundle(registry, bundle) == []
    assert [file for file in registry.store.files() if file.digest is not None] == []


@pytest.mark.databases
def test_a_run_of_somebody_elses_bundle_does_not_take_the_place_of_a_run_here(registry, bundle, start):
    mine = start()
    mine.finish()

    def claim(index):
        index["runs"][0]["uid"] = index["versions"][0]["run"] = mine.uid

    contents = read_members(change_index(bundle, claim))
    history = next(name for name in contents if name.startswith("history/"))
    write_members(bundle, {**contents, f"history/{mine.uid}.jsonl": contents.pop(history)})
    with pytest.raises(BundleError, match=f"has a run {mine.uid}, which is another run here$"):
        import_bundle(registry, bundle)
    assert (registry.versions().total, registry.run(mine.uid).version) == (0, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_json_that_is_accepted_can_be_written_and_read_everywhere(value):
    try:
        check_json("value", value)
    except SettingsError:
        return
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    assert json.loads(text.encode().decode()) == value
    assert "\0" not in text
    assert "\\u0000" not in text or "\\\\u0000" in text


@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1, 100_000])
def test_levels_are_counted_and_not_climbed(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    if levels <= MAX_DEPTH:
        assert check_json("value", value) is value
    else:
        with pytest.raises(
            SettingsError, match=r"^value has more than 32 levels of lists and objects inside each other$"
        ):
            check_json("value", value)


@pytest.mark.parametrize("value", [{1: 2}, {"a": b""}, {"a": {1}}, {"a": object()}, {"a": (1, {2: 3})}])
def test_what_json_does_not_have_is_refused(value, add):
    with pytest.raises(SettingsError, match=r"plain JSON|a text"):
        add(config=value)
