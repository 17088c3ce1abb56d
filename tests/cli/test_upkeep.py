"""registry gc, backup and doctor."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry

from helpers import dump

OLD_SCHEMA = Path(__file__).parents[1] / "data" / "schema-0001"


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def age(directory: Path, hours: float = 2) -> None:
    """Make every file look as if it had been written so many hours ago."""
    then = time.time() - 3600 * hours
    for path in directory.rglob("*"):
        os.utime(path, (then, then))


def adapters(home: Path) -> dict[str, Path]:
    """Where adapter.safetensors of each version lies."""
    with Registry(home) as registry:
        digests = {
            version.ref: next(file.sha256 for file in version.files if file.name == "adapter.safetensors")
            for version in registry.versions()
        }
    return {ref: home / "objects" / digest[:2] / digest[2:] for ref, digest in digests.items()}


# gc


def test_nothing_to_collect(run: Any, mine: Path) -> None:
    age(mine)
    before = files(mine / "objects")
    for arguments in ([], ["--apply"]):
        result = run("gc", *arguments)
        assert (result.code, result.out, result.err) == (0, "", "0 files, 0 B: nothing to remove\n")
    assert files(mine / "objects") == before


def test_files_of_removed_versions_go_when_told_so(run: Any, mine: Path) -> None:
    paths = adapters(mine)
    run("rm", "sst2@2", "--force")
    age(mine)
    before = files(mine / "objects")
    listed = run("gc")
    assert listed.code == 0
    assert listed.err == "1 file, 11 B: nothing was removed: --apply does it\n"
    assert [row.split()[0] for row in listed.lines[2:]] == [str(paths["sst2@2"].relative_to(mine / "objects"))]
    assert files(mine / "objects") == before
    done = run("gc", "--apply")
    assert (done.code, done.err) == (0, "1 file, 11 B: removed\n")
    assert before.keys() - files(mine / "objects").keys() == {str(paths["sst2@2"].relative_to(mine / "objects"))}
    assert run("verify").code == 0
    assert run("gc").err == "0 files, 0 B: nothing to remove\n"
    (event,) = [event for event in run("log", "--json").json if event["action"] == "gc"][:1]
    assert event["details"] == {"files": 1, "size": 11}


def test_what_another_version_shares_stays(run: Any, mine: Path, add_version: Any, tmp_path: Path) -> None:
    with Registry(mine) as registry:
        add_version(registry, "twin", files={"adapter.safetensors": b"two, longer", "more.json": b"only mine"})
    run("rm", "twin@1")
    age(mine)
    assert run("gc", "--apply", "--json").json["size"] == len(b"only mine")
    assert run("export", "sst2@2", tmp_path / "files").code == 0


def test_what_is_young_stays(run: Any, mine: Path) -> None:
    run("rm", "sst2@2", "--force")
    young = "0 files, 0 B: nothing to remove; 1 more are too young to tell\n"
    assert run("gc").err == young
    assert run("gc", "--apply").err == young
    age(mine, hours=0.9)
    assert run("gc", "--json").json == {
        "removed": False,
        "size": 0,
        "young": 1,
        "preexisting": 0,
        "files": [],
        "checkpoints": [],
    }
    age(mine, hours=-24)
    assert run("gc", "--json").json["young"] == 1
    age(mine, hours=1.1)
    assert len(run("gc", "--json").json["files"]) == 1


def test_what_a_crash_left_goes_and_what_is_anothers_stays(run: Any, mine: Path) -> None:
    store = mine / "objects"
    (store / "ab").mkdir(exist_ok=True)
    half = store / "ab" / f".{'0' * 32}.tmp"
    half.write_bytes(b"half")
    (store / "README").write_text("mine")
    (store / "ab" / "notes.txt").write_text("mine")
    age(mine)
    found = run("gc", "--apply", "--json").json
    assert ([file["path"] for file in found["files"]], found["removed"]) == ([f"ab/{half.name}"], True)
    assert not half.exists()
    assert (store / "README").exists()
    assert (store / "ab" / "notes.txt").exists()


def test_another_registrys_store_is_left_alone(
    run: Any, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store of a team is set, and the URL of its database was forgotten."""
    team = Path(shutil.copytree(mine, tmp_path / "team"))
    (mine / "registry.db").unlink()
    shutil.rmtree(mine / "objects")
    assert run("list").code == 0
    age(team)
    before = files(team)
    monkeypatch.setenv("POINTSMAN_STORE", str(team / "objects"))
    for arguments in (["gc"], ["gc", "--apply"]):
        run(*arguments).refused("belongs to another registry", "name the database of that registry (POINTSMAN_DATABAS")
    told(run, "belongs to another registry")
    run("db", "adopt-store").refused("no version in", "needs any of them")
    assert files(team) == before
    # Also where it has no database yet.
    (mine / "registry.db").write_bytes(b"")
    run("list").refused(f"{mine / 'registry.db'} is empty, but the object store", "holds 6 objects of a registry")
    assert files(team) == before


