"""Object stores by URL: the same registry on each, and a cache that trusts nothing."""

import hashlib
import socket
import threading
import time
from datetime import UTC, datetime

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem

from pointsman.registry import Registry
from pointsman.registry.errors import ObjectCorruptError, ObjectMissingError, SettingsError, StoreError
from pointsman.registry.storage import remote
from pointsman.registry.storage.local import LocalStore
from pointsman.registry.storage.objects import Stored
from pointsman.registry.storage.remote import RemoteStore, open_store
from pointsman.registry.upkeep import back_up, collect_garbage, export_bundle, import_bundle, repair, verify

from helpers import in_child
from shapes import FIELDS


@pytest.fixture(scope="module")
def s3():
    """An S3 server on a port of its own, with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="team")
    yield url
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(params=["memory", "s3", "file"])
def url(request, tmp_path, monkeypatch):
    """The URL of an empty store, on each kind."""
    if request.param == "memory":
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
        return "memory://team/adapters"
    if request.param == "file":
        return (tmp_path / "a store").as_uri()
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    S3FileSystem.clear_instance_cache()
    return f"s3://team/{tmp_path.name}"


@pytest.fixture
def store(url, tmp_path):
    return open_store(url, tmp_path / "cache")


def test_what_is_put_is_read(store):
    for content in (b"", b"weights", bytes(3_000_000)):
        digest = store.put(content)
        assert digest == hashlib.sha256(content).hexdigest()
        assert store.read(digest) == content == b"".join(store.stream(digest))
        assert store.measure(digest) == (digest, len(content))
        assert store.has(digest)
        assert store.put(content) == digest
    assert sorted(file.size for file in store.files()) == [0, 7, 3_000_000]
    store.put_stream([b"in ", b"pieces"], hashlib.sha256(b"in pieces").hexdigest())
    with pytest.raises(ObjectCorruptError, match="is damaged"):
        store.put_stream([b"other"], "ab" * 32)
    assert not store.has("ab" * 32)
    assert len(list(store.files())) == 4


def test_what_is_not_there(store):
    for ask in (store.read, store.measure, lambda digest: list(store.stream(digest))):
        with pytest.raises(ObjectMissingError, match=f"object {'ab' * 32} is missing from"):
            ask("ab" * 32)
    assert not store.has("ab" * 32)
    assert list(store.files()) == []
    for digest in ("AB" * 32, "../" + "a" * 61, "a" * 63, ""):
        for ask in (store.read, store.measure, store.has):
            with pytest.raises(StoreError, match="is not valid"):
                ask(digest)


def test_what_other_machines_do_is_noticed(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    S3FileSystem.clear_instance_cache()
    store = open_store(f"s3://team/{tmp_path.name}", tmp_path / "cache")
    digest = store.put(b"weights")
    assert [file.digest for file in store.files()] == [digest]
    other = S3FileSystem(skip_instance_cache=True)
    path = f"team/{tmp_path.name}/{digest[:2]}/{digest[2:]}"
    other.rm_file(path)
    assert not store.has(digest)
    assert list(store.files()) == []
    store.put(b"weights")
    assert store.has(digest)
    other.pipe_file(path, b"")
    assert store.measure(digest) == (hashlib.sha256(b"").hexdigest(), 0)
    store.put(b"weights")
    assert store.measure(digest) == (digest, 7)


def test_a_registry_on_it(url, tmp_path):
    with Registry(tmp_path / "home", store=url) as registry:
        version = registry.add_version("sst2", **FIELDS)
        registry.add_version("sst2", **FIELDS, parents=[("init", "sst2@1")])
        assert registry.read_file(version, "adapter.safetensors") == b"weights"
        assert verify(registry).problems == ()
        assert collect_garbage(registry).files == ()
        copy = back_up(registry, tmp_path / "backup")
        export_bundle(registry, ["sst2"], tmp_path / "b.tar")
    assert not (tmp_path / "home" / "objects").exists()
    # Another machine: the same database and store, and a cache of its own.
    with Registry(tmp_path / "second", database=tmp_path / "home" / "registry.db", store=url) as second:
        assert second.read_file(second.version("sst2"), "adapter.safetensors") == b"weights"
        assert second.add_version("sst2", **FIELDS).ref == "sst2@3"
    # Another registry has a store of its own.
    with Registry(tmp_path / "other", store=f"{url}-other") as other:
        assert [one.ref for one in import_bundle(other, tmp_path / "b.tar")] == ["sst2@1", "sst2@2"]
        assert other.read_file(other.version("sst2"), "adapter.safetensors") == b"weights"
    with Registry(copy.path) as restored:
        assert verify(restored).problems == ()
        assert restored.version("sst2@2").parents == ("sst2@1",)


def test_damage_is_found_and_repaired(url, tmp_path):
    with Registry(tmp_path / "home", store=url) as registry:
        version = registry.add_version("sst2", **FIELDS)
        back_up(registry, tmp_path / "backup")
        damaged, lost = (file.sha256 for file in version.files)
        spoil(registry.store, damaged, b"weightZ")
        spoil(registry.store, lost, None)
        found = {problem.digest: problem.text for problem in verify(registry).problems}
        assert found.keys() == {damaged, lost}
        assert "damaged: its 7 bytes" in found[damaged]
        assert "missing" in found[lost]
    # Whoever has it in no cache is told, and gets no damaged content.
    with Registry(tmp_path / "home2", database=tmp_path / "home" / "registry.db", store=url) as fresh:
        for name, error in (("adapter.safetensors", ObjectCorruptError), ("adapter_config.json", ObjectMissingError)):
            wanted = {file.sha256: file.name for file in version.files}
            assert wanted[damaged if error is ObjectCorruptError else lost] == name
            with pytest.raises(error):
                fresh.read_file(version, name)
        outcome = repair(fresh, verify(fresh).problems, [tmp_path / "backup"])
        assert set(outcome.repaired) == {damaged, lost}
        assert verify(fresh).problems == ()
        assert fresh.read_file(version, "adapter.safetensors") == b"weights"


def spoil(store, digest, content):
    """Damage or lose a file behind the store's back."""
    if isinstance(store, LocalStore):
        path = store.path(digest)
        path.unlink() if content is None else path.write_bytes(content)
    else:
        path = store._path(digest)
        store._fs.rm_file(path) if content is None else store._fs.pipe_file(path, content)


