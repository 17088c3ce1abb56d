"""Bases of the hub: their files at one commit, from the hub (a server of ours speaks its protocol) or its cache."""

import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub.utils import reset_sessions

from pointsman.registry.errors import BaseNotFoundError, UnusableBaseError
from pointsman.sdk.bases.find import find_base
from pointsman.sdk.bases.load import load_base, read_base

FIRST, SECOND = "1" * 40, "2" * 40
NAME = "someone/tiny"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def add_to_cache(cache: Path, source: Path, commit: str) -> Path:
    """What the hub's library would leave of a repository: links to files by content, and the branch's commit."""
    repository = cache / "models--someone--tiny"
    snapshot = repository / "snapshots" / commit
    for directory in (snapshot, repository / "blobs", repository / "refs"):
        directory.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
    (repository / "refs" / "main").write_text(commit)
    return snapshot


class Hub(http.server.ThreadingHTTPServer):
    """The part of the hub's protocol that downloads use; remembers what was asked for."""

    def __init__(self, files: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits, self.branch = files, FIRST
        self.asked: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        parts = self.path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and "/".join(parts[2:4]) == NAME:
            revision = parts[5] if len(parts) > 5 else self.server.branch
            commit = self.server.branch if revision == "main" else revision
            names = [{"rfilename": file.name} for file in sorted(self.server.commits[commit].iterdir())]
            self._answer(json.dumps({"id": NAME, "sha": commit, "siblings": names}).encode(), {})
        elif parts[2:3] == ["resolve"] and (self.server.commits[parts[3]] / parts[4]).is_file():
            content = (self.server.commits[parts[3]] / parts[4]).read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            self._answer(content, {"ETag": f'"{etag}"', "X-Repo-Commit": parts[3]})
        else:
            self._answer(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404)

    do_HEAD = do_GET  # noqa: N815 - the name that the server calls

    def _answer(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(
    tiny_base: Path, other_base: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    commits = {
        commit: Path(shutil.copytree(base, tmp_path / commit))
        for commit, base in ((FIRST, tiny_base), (SECOND, other_base))
    }
    for directory in commits.values():
        (directory / "modeling.py").write_text("raise SystemExit\n")
        (directory / "pytorch_model.bin").write_bytes(b"a pickle")
    server = Hub(commits)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    reset_sessions()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    reset_sessions()


def test_a_base_of_the_hub_is_read_at_one_commit_and_nothing_else_of_it(hub: Hub, tiny_base: Path) -> None:
    loaded = load_base(NAME)
    assert loaded.record.fingerprint == load_base(str(tiny_base)).record.fingerprint
    files = {path.rsplit("/", 1)[1] for path in hub.asked if "/resolve/" in path}
    assert files == {
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    assert all(FIRST in path for path in hub.asked if "/resolve/" in path)


def test_a_pinned_revision_is_read_from_the_cache_without_a_question(hub: Hub) -> None:
    first = load_base(NAME).record.fingerprint
    hub.branch = SECOND
    hub.asked.clear()
    assert load_base(f"{NAME}@{FIRST}").record.fingerprint == first
    assert hub.asked == []
    assert load_base(NAME).record.fingerprint != first
    assert find_base(NAME).revision == SECOND


def test_the_weights_come_only_when_they_are_needed(hub: Hub) -> None:
    read_base(NAME)
    assert not any("safetensors" in path for path in hub.asked)
    load_base(f"{NAME}@{FIRST}")
    assert any("safetensors" in path for path in hub.asked)


def test_what_a_repository_names_is_refused_as_in_a_directory(hub: Hub) -> None:
    (hub.commits[FIRST] / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    with pytest.raises(UnusableBaseError, match=r"adapter_config\.json"):
        load_base(NAME)
    (hub.commits[SECOND] / "model.safetensors").unlink()
    index = {"weight_map": {"a": "../../elsewhere.safetensors"}}
    (hub.commits[SECOND] / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnusableBaseError, match="plain name"):
        load_base(f"{NAME}@{SECOND}")
    assert not any("elsewhere" in path for path in hub.asked)


def test_an_unknown_name_is_one_question_and_suggests_near_ones(hub: Hub) -> None:
    with pytest.raises(BaseNotFoundError, match="did you mean minilm"):
        load_base("minillm")
    assert len(hub.asked) == 1
    with pytest.raises(BaseNotFoundError, match="did you mean someone/tiny"):
        load_base("someone/tinny", known=[NAME])


def test_offline_the_cache_serves_the_commit_that_it_knows(
    cache: Path, tiny_base: Path, other_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_to_cache(cache, tiny_base, FIRST)
    snapshot = add_to_cache(cache, other_base, SECOND)
    old, new = (load_base(str(base)).record.fingerprint for base in (tiny_base, other_base))
    assert load_base(NAME).record.fingerprint == new
    assert find_base(NAME).revision == SECOND
    assert load_base(f"{NAME}@{FIRST}").record.fingerprint == old
    assert load_base(str(snapshot)).record.fingerprint == new  # the cache's own directory, which is made of links
    for name in ("someone/other", f"{NAME}@{'3' * 40}"):
        with pytest.raises(BaseNotFoundError, match="offline mode is enabled"):
            load_base(name)


def test_names_that_no_repository_can_have_ask_nobody(hub: Hub) -> None:
    for name in ("/no/such/directory", "./base", "a/b/c", "", "a b", "x" * 200, "a/../b"):
        with pytest.raises(BaseNotFoundError, match="no such directory"):
            load_base(name)
    assert hub.asked == []