def test_a_store_is_adopted_by_the_registry_whose_files_it_has(
    run: Any, mine: Path, tmp_path: Path, add_version: Any
) -> None:
    with Registry(tmp_path / "other") as other:
        add_version(other, "new")
    owner = (tmp_path / "other" / "objects" / "registry.json").read_bytes()
    (mine / "objects" / "registry.json").write_bytes(owner)
    run("rm", "sst2@2", "--force").refused("belongs to another registry", "try: registry db adopt-store")
    adopted = run("db", "adopt-store")
    assert adopted.code == 0
    assert adopted.err.startswith(f"{mine / 'objects'} belongs to this registry now (")
    assert run("rm", "sst2@2", "--force").code == 0
    age(mine)
    # What was unknown when the store was taken is kept until somebody asks for it.
    (mine / "objects" / "registry.json").unlink()
    kept = "1 file from before the store became this registry's: kept, since another registry may need them"
    assert run("gc", "--apply").err.splitlines()[1].startswith(kept)
    assert run("db", "adopt-store").err.splitlines()[1].startswith("it holds files that no version here needs")
    assert run("gc", "--apply", "--preexisting").err == "1 file, 11 B: removed\n"


# backup


def test_a_backup_is_a_home(run: Any, mine: Path, tmp_path: Path) -> None:
    made = run("backup", tmp_path / "deep" / "backup")
    assert (made.code, made.out) == (0, "")
    assert "6 files" in made.err
    assert made.err.endswith(", 6 of them new\n")
    backup = tmp_path / "deep" / "backup"
    assert files(backup / "objects") == files(mine / "objects")
    shutil.rmtree(mine)
    for command in (["list", "--all"], ["log"], ["runs"], ["history", "sst2@2", "--metric", "train/loss"]):
        expected = run(*command, "--json", home=backup)
        shutil.copytree(backup, mine, dirs_exist_ok=True)
        assert run(*command, "--json").out == expected.out != "[]\n"
    assert run("verify").code == 0


def test_a_second_backup_copies_what_is_new(run: Any, mine: Path, tmp_path: Path, add_version: Any) -> None:
    assert run("backup", tmp_path / "backup").code == 0
    with Registry(mine) as registry:
        add_version(registry, "new")
    stored = (tmp_path / "backup" / "objects").glob("??/*")
    inodes = {path: path.stat().st_ino for path in stored}
    again = run("backup", tmp_path / "backup")
    assert "7 files" in again.err
    assert again.err.endswith(", 1 of them new\n")
    assert {path: path.stat().st_ino for path in inodes} == inodes
    assert run("show", "new@1", home=tmp_path / "backup").code == 0
    assert run("verify", home=tmp_path / "backup").code == 0
    assert not list((tmp_path / "backup").rglob("*.tmp"))


def test_a_damaged_file_leaves_the_earlier_backup_whole(run: Any, mine: Path, tmp_path: Path, add_version: Any) -> None:
    assert run("backup", tmp_path / "backup").code == 0
    with Registry(mine) as registry:
        add_version(registry, "new")
    adapters(mine)["new@1"].unlink()
    message = run("backup", tmp_path / "backup").refused("missing", "registry verify --repair")
    assert str(mine) in message
    assert run("verify", home=tmp_path / "backup").code == 0
    assert len(run("list", "--all", "--json", home=tmp_path / "backup").json) == 5


