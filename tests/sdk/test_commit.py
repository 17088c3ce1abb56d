"""The commit of the user's code is recorded, and nothing that the repository's configuration names is started."""

import os
import subprocess
from pathlib import Path

import pytest

from pointsman.sdk.training.commit import commit


def git(directory: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", directory, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_repository(directory: Path, *options: str) -> Path:
    directory.mkdir()
    git(directory, "init", "--quiet", *options)
    git(directory, "config", "user.name", "a name")
    git(directory, "config", "user.email", "name@example.com")
    (directory / "code.py").write_text("print(1)\n")
    (directory / "inner").mkdir()
    git(directory, "add", "code.py")
    git(directory, "commit", "--quiet", "--message", "first")
    return directory


@pytest.mark.parametrize("options", [(), ("--object-format=sha256",)])
def test_the_commit_and_whether_files_differ(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = make_repository(tmp_path / "code", *options)
    head = git(repository, "rev-parse", "HEAD")
    before = (repository / ".git" / "index").read_bytes()
    monkeypatch.chdir(repository / "inner")
    (repository / "untracked.py").write_text("")
    assert commit() == {"commit": head, "changed": False}
    (repository / "code.py").write_text("print(2)\n")
    assert commit() == {"commit": head, "changed": True}
    git(repository, "worktree", "add", "--quiet", str(tmp_path / "second"))
    monkeypatch.chdir(tmp_path / "second")
    assert commit() == {"commit": head, "changed": False}
    assert (repository / ".git" / "index").read_bytes() == before


def test_outside_a_repository_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert commit() is None


def test_a_commit_whose_files_cannot_be_compared_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(tmp_path / "code")
    head = git(repository, "rev-parse", "HEAD")
    (repository / ".git" / "index").write_bytes(b"no index")
    monkeypatch.chdir(repository)
    assert commit() == {"commit": head, "changed": None}


def rewrite(file: Path, content: bytes) -> None:
    """Write a file so that git reads it again: with another time of change every time."""
    earlier = file.stat().st_mtime - 100
    file.write_bytes(content)
    os.utime(file, (earlier, earlier))


@pytest.mark.parametrize(
    ("setting", "value"), [("core.fileMode", "false"), ("core.symlinks", "false"), ("core.autocrlf", "true")]
)
def test_files_that_git_calls_the_same_are_not_changed(
    setting: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the same files are changed where the setting says the opposite."""
    repository = make_repository(tmp_path / "code")
    file, link = repository / "code.py", repository / "link"
    link.symlink_to("code.py")
    git(repository, "config", setting, value)
    git(repository, "add", "link")
    git(repository, "commit", "--quiet", "--message", "a link")
    content = file.read_bytes()
    if setting == "core.fileMode":
        file.chmod(0o755)
    elif setting == "core.symlinks":
        link.unlink()
        link.write_text("code.py")
    else:
        content = b"print(1)\r\n"
        file.write_bytes(content)
        git(repository, "add", "code.py")
    monkeypatch.chdir(repository / "inner")
    for chosen, changed in ((value, False), ("false" if value == "true" else "true", True)):
        git(repository, "config", setting, chosen)
        rewrite(file, content)
        assert commit() == {"commit": git(repository, "rev-parse", "HEAD"), "changed": changed}
        assert bool(git(repository, "status", "--porcelain", "--untracked-files=no")) is changed


def test_attributes_that_stand_outside_the_files_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(tmp_path / "code")
    file, head = repository / "code.py", git(repository, "rev-parse", "HEAD")
    (tmp_path / "attributes").write_text("*.py text eol=crlf\n")
    git(repository, "config", "core.attributesFile", str(tmp_path / "attributes"))
    file.write_bytes(b"print(1)\r\n")
    git(repository, "add", "code.py")
    info = repository / ".git" / "info" / "attributes"
    info.parent.mkdir(exist_ok=True)
    monkeypatch.chdir(repository)
    for rule, changed in (("", False), ("*.py -text", True), ("*.py filter=x", None), ("*.py -filter", False)):
        info.write_text(f"{rule}\n")
        rewrite(file, b"print(1)\r\n")
        assert commit() == {"commit": head, "changed": changed}


def test_a_setting_that_git_does_not_know_leaves_it_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(tmp_path / "code")
    git(repository, "config", "core.eol", "maybe")
    monkeypatch.chdir(repository)
    assert commit() == {"commit": git(repository, "rev-parse", "HEAD"), "changed": None}


def test_nothing_that_a_repository_names_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, marker = make_repository(tmp_path / "code"), tmp_path / "started"
    (repository / ".gitattributes").write_text("*.py filter=mark diff=mark\n")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "--quiet", "--message", "attributes")
    git(repository, "submodule", "--quiet", "init")
    started = f"touch {marker}; cat"
    for key in ("core.fsmonitor", "filter.mark.clean", "filter.mark.smudge", "diff.mark.textconv", "core.pager"):
        git(repository, "config", key, started)
    hooks = repository / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-index-change", "reference-transaction", "fsmonitor-watchman"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)
    (repository / "code.py").touch()  # so that git reads it again, through its filter
    monkeypatch.chdir(repository)
    recorded = commit()
    assert recorded == {"commit": git(repository, "rev-parse", "HEAD"), "changed": None}  # a filter would have to say
    assert not marker.exists()
    git(repository, "status", "--porcelain")  # what plain git does
    assert marker.exists()