def test_a_damaged_cache_is_read_anew(tmp_path):
    MemoryFileSystem.store.clear()
    store = open_store("memory://team", tmp_path / "cache")
    digest = store.put(b"weights")
    assert store.read(digest) == b"weights"
    (cached,) = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    cached.write_bytes(b"evil")
    assert store.read(digest) == b"weights"
    assert cached.read_bytes() == b"weights"


def test_a_broken_upload_is_written_again(tmp_path):
    MemoryFileSystem.store.clear()
    store = open_store("memory://team", tmp_path / "cache")
    digest = store.put(b"weights")
    spoil(store, digest, b"wei")
    assert store.put(b"weights") == digest
    assert store.read(digest) == b"weights"


def test_a_forked_child_has_a_store_of_its_own(url, tmp_path, monkeypatch):
    with Registry(tmp_path / "home", store=url) as registry:
        added = registry.add_version("sst2", **FIELDS)

        def child():
            registry.store._cache = LocalStore(tmp_path / "empty")  # so that it asks the driver
            assert registry.read_files(added) == FIELDS["files"]
            other = {"adapter.safetensors": b"other", "adapter_config.json": b"{}"}
            assert registry.read_files(registry.add_version("sst2", **{**FIELDS, "files": other})) == other

        in_child(child)
        registry.store._cache = LocalStore(tmp_path / "another")
        assert registry.read_files(added) == FIELDS["files"]
        if not url.startswith("memory"):  # which each process has of its own
            assert registry.read_file(registry.version("sst2@2"), "adapter.safetensors") == b"other"