@pytest.mark.parametrize("what", ["another home", "a directory with files", "the registry itself"])
def test_a_directory_that_is_no_backup_is_left_alone(what: str, run: Any, mine: Path, tmp_path: Path) -> None:
    directory = tmp_path / "there"
    if what == "another home":
        Registry(directory).close()
    elif what == "the registry itself":
        directory = mine
    else:
        directory.mkdir()
        (directory / "letter").write_text("to my aunt")
    before = files(directory)
    run("backup", directory).refused("neither empty nor an earlier backup")
    assert files(directory) == before


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([], "DIRECTORY", 2),
        (["one", "two"], "two", 2),
        (["letter"], "letter", 2),
        (["letter/below"], "letter", 1),
        (["/proc/backup"], "/proc/backup", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_backup_that_cannot_be_written(
    arguments: list[str],
    said: str,
    code: int,
    *,
    run: Any,
    mine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "letter").write_text("to my aunt")
    run("backup", *arguments).refused(said, code=code)
    assert (tmp_path / "letter").read_text() == "to my aunt"
    assert sorted(tmp_path.iterdir()) == [mine, tmp_path / "letter"]


# doctor


def test_a_healthy_registry(run: Any, mine: Path) -> None:
    result = run("doctor")
    assert result.code == 0, result.err
    assert "problem" not in result.err
    facts = dict(line.split("  ", 1) for line in result.lines if "  " in line)
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts["home"] == str(mine)
    assert facts["database"] == str(mine / "registry.db")
    assert (facts["versions"], facts["runs"], facts["bases"], facts["metric points"]) == ("5", "3", "2", "300")
    assert facts["garbage"].startswith("0 files")
    assert {"python", "pointsman", "torch", "adapters", "sqlite", "schema", "free disk"} <= facts.keys()
    found = run("doctor", "--json").json
    assert found["problems"] == []
    assert {name for name, value in facts.items() if found["facts"][name] != value} <= {"free disk"}
    assert found["facts"].keys() == facts.keys()


def lost_file(home: Path) -> None:
    adapters(home)["sst2@2"].unlink()


def shortened_file(home: Path) -> None:
    adapters(home)["sst2@2"].write_bytes(b"two")


def lost_row(home: Path) -> None:
    with closing(sqlite3.connect(home / "registry.db")) as connection:
        connection.execute("UPDATE version SET base_id = 99 WHERE number = 2")
        connection.commit()


def no_database(home: Path) -> None:
    (home / "registry.db").write_bytes(b"a letter to my aunt\n" * 400)


def another_programs(home: Path) -> None:
    (home / "registry.db").unlink()
    with closing(sqlite3.connect(home / "registry.db")) as connection:
        connection.execute("CREATE TABLE songs (title)")
        connection.commit()


def newer(home: Path) -> None:
    with closing(sqlite3.connect(home / "registry.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()


def older(home: Path) -> None:
    shutil.rmtree(home)
    shutil.copytree(OLD_SCHEMA, home)


def cut_short(home: Path) -> None:
    path = home / "registry.db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def told(run: Any, said: str, command: str | None = None) -> None:
    """Check that a problem is reported to people and to programs, with the command that helps."""
    result = run("doctor")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert result.err.startswith("problem: ")
    assert said in result.err
    assert ("\ntry: " in result.err) == (command is not None)
    if command is not None:
        assert f"\ntry: {command}\n" in result.err
    assert f"home{' ' * 4}" in result.out
    result = run("doctor", "--json")
    assert (result.code, result.err) == (1, "")
    (advice,) = [result.json["advice"].get(problem) for problem in result.json["problems"] if said in problem][:1]
    assert advice == command


@pytest.mark.parametrize(
    ("spoil", "said", "command"),
    [
        (lost_file, "files missing or of the wrong size in ", "registry verify"),
        (shortened_file, "files missing or of the wrong size in ", "registry verify"),
        (lost_row, "registry.db", None),
    ],
)
def test_what_is_wrong_is_told(
    spoil: Callable[[Path], None], said: str, command: str | None, run: Any, mine: Path
) -> None:
    spoil(mine)
    before = files(mine / "objects"), dump(mine / "registry.db")
    told(run, said, command)
    assert (files(mine / "objects"), dump(mine / "registry.db")) == before


@pytest.mark.parametrize(
    ("spoil", "said", "command"),
    [
        (no_database, "not a SQLite database", None),
        (another_programs, "songs", None),
        (newer, "newer", None),
        (older, "has schema 0001", "registry --home {home} db upgrade"),
        (cut_short, "registry.db", None),
    ],
)
def test_why_a_registry_cannot_be_opened(
    spoil: Callable[[Path], None], said: str, command: str | None, run: Any, mine: Path
) -> None:
    spoil(mine)
    before = files(mine)
    told(run, said, command and command.format(home=mine))
    assert files(mine) == before


def test_a_home_that_cannot_be(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "letter").write_text("to my aunt")
    run("doctor", home=tmp_path / "letter").refused("letter", code=2)
    for home in (tmp_path / "letter", tmp_path / "letter" / "below"):
        monkeypatch.setenv("POINTSMAN_HOME", str(home))
        result = run("doctor")
        assert result.code == 1
        assert result.err.startswith("problem: ")
        assert str(home) in result.err
    assert (tmp_path / "letter").read_text() == "to my aunt"


def test_what_the_old_schema_needs_is_what_doctor_says(run: Any, mine: Path) -> None:
    older(mine)
    said = run("doctor").err
    command = said.partition("registry --home ")[2].split()
    assert command == [str(mine), "db", "upgrade"]
    assert run(*command[1:], home=Path(command[0])).code == 0
    assert run("doctor").code == 0


def test_garbage_is_no_problem(run: Any, mine: Path) -> None:
    run("rm", "sst2@2", "--force")
    age(mine)
    result = run("doctor")
    assert (result.code, result.err) == (
        0,
        "garbage: try: registry gc --apply\nall checks passed; 'registry verify' also reads every file\n",
    )
    diagnosis = run("doctor", "--json").json
    assert (diagnosis["facts"]["garbage"], diagnosis["problems"]) == ("1 files (0.0 MB)", [])
    assert diagnosis["advice"] == {"garbage": "registry gc --apply"}
    assert run("gc", "--apply").code == 0
    assert run("doctor", "--json").json["advice"] == {}


def test_passwords_are_not_told(run: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POINTSMAN_HOME")
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", "mysql://ann:secret@nowhere/pointsman")
    result = run("doctor")
    assert result.code == 1
    assert "secret" not in result.out + result.err
    assert "mysql://ann:***@nowhere/pointsman" in result.out
