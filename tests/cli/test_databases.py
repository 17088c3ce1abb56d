"""A database that cannot be used: refused by every command, and left as it was."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

COMMANDS = [
    ["list"],
    ["show", "sst2"],
    ["history", "sst2"],
    ["runs"],
    ["alias", "sst2", "production"],
    ["compare", "sst2", "mrpc"],
    ["log"],
    ["tag", "sst2", "owner=ann"],
    ["note", "sst2", "good"],
    ["rm", "sst2@1"],
    ["export", "sst2", "files"],
    ["export", "sst2", "sst2.tar"],
    ["import", "sst2.tar"],
    ["verify"],
    ["gc", "--apply"],
    ["backup", "backup"],
    ["predict", "sst2", "a film"],
    ["train", "sst2", "--base", "nosuch", "--data", "sample"],
]


def no_database(path: Path) -> None:
    path.write_bytes(b"a letter to my aunt\n" * 400)


def another_programs(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (title)")
        connection.commit()


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_database, "not a SQLite database"),
        (another_programs, "songs"),
        (newer, "newer"),
        (cut_short, "registry.db"),
    ],
)
def test_a_database_that_cannot_be_used(
    spoil: Callable[[Path], None],
    said: str,
    command: list[str],
    *,
    run: Any,
    own: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = own / "registry.db"
    if spoil is another_programs:
        path.unlink()
    spoil(path)
    content = path.read_bytes()
    run(*command).refused(str(path), said)
    assert path.read_bytes() == content
    assert sorted(tmp_path.iterdir()) == [own]


@pytest.mark.parametrize("place", ["home", "home/below"])
def test_a_home_that_is_a_file(place: str, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("mine")
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / place))
    run("list").refused("home")
    assert (tmp_path / "home").read_text() == "mine"


@pytest.fixture
def read_only(own: Path) -> Any:
    """A home that nobody may write, root without its privileges included."""
    paths = [own, *own.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield own
    for path, mode in modes.items():
        path.chmod(mode)


def test_a_home_that_cannot_be_written(
    read_only: Path, execute: Any, bound_by_permissions: Callable[[], None], tiny_base: Path, tmp_path: Path
) -> None:
    def bound(*arguments: object) -> Any:
        return execute(*arguments, preexec_fn=bound_by_permissions, cwd=tmp_path)

    before = {path: path.read_bytes() for path in read_only.rglob("*") if path.is_file()}
    for change in (["alias", "sst2", "production"], ["tag", "sst2", "a=b"], ["note", "sst2", "good"], ["rm", "sst2@1"]):
        bound(*change).refused("registry.db", "cannot be written")
    train = ("train", "sst2", "--base", tiny_base, "--data", "sample", "--max-length", "32", "--epochs", "1")
    bound(*train).refused("registry.db", "cannot be written")
    # What only reads goes on working.
    assert len(bound("list", "--json").json) == 3
    assert bound("export", "sst2", "files").code == 0
    assert bound("export", "sst2", "sst2.tar").code == 0
    assert bound("verify").code == 0
    assert bound("gc").code == 0
    assert bound("backup", "backup").code == 0
    doctor = bound("doctor")
    assert doctor.code == 1
    assert "cannot be written" in doctor.err
    assert {path: path.read_bytes() for path in read_only.rglob("*") if path.is_file()} == before


def test_a_home_that_cannot_be_made(execute: Any, bound_by_permissions: Callable[[], None], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    outcome = execute("--home", tmp_path / "closed" / "home", "list", preexec_fn=bound_by_permissions)
    outcome.refused("closed")
    assert list((tmp_path / "closed").iterdir()) == []
