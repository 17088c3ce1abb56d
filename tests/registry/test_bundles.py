"""Bundles: what arrives is what left, twice is once, and a hostile one changes nothing."""

import hashlib
import math
import shutil
import tarfile
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tars import change_index, read_members, write_members

from pointsman.registry import Registry
from pointsman.registry.errors import BundleError, ConflictError, ObjectCorruptError, PointsmanError
from pointsman.registry.upkeep import export_bundle, import_bundle, verify

from shapes import BASE, FIELDS, RUN


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A registry with versions that have everything a version can have, and a bundle of some."""
    directory = tmp_path_factory.mktemp("made")
    with Registry(directory / "source") as registry:
        with registry.start_run("sst2", **RUN) as run:
            for step in range(200):
                run.log({"loss": math.inf if step == 7 else 1 / (step + 1), "lr": 5e-324}, step=step, epoch=step / 3)
            run.log({"loss": math.nan, "lr": -math.inf}, step=3)
        registry.add_version(
            "sst2", **{**FIELDS, "metrics": {"eval/accuracy": 0.5, "eval/loss": math.nan}}, run=run.uid,
            tags={"owner": "ann", "why": "ü =1+1"}, note="two\nlines",
        )  # fmt: skip
        registry.add_version("sst2", **{**FIELDS, "files": {"a": bytes(1_500_000), "empty": b""}})
        other = replace(BASE, fingerprint="cd" * 32, name="other")
        registry.add_version("mix", **{**FIELDS, "base": other}, parents=[("merged", "sst2@2"), ("merged", "sst2@1")])
        registry.set_alias("sst2@1", "production")
        registry.add_version("unrelated", **FIELDS)
        export_bundle(registry, ["mix"], directory / "some.tar")
    return directory


@pytest.fixture
def source(made, tmp_path):
    """A copy of that registry."""
    shutil.copytree(made / "source", tmp_path / "source")
    with Registry(tmp_path / "source") as registry:
        yield registry


@pytest.fixture
def bundle(made, tmp_path):
    """A copy of that bundle: mix@1, and sst2@1 and sst2@2 that it was made from."""
    return shutil.copy(made / "some.tar", tmp_path / "some.tar")


def known(registry, ref):
    """All that is known of a version, but for what a registry says of itself."""
    version = registry.version(ref)
    histories = {}
    if version.run:
        for summary in registry.summaries(ref):
            points = registry.history(ref, summary.key)
            histories[summary.key] = (repr(summary), [(repr(point)) for point in points])
    run = None if version.run is None else registry.run(version.run)
    files = registry.read_files(version)
    return repr(version), files, run, histories, registry.lineage(ref).parents


@pytest.mark.databases
def test_what_arrives_is_what_left(source, registry, bundle):
    imported = import_bundle(registry, bundle)
    assert [(one.source, one.ref, one.new) for one in imported] == [
        ("sst2@1", "sst2@1", True),
        ("sst2@2", "sst2@2", True),
        ("mix@1", "mix@1", True),
    ]
    for ref in ("sst2@1", "sst2@2", "mix@1"):
        assert known(registry, ref) == known(source, ref)
    assert verify(registry).problems == ()
    assert [event.action for event in registry.events()] == ["import"] * 3
    assert registry.events("sst2@1")[0].details["from"] == "sst2@1"


@pytest.mark.databases
def test_a_bundle_of_what_arrived_is_the_same_bundle(source, registry, bundle, tmp_path):
    import_bundle(registry, bundle)
    export_bundle(registry, ["mix@1"], tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == bundle.read_bytes()
    with tarfile.open(bundle) as tar:
        assert tar.getnames()[:2] == ["SHA256SUMS", "bundle.json"]
        sums = dict(line.split("  ")[::-1] for line in tar.extractfile("SHA256SUMS").read().decode().splitlines())
        assert sums.keys() == {*tar.getnames()} - {"SHA256SUMS"}
        for name, digest in sums.items():
            assert hashlib.sha256(tar.extractfile(name).read()).hexdigest() == digest


@pytest.mark.databases
def test_twice_is_once(registry, bundle):
    import_bundle(registry, bundle)
    again = import_bundle(registry, bundle)
    assert [(one.ref, one.new) for one in again] == [("sst2@1", False), ("sst2@2", False), ("mix@1", False)]
    assert registry.versions().total == 3
    assert len(registry.runs()) == 1
    assert len(registry.events()) == 3
    assert registry.summaries("sst2@1")[0].count == 201


@pytest.mark.databases
def test_numbers_that_are_taken(source, registry, bundle):
    for content in (b"mine", b"mine too"):
        registry.add_version("sst2", **{**FIELDS, "files": {"a": content}})
    registry.set_alias("sst2@2", "production")
    registry.remove("sst2@1")
    imported = import_bundle(registry, bundle)
    assert [(one.source, one.ref) for one in imported] == [
        ("sst2@1", "sst2@3"),
        ("sst2@2", "sst2@4"),
        ("mix@1", "mix@1"),
    ]
    # Nothing moves an alias that somebody set here.
    assert imported[0].aliases == ()
    assert registry.version("sst2@production").number == 2
    # The parents are those that came along, whatever they are called here.
    assert [parent.ref for parent in registry.lineage("mix").parents["mix@1"]] == ["sst2@4", "sst2@3"]
    assert registry.version("sst2@3").digest == source.version("sst2@1").digest
    assert verify(registry).problems == ()


@pytest.mark.databases
def test_removed_here_it_can_come_back_under_a_new_number(registry, bundle):
    import_bundle(registry, bundle)
    registry.remove("sst2@1", force=True)
    back = import_bundle(registry, bundle)
    assert [(one.ref, one.new) for one in back] == [("sst2@3", True), ("sst2@2", False), ("mix@1", False)]
    assert len(registry.history("sst2@3", "loss")) == 201
    assert all(parent.present for parent in registry.lineage("mix").parents["mix@1"])
    assert verify(registry).problems == ()


@pytest.mark.databases
def test_versions_of_one_content_stay_several(source, registry, tmp_path):
    source.add_version("sst2", **FIELDS)
    source.add_version("sst2", **FIELDS)
    export_bundle(source, ["sst2@3", "sst2@4"], tmp_path / "same.tar")
    assert [one.ref for one in import_bundle(registry, tmp_path / "same.tar")] == ["sst2@3", "sst2@4"]
    assert not any(one.new for one in import_bundle(registry, tmp_path / "same.tar"))


def test_an_export_refuses(source, tmp_path, bundle):
    before = bundle.read_bytes()
    with pytest.raises(ConflictError, match="exists; name another file"):
        export_bundle(source, ["mix"], bundle)
    assert bundle.read_bytes() == before
    with pytest.raises(PointsmanError, match="unknown adapter 'nosuch'"):
        export_bundle(source, ["nosuch"], tmp_path / "no.tar")
    digest = source.version("sst2@2").files[0].sha256
    source.store.path(digest).write_bytes(b"damaged")
    with pytest.raises(ObjectCorruptError, match="is damaged"):
        export_bundle(source, ["mix"], tmp_path / "no.tar")
    assert not (tmp_path / "no.tar").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


# Hostile bundles


def special(name, kind, **fields):
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info, b""


def refused(registry, path, said="."):
    """It is refused with one clean error, and nothing of it can be found."""
    with pytest.raises(BundleError, match=said):
        import_bundle(registry, path)
    assert registry.versions().total == 0
    assert list(registry.runs()) == []
    assert registry.events() == []
    assert verify(registry).problems == ()


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "objects/../../evil", "objects/" + "A" * 64, "a\nb", "objects/" + "a" * 63, "x" * 300],
)
def test_a_member_of_another_name(registry, bundle, name):
    contents = read_members(bundle)
    write_members(bundle, {**contents, name: b"evil"})
    refused(registry, bundle, "has an unknown member")


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.CONTTYPE,
    ],
)
def test_a_member_that_is_no_plain_file(registry, bundle, kind):
    contents = read_members(bundle)
    digest = "ab" * 32
    write_members(bundle, contents, extra=[special(f"objects/{digest}", kind, linkname="/etc/passwd")])
    refused(registry, bundle, "is not a regular file")


def test_a_sparse_member(registry, bundle):
    contents = read_members(bundle)
    info, _ = special("objects/" + "ab" * 32, tarfile.REGTYPE)
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(1 << 50),
                        "GNU.sparse.map": "0,1", "GNU.sparse.numblocks": "1"}  # fmt: skip
    write_members(bundle, contents, extra=[(info, b"a")])
    refused(registry, bundle, "is not a regular file")


def test_a_member_that_is_larger_than_the_bundle(registry, bundle):
    content = bytearray(bundle.read_bytes())
    with tarfile.open(bundle) as tar:
        last = tar.getmembers()[-1]
    last.size = 1 << 40
    content[last.offset : last.offset_data] = last.tobuf(tarfile.GNU_FORMAT)
    bundle.write_bytes(content)
    refused(registry, bundle)


def test_a_compressed_bundle_is_none(registry, bundle):
    contents = read_members(bundle)
    write_members(bundle, contents, mode="w:gz")
    refused(registry, bundle, "is not a bundle")


@pytest.mark.parametrize("content", [b"", b"not a tar", bytes(10_240), b"PK\x03\x04" + bytes(600)])
def test_something_else(registry, tmp_path, content):
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    refused(registry, path, "is not a bundle")


def test_a_bundle_that_is_not_there(registry, tmp_path):
    refused(registry, tmp_path / "no.tar", "cannot be read: No such file")
    refused(registry, tmp_path, "cannot be read: Is a directory")


def test_members_twice_missing_or_too_many(registry, bundle):
    contents = read_members(bundle)
    last = list(contents)[-1]
    write_members(bundle, contents, extra=[special(last, tarfile.REGTYPE)])
    refused(registry, bundle, "twice")
    for name in contents:
        write_members(bundle, {key: value for key, value in contents.items() if key != name})
        if name != "SHA256SUMS":
            refused(registry, bundle, "lacks")
    write_members(bundle, {**contents, "objects/" + "ab" * 32: b"another"})
    refused(registry, bundle, "under a name that is not its sha256")
    write_members(bundle, {name: contents[name] for name in contents if name != "SHA256SUMS"}, sums=False)
    refused(registry, bundle, "lacks SHA256SUMS")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9, 0.999])
def test_a_bundle_that_is_cut_off(registry, bundle, share):
    content = bundle.read_bytes()
    bundle.write_bytes(content[: int(len(content) * share)])
    refused(registry, bundle)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_byte_is_found(source, tmp_path_factory, bundle, data):
    """Wherever it is: what is imported is what was exported, or nothing is."""
    content = bytearray(bundle.read_bytes())
    place = data.draw(st.integers(0, 40_000) | st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path_factory.mktemp("flip") / "damaged.tar"
    damaged.write_bytes(content)
    with Registry(damaged.parent / "home") as registry:
        try:
            import_bundle(registry, damaged)
        except PointsmanError:
            assert registry.versions().total == 0
        else:
            # In what fills a tar's blocks up, or says whose its files are.
            assert all(known(registry, ref) == known(source, ref) for ref in ("sst2@1", "sst2@2", "mix@1"))


def first(**fields):
    return lambda index: index["versions"][0].update(fields)


def run(**fields):
    return lambda index: index["runs"][0].update(fields)


record = r"has an invalid record, versions\[0\]: "


@pytest.mark.parametrize(
    "change",
    [
        first(name="../evil"),
        first(name="ѕst2"),
        first(name=7),
        first(number=0),
        first(number=2**70),
        first(number=True),
        first(number="1"),
        first(digest="ab" * 32),
        first(config={"r": 17}),
        first(task={"name": "other"}),
        first(task=[]),
        first(files=[]),
        first(files="files"),
        first(method="x" * 65),
        first(metrics={"a b": 1}),
        first(metrics={"eval/accuracy": "high"}),
        first(metrics={"eval/accuracy": math.inf}),
        first(primary_metric="nosuch"),
        first(tags={"a b": "c"}),
        first(tags={"a": "x" * 1_000_000}),
        first(tags={"a": 1}),
        first(note="\x1b[2J"),
        first(aliases=["latest"]),
        first(aliases=["v3"]),
        first(created_at="yesterday"),
        first(created_at="2026-11-01T00:00:00"),
        first(created_at=5),
        first(run="abc"),
        first(run="0" * 12),
        first(parents=[{"ref": "a@1", "digest": "no", "role": "x"}]),
        first(base={}),
        lambda index: index["versions"][0]["base"].update(size=-1),
        lambda index: index["versions"][0]["files"][0].update(name="../evil"),
        lambda index: index["versions"][0]["files"][0].update(sha256="AB" * 32),
        lambda index: index["versions"][0].pop("config"),
        lambda index: index["versions"].append(7),
        lambda index: index.pop("runs"),
        lambda index: index.update(versions=None),
        lambda index: index.update(format=2),
        run(uid="../../../etc"),
        run(status="sleeping"),
        run(seed=1.5),
        run(seed=2**64),
        run(settings="none"),
        run(error="x" * 2_000_000),
        run(started_at=None),
    ],
)
def test_an_index_that_cannot_be(registry, bundle, change):
    change_index(bundle, change)
    refused(registry, bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda index: index["versions"][0].pop("config"),
            r"has a record, versions\[0\], that lacks the field 'config'",
        ),
        (first(number=0), record + "number is 0: it must be a whole number from 1 to 999,999,999$"),
        (first(number=True), record + "number is True: it must be a whole number from 1 to 999,999,999$"),
        (first(created_at="2026-11-01T00:00:00"), record + "created_at is '2026-11-01T00:00:00': it must be a time "),
        (first(method="x" * 65), record + "method 'x*' is 65 characters long: at most 64 are allowed$"),
        (first(files=[]), record + "a version of 'sst2' needs at least one file$"),
        (first(run="0" * 12), "lacks the run 000000000000 that made sst2"),
        (first(primary_metric="nosuch"), record + "primary metric 'nosuch' is not among the metrics: "),
        (lambda index: index.update(format=2), "has another format than 1, which this pointsman reads"),
    ],
)
def test_a_message_says_what_is_wrong_with_a_bundle(registry, bundle, change, message):
    change_index(bundle, change)
    refused(registry, bundle, f"^the bundle 'some.tar' {message}")


def test_sums_that_do_not_name_every_member(registry, bundle):
    contents = read_members(bundle)
    lines = contents["SHA256SUMS"].splitlines(keepends=True)
    write_members(bundle, {**contents, "SHA256SUMS": b"".join(lines[1:])}, sums=False)
    refused(registry, bundle, "^SHA256SUMS in the bundle 'some.tar' does not name its members exactly: 'bundle.json'")
    write_members(bundle, {**contents, "SHA256SUMS": b"no sum\n"}, sums=False)
    refused(registry, bundle, "^SHA256SUMS in the bundle 'some.tar' has an invalid line: 'no sum'$")


@pytest.mark.parametrize(
    "line",
    [
        "nothing", "[]", '["loss",1,null,0]', '["a b",1,null,0.0,1]', '["loss",-1,null,0,1]', '["loss",1.5,null,0,1]',
        '["loss",9223372036854775808,null,0,1]', '["loss",1,"x",0,1]', '["loss",1,null,0,"much"]', "[" * 100_000,
        '{"a": 1}', '["loss",1,null,0,1', "\x00", "[" + "1" * 10_000 + "]",
    ],
)  # fmt: skip
def test_a_history_that_cannot_be(registry, bundle, line):
    contents = read_members(bundle)
    (name,) = [name for name in contents if name.startswith("history/")]
    write_members(bundle, {**contents, name: contents[name] + line.encode() + b"\n"})
    refused(registry, bundle, "has an invalid line, number 403: ")


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{", b"\xff", b'{"format": 1}', b"[" * 1_000_000])
def test_an_index_that_is_no_json(registry, bundle, content):
    write_members(bundle, {**read_members(bundle), "bundle.json": content})
    refused(registry, bundle)
