"""An S3 server that fails, trickles or hangs up: every call ends in time and says why, and nothing is half-stored."""

import http.client
import re
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from s3fs import S3FileSystem

from pointsman.registry import Registry
from pointsman.registry.errors import StoreError
from pointsman.registry.storage.local import LocalStore
from pointsman.registry.upkeep import verify

from shapes import FIELDS

OBJECT = re.compile(r"/[0-9a-f]{2}/[0-9a-f]{62}$")
CONTENT = bytes(range(256)) * 40

REASONS = {
    "500": "Internal Server Error",
    "503": "Service Unavailable",
    "cut": "",
    "trickle": "no answer within 3 s (POINTSMAN_STORE_TIMEOUT",
}
"""What the message says of each fault."""


class Faulty(ThreadingHTTPServer):
    """Passes requests on to an S3 server, except for those for objects that a fault is set for."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = urlsplit(upstream).netloc
        self.fault = ""
        """``500`` or another status, ``trickle``, ``cut``; empty: none."""
        self.methods = ("GET", "HEAD", "PUT")
        """The requests that it is for."""
        self.times = 10**6
        """How often each of them fails before it succeeds."""
        self.seen: Counter[tuple[str, str]] = Counter()
        self.ended = threading.Event()

    def fails(self, method: str, path: str) -> bool:
        if not self.fault or method not in self.methods or not OBJECT.search(urlsplit(path).path):
            return False
        self.seen[method, path] += 1
        return self.seen[method, path] <= self.times

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faulty

    def forward(self) -> None:
        fails, size = self.server.fails(self.command, self.path), int(self.headers.get("Content-Length") or 0)
        if fails and self.server.fault == "cut" and self.command == "PUT":
            self.rfile.read(size // 2)
            self.hang_up()
            return
        content = self.rfile.read(size)
        if fails and self.server.fault.isdigit():
            self.send_response(int(self.server.fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        upstream = http.client.HTTPConnection(self.server.upstream)
        upstream.request(self.command, self.path, content, dict(self.headers))
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("server", "date", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        if fails and self.server.fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.hang_up()
        elif fails and self.server.fault == "trickle":
            for byte in body:
                self.wfile.write(bytes([byte]))
                if self.server.ended.wait(1):
                    break
        else:
            self.wfile.write(body)

    def hang_up(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def s3():
    """An S3 server with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="team")
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def faulty(s3, monkeypatch):
    """A way to it that can fail."""
    server = Faulty(s3)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",  # its own pauses between more grow up to the limit of a call
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    yield server
    server.ended.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def team(faulty, tmp_path):
    """A registry with a version in the store."""
    with Registry(tmp_path / "home", store=f"s3://team/{tmp_path.name}") as registry:
        registry.add_version("sst2", **{**FIELDS, "files": {"a": CONTENT}})
        yield registry


@pytest.fixture
def uncached(team, tmp_path):
    """The digest of its file, which is in no cache; and the cache."""
    team.store._cache = LocalStore(tmp_path / "uncached")
    return team.version("sst2").files[0].sha256


def is_sound(team, versions):
    """Whether the store holds what the versions need, and nothing that is damaged."""
    assert team.versions().total == versions
    for file in team.store.files():
        assert file.digest is None or team.store.measure(file.digest) == (file.digest, file.size)
    return verify(team).problems == ()


@pytest.mark.parametrize("fault", ["500", "503", "cut"])
def test_faults_that_pass_are_waited_out(fault, faulty, team, uncached):
    faulty.fault, faulty.times, faulty.methods = fault, 1, ("GET", "PUT")
    assert team.store.read(uncached) == CONTENT
    assert team.add_version("sst2", **{**FIELDS, "files": {"a": CONTENT + b"more"}}).number == 2
    assert len(faulty.seen) >= 2
    assert set(faulty.seen.values()) != {1}
    assert is_sound(team, 2)


@pytest.mark.parametrize("fault", ["500", "503", "cut", "trickle"])
def test_faults_that_stay_end_a_read_in_time(fault, faulty, team, uncached, tmp_path):
    team.store._call.seconds = 3.0
    faulty.fault, faulty.methods = fault, ("GET",)
    begun = time.monotonic()
    with pytest.raises(StoreError, match=r"^the object store s3://team/\S+ cannot be read: \S+") as error:
        team.store.read(uncached)
    assert time.monotonic() - begun < 10
    assert REASONS[fault] in str(error.value)
    assert list((tmp_path / "uncached").rglob("*")) == []
    faulty.fault = ""
    assert team.store.read(uncached) == CONTENT


@pytest.mark.parametrize("fault", ["500", "503", "cut"])
def test_faults_that_stay_end_a_write_in_time(fault, faulty, team):
    team.store._call.seconds = 3.0
    faulty.fault, faulty.methods = fault, ("PUT",)
    begun = time.monotonic()
    with pytest.raises(StoreError, match=r"^the object store s3://team/\S+ cannot be written: \S+") as error:
        team.add_version("sst2", **{**FIELDS, "files": {"a": CONTENT + b"more"}})
    assert time.monotonic() - begun < 10
    assert REASONS[fault] in str(error.value)
    faulty.fault = ""
    assert is_sound(team, 1)
    assert team.add_version("sst2", **{**FIELDS, "files": {"a": CONTENT + b"more"}}).number == 2
    assert is_sound(team, 2)
