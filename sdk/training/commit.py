"""The commit of the user's code, asked of git without starting a program that the repository names."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

_SECONDS: Final = 10
"""Git's time to answer."""

_SHA1_DIGITS: Final = 40

_NOT_SET: Final = 1
"""The exit status of ``git config --get`` where a setting has no value."""

_BOOLEANS: Final = ("core.fileMode", "core.symlinks")
_WORDS: Final = {
    "core.autocrlf": ("true", "false", "input", "yes", "no", "on", "off", "1", "0"),
    "core.eol": ("lf", "crlf", "native"),
}
"""Settings by which git compares files, and what they may be. None of them names a program."""

_FILTERED: Final = (":(top)", ":(top,exclude,attr:!filter)", ":(top,exclude,attr:-filter)")
"""The files that have a filter: all but those where it is not specified, or unset."""


def commit() -> dict[str, Any] | None:
    """The commit of the working directory, and whether files differ from it; None outside a git repository.

    The configuration of a repository can name programs that ``git status`` starts: a file monitor, filters of files.
    So the status is asked in a repository of our own, which borrows the other's objects and index, its attributes, and
    those of its settings that say which modes, links and ends of lines are the same. Submodules, which have
    configurations of their own, are left out.

    Returns:
        ``commit``, and ``changed``: None if git cannot compare the files, or one has a filter, which is a program.
    """
    try:
        # Only reads references, whatever the configuration says.
        paths = ("--git-path", "objects", "--git-path", "index", "--git-path", "info/attributes")
        top, objects, index, attributes, head = _git(
            "rev-parse", "--path-format=absolute", "--show-toplevel", *paths, "HEAD"
        ).splitlines()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    try:
        settings = _settings()
        with TemporaryDirectory() as directory:
            _make_empty_repository(Path(directory), head, Path(attributes))
            there = {
                "GIT_DIR": directory,
                "GIT_WORK_TREE": top,
                "GIT_OBJECT_DIRECTORY": objects,
                "GIT_INDEX_FILE": index,
            }
            if _git("ls-files", "--", *_FILTERED, settings=settings, **there):
                return {"commit": head, "changed": None}
            status = _git(
                "status",
                "--porcelain",
                "--untracked-files=no",
                "--ignore-submodules=all",
                settings=settings,
                **there,
            )
    except (OSError, ValueError, subprocess.SubprocessError):
        return {"commit": head, "changed": None}
    return {"commit": head, "changed": bool(status)}


def _settings() -> list[str]:
    """The settings of the user's repository that say when files are the same, as ``key=value``.

    Raises:
        ValueError: One has a value that git does not know.
    """
    settings = []
    for key in _BOOLEANS:
        settings += [f"{key}={value}" for value in _values(key, "--type=bool")]
    for key, words in _WORDS.items():
        for value in _values(key):
            if value.lower() not in words:
                raise ValueError(f"{key} is {value!r}")
            settings.append(f"{key}={value}")
    return settings + [f"core.attributesFile={value}" for value in _values("core.attributesFile", "--type=path")]


def _values(key: str, *options: str) -> list[str]:
    """The value of a setting, or nothing where it is not set."""
    try:
        return [_git("config", *options, "--get", key)]
    except subprocess.CalledProcessError as error:
        if error.returncode != _NOT_SET:
            raise
        return []


def _make_empty_repository(directory: Path, head: str, attributes: Path) -> None:
    """Write what git needs to take a directory for a repository at a commit, and copy the attributes of another."""
    (directory / "refs").mkdir()
    (directory / "HEAD").write_text(f"{head}\n", encoding="ascii")
    config = "[core]\n\trepositoryformatversion = 0\n"
    if len(head) != _SHA1_DIGITS:
        config = "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n"
    (directory / "config").write_text(config, encoding="ascii")
    if attributes.is_file():
        (directory / "info").mkdir()
        (directory / "info" / "attributes").write_bytes(attributes.read_bytes())


def _git(*words: str, settings: Sequence[str] = (), **variables: str) -> str:
    """What git prints. The index is not written, and a file monitor that the user has is not asked."""
    options = [word for setting in ("core.fsmonitor=false", *settings) for word in ("-c", setting)]
    done = subprocess.run(
        ["git", *options, *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=_SECONDS,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **variables},
    )
    return done.stdout.strip()