def test_threads_that_put_the_same(store):
    digests = []
    threads = [threading.Thread(target=lambda: digests.append(store.put(b"the same"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(digests)) == 1
    assert len(digests) == 8
    assert len(list(store.files())) == 1


@pytest.mark.parametrize("place", ["nosuch://bucket", "htp://x"])
def test_a_url_of_an_unknown_kind(place, tmp_path):
    with pytest.raises(SettingsError, match=place):
        Registry(tmp_path / "home", store=place)


def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()  # or the one that knows where another test's server was
    Registry(tmp_path / "home").close()
    with Registry(tmp_path / "home", store="s3://team/x") as registry:
        for write in (lambda: registry.add_version("sst2", **FIELDS), registry.check_writable):
            with pytest.raises(StoreError, match="the object store s3://team/x cannot be"):
                write()
        assert registry.versions().total == 0


@pytest.fixture
def silent(monkeypatch):
    """A server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("POINTSMAN_STORE_TIMEOUT", "0.2")
        S3FileSystem.clear_instance_cache()
        yield


def test_a_server_that_never_answers(silent, tmp_path):
    """Of its own accord, the driver tries for minutes."""
    Registry(tmp_path / "home").close()
    said = r"^the object store s3://team/x cannot be \w+: no answer within 0.2 s \(POINTSMAN_STORE_TIMEOUT sets another"
    with Registry(tmp_path / "home", store="s3://team/x") as registry:
        store, digest = registry.store, "ab" * 32
        calls = [
            lambda: registry.add_version("sst2", **FIELDS),
            lambda: collect_garbage(registry),
            lambda: store.read(digest),
            lambda: store.put(b"weights"),
            lambda: store.has(digest),
            lambda: store.measure(digest),
            lambda: list(store.files()),
            lambda: store.remove(Stored("ab/cd", digest, 1, datetime.now(UTC))),
            store.read_owner,
        ]
        begun = time.monotonic()
        for call in calls:
            with pytest.raises(StoreError, match=said):
                call()
        assert time.monotonic() - begun < 10
        assert registry.versions().total == 0


class Stuck(MemoryFileSystem):
    """A driver that knows nothing of asyncio, on a share that hangs."""

    protocol = "stuck"

    def cat_file(self, *arguments, **options):
        threading.Event().wait(30)


def test_a_driver_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSMAN_STORE_TIMEOUT", "0.1")
    fsspec.register_implementation("stuck", Stuck, clobber=True)
    store = open_store("stuck://team", tmp_path / "cache")
    digest = store.put(b"weights")
    with pytest.raises(StoreError, match=r"cannot be read: no answer within 0.1 s"):
        store.read(digest)


@pytest.mark.parametrize("text", ["no", "0", "-1", "nan", "inf", "1e9"])
def test_a_time_limit_that_is_none(text, tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSMAN_STORE_TIMEOUT", text)
    with pytest.raises(SettingsError, match=f"POINTSMAN_STORE_TIMEOUT '{text}' is not valid: give a number of seconds"):
        open_store("memory://team", tmp_path / "cache")


def test_of_two_registries_that_claim_a_store_one_succeeds(store):
    store.write_owner(b"first")
    store.write_owner(b"second")
    assert store.read_owner() == b"first"
    store.write_owner(b"third", replace=True)
    assert store.read_owner() == b"third"
    assert [file.digest for file in store.files()] == [None]


def test_large_objects_are_read_in_blocks(tmp_path, monkeypatch):
    MemoryFileSystem.store.clear()
    monkeypatch.setattr(remote, "_BLOCK", 10)
    for size in (0, 1, 9, 10, 11, 20, 25):
        store = open_store("memory://team", tmp_path / str(size))
        content = bytes(range(size))
        digest = store.put(content)
        assert store.measure(digest) == (digest, size)
        assert store.read(digest) == content


def test_a_place_without_a_scheme_is_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_store("files", tmp_path / "cache"), LocalStore)
    assert open_store("files", tmp_path / "cache").label == str(tmp_path / "files")
    assert isinstance(open_store("memory://x", tmp_path / "cache"), RemoteStore)


def test_the_environment_names_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("POINTSMAN_STORE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    with Registry() as registry:
        registry.add_version("sst2", **FIELDS)
        assert registry.store.label == str(tmp_path / "elsewhere")
    # A home that is named stands for itself.
    with Registry(tmp_path / "home") as registry:
        assert registry.store.label == str(tmp_path / "home" / "objects")
        assert len(verify(registry).problems) == 2
