"""The tar of a bundle: every format that bundles were ever packed in is read, and no header costs more than itself."""

import io
import subprocess
import tarfile
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tars import read_members, write_members

from pointsman.registry import Registry
from pointsman.registry.errors import BundleError
from pointsman.registry.upkeep import export_bundle, import_bundle
from pointsman.registry.upkeep.bundle import Bundle
from pointsman.registry.upkeep.tar_headers import MAX_EXTENDED, Member, members

from shapes import FIELDS, RUN

MEBIBYTE = 1 << 20
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of one version with a run."""
    directory = tmp_path_factory.mktemp("made")
    with Registry(directory / "home") as registry:
        with registry.start_run("sst2", **RUN) as run:
            run.log({"loss": 1.0}, step=1)
        registry.add_version("sst2", **FIELDS, run=run.uid)
        export_bundle(registry, ["sst2"], directory / "made.tar")
    return (directory / "made.tar").read_bytes()


@pytest.fixture
def bundle(made, tmp_path):
    (tmp_path / "made.tar").write_bytes(made)
    return tmp_path / "made.tar"


def header(size=0, name="objects/" + "ab" * 32, kind=b"0", field=None):
    """A header with a right checksum; ``field`` takes the place of the octal size."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[124:136] = field or f"{size:011o}".encode() + b"\0"
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}".encode() + b"\0 "
    return bytes(block)


def extended(content, kind=b"x", size=None):
    return header(len(content) if size is None else size, "./PaxHeaders/a", kind) + content + bytes(-len(content) % 512)


def record(key, value):
    """A record of an extended header, whose length counts itself."""
    text = f" {key}={value}\n".encode()
    length = next(n for n in range(1, 9_999) if n == len(text) + len(str(n)))
    return str(length).encode() + text


def read(content):
    return list(members(io.BytesIO(content), "'x.tar'"))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_a_tar_is_read(registry, bundle, tmp_path, form):
    contents = read_members(bundle)
    with tarfile.open(tmp_path / "again.tar", "w", format=FORMATS[form]) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(content), 1_700_000_000.5, "änn"
            tar.addfile(info, io.BytesIO(content))
    assert [one.ref for one in import_bundle(registry, tmp_path / "again.tar")] == ["sst2@1"]


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_a_bundle_that_tar_has_packed_again_is_read(registry, bundle, tmp_path, form):
    (tmp_path / "files").mkdir()
    subprocess.run(["tar", "-xf", bundle, "-C", tmp_path / "files"], check=True)
    names = [*read_members(bundle)]
    subprocess.run(
        ["tar", "-cf", tmp_path / "again.tar", f"--format={form}", "-C", tmp_path / "files", *names], check=True
    )
    assert [one.ref for one in import_bundle(registry, tmp_path / "again.tar")] == ["sst2@1"]


def test_what_an_exporter_writes_is_plain_ustar_up_to_eight_gibibytes_and_has_one_size_record_from_there_on(made):
    assert {made[member.start - 512 + 257 :][:8] for member in read(made)} == {b"ustar\x0000"}
    info = tarfile.TarInfo("objects/" + "ab" * 32)
    info.size = 8 << 30
    written = info.tobuf(tarfile.PAX_FORMAT)
    assert len(written) == 3 * 512
    with pytest.raises(BundleError, match=r"a member has 8589934592 bytes, and 0 follow$"):
        read(written)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.text("abcé", min_size=1, max_size=90), min_size=1, max_size=2).map("/".join),
            st.binary(max_size=1_500),
        ),
        max_size=5,
    ),
    st.sampled_from([*FORMATS]),
)
def test_it_reads_what_tarfile_writes(files, form):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[form]) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            try:
                tar.addfile(info, io.BytesIO(content))
            except ValueError:
                assert form == "ustar"  # which has no place for the name
    with tarfile.open(fileobj=io.BytesIO(buffer.getvalue())) as tar:
        expected = [Member(info.name, True, info.offset_data, info.size) for info in tar]
    found = []
    for member in members(io.BytesIO(buffer.getvalue()), "'x.tar'"):
        if not member.is_file:
            assert form == "gnu"  # a name of over 100 bytes, which no member of a bundle has
            return
        found.append(member)
    assert found == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (extended(b"x" * MEBIBYTE), f"extended header of {MEBIBYTE} bytes, more than {MAX_EXTENDED}$"),
        (extended(b"", size=1 << 30), "a member has 1073741824 bytes, and 0 follow$"),
        (extended(record("mtime", "1")) * 5_000, "two extended headers in a row$"),
        (extended(record("mtime", "1")), "it ends after an extended header$"),
        (extended(record("size", "-1")) + header(), "size of a member is no number of at least 0$"),
        (extended(record("size", "1" * 400)) + header(), "size of a member is no number of at least 0$"),
        (extended(record("size", str(1 << 50))) + header(), "a member has 1125899906842624 bytes, and 0 follow$"),
        (extended(b"9999999 a=b\n"), "an extended header with an invalid record$"),
        (extended(b"12 a=b\n"), "an extended header with an invalid record$"),
        (extended(b"0 a=b\n"), "an extended header with an invalid record$"),
        (extended(b"5 a=\n\n"), "an extended header with an invalid record$"),
        (header(1 << 32), "a member has 4294967296 bytes, and 0 follow$"),
        (header(field=b"\x80" + (1 << 60).to_bytes(11)), "a member has 1152921504606846976 bytes, and 0 follow$"),
        (header(field=b"\xff" * 12), "size of a member is no number of at least 0$"),
        (header(field=b"-0000000001\0"), "size of a member is no number of at least 0$"),
        (header()[:300], "it ends inside a header$"),
        (header()[:148] + b"000000\0 " + header()[156:], "there is no header at byte 0$"),
        (header(1) + b"a" + bytes(511) + b"?" * 512, "there is no header at byte 1024$"),
        (b"", "it is empty$"),
    ],
    ids=range(19),
)  # fmt: skip
def test_a_header_that_no_bundle_has_is_refused_where_it_begins(content, said):
    tracemalloc.start()
    with pytest.raises(BundleError, match=said):
        read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MEBIBYTE + 2 * len(content)


