"""The commit of the user's code, asked of git without starting a program that the repository names."""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

_SECONDS: Final = 10
"""Git's time to answer."""

_SHA1_DIGITS: Final = 40


def commit() -> dict[str, Any] | None:
    """The commit of the working directory, and whether files differ from it; None outside a git repository.

    The configuration of a repository can name programs that ``git status`` starts: a file monitor, filters of files.
    So the status is asked in a repository of our own, which has no configuration and borrows the other's objects and
    index. Submodules, which have configurations of their own, are left out.

    Returns:
        ``commit``, and ``changed``: None if git cannot compare the files.
    """
    try:
        # Only reads references, whatever the configuration says.
        paths = ("--show-toplevel", "--git-path", "objects", "--git-path", "index", "HEAD")
        top, objects, index, head = _git("rev-parse", "--path-format=absolute", *paths).splitlines()
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    try:
        with TemporaryDirectory() as directory:
            _make_empty_repository(Path(directory), head)
            status = _git(
                "status",
                "--porcelain",
                "--untracked-files=no",
                "--ignore-submodules=all",
                GIT_DIR=directory,
                GIT_WORK_TREE=top,
                GIT_OBJECT_DIRECTORY=objects,
                GIT_INDEX_FILE=index,
            )
    except (OSError, ValueError, subprocess.SubprocessError):
        return {"commit": head, "changed": None}
    return {"commit": head, "changed": bool(status)}


def _make_empty_repository(directory: Path, head: str) -> None:
    """Write what git needs to take a directory for a repository at a commit."""
    (directory / "refs").mkdir()
    (directory / "HEAD").write_text(f"{head}\n", encoding="ascii")
    config = "[core]\n\trepositoryformatversion = 0\n"
    if len(head) != _SHA1_DIGITS:
        config = "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha256\n"
    (directory / "config").write_text(config, encoding="ascii")


def _git(*words: str, **variables: str) -> str:
    """What git prints. The index is not written, and a file monitor that the user has is not asked."""
    done = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=_SECONDS,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **variables},
    )
    return done.stdout.strip()
