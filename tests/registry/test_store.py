import contextlib
import hashlib
import os
import resource

import pytest
from faults import NO_FILES, replace_with
from hypothesis import given
from hypothesis import strategies as st

from pointsman.registry.errors import (
    Action,
    Advice,
    DiskFullError,
    ObjectCorruptError,
    ObjectMissingError,
    StoreError,
)
from pointsman.registry.storage.files import is_temporary, measure_file, temporary_beside, write_atomically
from pointsman.registry.storage.local import LocalStore
from pointsman.registry.storage.objects import digest_of, path_of
from pointsman.registry.storage.owner import OWNER_FILE

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "objects")


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    """One store for all examples of a property: what earlier ones left must not matter."""
    return LocalStore(tmp_path_factory.mktemp("store") / "objects")


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def temporary_files(root):
    return [path for path in files(root) if path.name.endswith(".tmp")]


@contextlib.contextmanager
def files_of_at_most(size):
    """Let the kernel refuse to make a file longer, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@given(content=st.binary(max_size=5_000))
def test_what_is_put_is_read(shared_store, content):
    digest = shared_store.put(content)
    assert digest == hashlib.sha256(content).hexdigest()
    assert shared_store.read(digest) == content
    assert shared_store.put(content) == digest
    assert not temporary_files(shared_store.root)


@given(contents=st.lists(st.binary(max_size=3), max_size=10))
def test_identical_content_is_stored_once(tmp_path_factory, contents):
    store = LocalStore(tmp_path_factory.mktemp("store"))
    digests = [store.put(content) for content in contents]
    assert len(files(store.root)) == len(set(digests)) == len(set(contents))


def test_putting_again_leaves_a_sound_file_alone(store):
    path = store.path(store.put(CONTENT))
    before = path.stat()
    store.put(CONTENT)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped bit": flip_a_byte,
    "truncated": lambda path: path.write_bytes(CONTENT[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "zeroed": lambda path: path.write_bytes(bytes(len(CONTENT))),
    "longer": lambda path: path.write_bytes(CONTENT + b"\0"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_seen_and_mended_by_putting_the_content_again(store, damage):
    digest = store.put(CONTENT)
    damage(store.path(digest))
    with pytest.raises(ObjectCorruptError, match=f"object {digest} of .* is damaged: its .* not {digest}$") as error:
        store.read(digest)
    assert error.value.advice == Advice(Action.REPAIR)
    assert store.put(CONTENT) == digest
    assert store.read(digest) == CONTENT


def test_swapped_files_are_seen(store):
    one, two = store.put(b"one"), store.put(b"two")
    store.path(one).write_bytes(b"two")
    store.path(two).write_bytes(b"one")
    for digest, other in ((one, two), (two, one)):
        with pytest.raises(ObjectCorruptError, match=other):
            store.read(digest)


def test_a_missing_file_is_seen_and_mended(store):
    digest = store.put(CONTENT)
    store.path(digest).unlink()
    with pytest.raises(ObjectMissingError, match=f"object {digest} is missing from {store.root}$") as error:
        store.read(digest)
    assert error.value.advice == Advice(Action.REPAIR)
    store.put(CONTENT)
    assert store.read(digest) == CONTENT


def test_what_was_never_put_is_missing(store):
    with pytest.raises(ObjectMissingError):
        store.read("0" * 64)
    assert not store.root.exists()


def test_something_that_is_no_file(store):
    store.path("0" * 64).mkdir(parents=True)
    with pytest.raises(StoreError, match="directory"):
        store.read("0" * 64)


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_refused_at_once_and_replaced(store, kind):
    path = store.path(store.put(CONTENT))
    digest = digest_of(path.relative_to(store.root).as_posix())
    replace_with(kind, path)
    for read in (store.read, store.measure):
        with pytest.raises(ObjectCorruptError, match=f"is damaged: it is a {kind}, not a file"):
            read(digest)
    assert not store.has(digest)
    assert len(list(store.files())) == (kind != "directory")
    assert store.put(CONTENT) == digest
    assert store.read(digest) == CONTENT


def test_a_directory_with_something_in_it_is_nobodys_to_remove(store):
    digest = hashlib.sha256(CONTENT).hexdigest()
    (store.path(digest) / "thesis").mkdir(parents=True)
    with pytest.raises(StoreError, match=f"{digest[2:]} is a directory with something in it, .* move it away"):
        store.put(CONTENT)
    assert (store.path(digest) / "thesis").exists()


def test_an_owners_file_that_is_a_pipe_is_refused_at_once_and_replaced(store):
    store.root.mkdir(parents=True)
    os.mkfifo(store.root / OWNER_FILE)
    with pytest.raises(StoreError, match="cannot be read: it is a pipe, not a file"):
        store.read_owner()
    store.write_owner(b"mine", replace=True)
    assert store.read_owner() == b"mine"


@pytest.mark.parametrize(
    "digest",
    ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", "../" + "0" * 61, "/" * 64, "0" * 63 + "\u0660"],
)
def test_bad_digests_are_refused(store, digest):
    for use in (store.read, store.path):
        with pytest.raises(StoreError, match=r"is not valid: it must be 64 lower-case hexadecimal digits$") as error:
            use(digest)
        assert not isinstance(error.value, ObjectMissingError)
        assert str(error.value).isprintable()


def test_a_failed_put_leaves_nothing(store):
    kept = store.put(b"kept")
    with files_of_at_most(10_000), pytest.raises(StoreError, match="cannot be written"):
        store.put(bytes(20_000))
    assert files(store.root) == [store.path(kept)]


def test_a_failed_mend_leaves_no_temporary_file(store):
    content = bytes(20_000)
    digest = store.put(content)
    store.path(digest).write_bytes(b"damaged")
    with files_of_at_most(10_000), pytest.raises(StoreError):
        store.put(content)
    assert files(store.root) == [store.path(digest)]
    assert store.path(digest).read_bytes() == b"damaged"


def test_a_file_where_the_directory_should_be(tmp_path):
    (tmp_path / "objects").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        LocalStore(tmp_path / "objects").put(CONTENT)


def test_a_full_disk(small_disk):
    store = LocalStore(small_disk / "objects")
    kept = store.put(bytes(500_000))
    for _ in range(2):
        with pytest.raises(DiskFullError, match="no space is left"):
            store.put(bytes(600_000))
        assert files(store.root) == [store.path(kept)]
    assert store.read(kept) == bytes(500_000)
    store.path(kept).unlink()
    assert store.read(store.put(bytes(600_000))) == bytes(600_000)


def test_an_atomic_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old and long")
    write_atomically(path, [b"n", b"", b"ew"])
    assert path.read_bytes() == b"new"
    assert files(tmp_path) == [path]


def test_a_failed_atomic_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with files_of_at_most(10_000), pytest.raises(OSError, match="too large"):
        write_atomically(path, [bytes(5_000)] * 4)
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == [path]


def test_an_atomic_write_onto_a_directory_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "taken", [b"content"])
    assert files(tmp_path) == []


def test_an_atomic_write_takes_the_longest_file_name(tmp_path):
    path = tmp_path / ("n" * 255)
    write_atomically(path, [b"content"])
    assert files(tmp_path) == [path]


def test_a_temporary_name_is_recognised_and_short(tmp_path):
    temporary = temporary_beside(tmp_path / ("n" * 255))
    assert temporary.parent == tmp_path
    assert is_temporary(temporary.name)
    assert is_temporary(f"objects/ab/{temporary.name}")
    assert not is_temporary("objects/ab/notes.tmp")
    assert not is_temporary(f"{temporary.name}/file")
    assert temporary_beside(tmp_path / "file") != temporary


def test_a_file_is_measured(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert measure_file(tmp_path / "file") == (hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    with pytest.raises(FileNotFoundError):
        measure_file(tmp_path / "nosuch")


def test_a_path_and_a_digest_name_each_other():
    digest = "ab" + "0" * 62
    assert path_of(digest) == f"ab/{'0' * 62}"
    assert digest_of(path_of(digest)) == digest
    for path in ("ab", f"a/b{'0' * 62}", digest, f"ab/{'0' * 61}", f"ab/{'0' * 61}/0", f"AB/{'0' * 62}", "notes.txt"):
        assert digest_of(path) is None