@pytest.mark.parametrize("kind", [b"g", b"L", b"K", b"S", b"D", b"N", b"V", b"1", b"2", b"5", b"7", b"X", b"\xff"])
def test_other_kinds_of_members_are_told_and_not_followed(bundle, kind):
    bundle.write_bytes(header(512, "SHA256SUMS", kind) + bytes(512) + bundle.read_bytes())
    with pytest.raises(BundleError, match=r"^the member 'SHA256SUMS' of the bundle 'made.tar' is not a regular file$"):
        Bundle(bundle)


def test_sums_larger_than_the_members_need_and_an_index_of_too_many_values_are_refused(registry, bundle, monkeypatch):
    contents = read_members(bundle)
    write_members(bundle, {**contents, "bundle.json": b"[" + b"0," * 10_000_000 + b"0]"})
    with pytest.raises(BundleError, match=r"^bundle.json in the bundle 'made.tar' has more than 10000000 values$"):
        import_bundle(registry, bundle)
    write_members(bundle, {**contents, "SHA256SUMS": b"a" * 5_000}, sums=False)
    with pytest.raises(BundleError, match=r"^SHA256SUMS in the bundle 'made.tar' has 5000 bytes, more than its 5 "):
        import_bundle(registry, bundle)


def test_a_pipe_is_no_bundle_and_nothing_waits_for_its_writer(registry, tmp_path):
    subprocess.run(["mkfifo", tmp_path / "pipe.tar"], check=True)
    with pytest.raises(BundleError, match=r"^the bundle 'pipe.tar' cannot be read: it is no plain file$"):
        import_bundle(registry, tmp_path / "pipe.tar")


@settings(max_examples=100, deadline=2_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_header_changes_no_member_or_is_refused(made, tmp_path, data):
    """Also where the checksum is right: what is read is what was written, or nothing is."""
    content = bytearray(made)
    expected = read(made)
    start = data.draw(st.sampled_from([member.start - 512 for member in expected]))
    for _ in range(data.draw(st.integers(1, 3))):
        value = data.draw(st.binary(min_size=1, max_size=12))
        place = data.draw(st.sampled_from([0, 99, 124, 135, 148, 156, 257, 345]) | st.integers(0, 511 - len(value)))
        content[start + place : start + place + len(value)] = value
    if data.draw(st.booleans()):
        block = content[start : start + 512]
        block[148:156] = b" " * 8
        content[start + 148 : start + 156] = f"{sum(block):06o}".encode() + b"\0 "
    (tmp_path / "changed.tar").write_bytes(content)
    try:
        with Bundle(tmp_path / "changed.tar") as bundle:
            found = {name: b"".join(bundle.stream(name)) for name in bundle._sums}
    except BundleError:
        return
    assert found == {member.name: made[member.start :][: member.size] for member in expected[1:]}
