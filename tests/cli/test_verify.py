"""registry verify: what is damaged is found, and repaired from good copies."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Base, Registry


def stored(home: Path, ref: str = "sst2@2", name: str = "adapter.safetensors") -> Path:
    """Where a file of a version lies."""
    with Registry(home) as registry:
        digest = next(file.sha256 for file in registry.version(ref).files if file.name == name)
    return home / "objects" / digest[:2] / digest[2:]


def objects(home: Path) -> dict[str, bytes]:
    files = [path for path in (home / "objects").glob("*/*") if path.is_file()]
    return {str(path.relative_to(home)): path.read_bytes() for path in files}


def execute_sql(home: Path, *statements: str) -> None:
    with closing(sqlite3.connect(home / "registry.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def missing(path: Path) -> None:
    path.unlink()


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DATA = Path(__file__).parent.parent / "data"

DAMAGES = [missing, flipped, truncated, emptied, zeroed, a_directory]


def test_all_is_well(run: Any, ready: Path) -> None:
    result = run("verify", home=ready)
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith("5 versions, 6 files (")
    assert result.err.endswith("): no problems\n")
    report = run("verify", "--json", home=ready).json
    assert (report["versions"], report["files"], report["problems"], report["repaired"]) == (5, 6, [], [])
    assert report["notes"] == []
    assert report["size"] == sum(map(len, objects(ready).values()))


@pytest.mark.parametrize(
    ("schema", "notes"),
    [
        ("schema-0001", ["3 of the base 'tiny' (abababababab)", "1 of the base 'other' (cdcdcdcdcdcd)"]),
        ("schema-0002", ["5 of the base 'tiny' (abababababab)"]),
    ],
)
def test_the_versions_of_an_older_release_are_noted(schema: str, notes: list[str], run: Any, home: Path) -> None:
    shutil.copytree(DATA / schema, home)
    assert run("db", "upgrade").code == 0
    texts = [f"versions stored under the fingerprint of an older release: {text}; they go on loading" for text in notes]
    result = run("verify")
    assert (result.code, result.out) == (0, "")
    *noted, last = result.err.splitlines()
    assert noted == texts
    assert last.endswith(": no problems")
    report = run("verify", "--json").json
    assert (report["problems"], report["notes"]) == ([], texts)


@pytest.mark.parametrize("schema", ["schema-0001", "schema-0002"])
def test_show_prints_both_fingerprints(schema: str, run: Any, home: Path) -> None:
    shutil.copytree(DATA / schema, home)
    assert run("db", "upgrade").code == 0
    with Registry(home) as registry:
        old = registry.versions(base="abab")[0]
        new = Base(**vars(old.base) | {"fingerprint": "3f" * 32, "former_fingerprint": old.base.fingerprint})
        registry.add_version(
            "new",
            files={"a": b"a"},
            task=old.task,
            method=old.method,
            config=old.config,
            base=new,
            max_length=8,
            parameters=1,
        )
    assert f"fingerprint  {'ab' * 32}\n" in run("show", old.ref).out
    shown = " ".join(run("show", "new").out.split())
    assert f"fingerprint {'3f' * 32} (formerly {'ab' * 32})" in shown
    for prefix in ("abab", "3f3f"):
        listed = [version["ref"] for version in run("list", "--all", "--base", prefix, "--json").json]
        assert {"new@1", old.ref} <= set(listed)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_found(damage: Callable[[Path], None], run: Any, mine: Path) -> None:
    path = stored(mine)
    damage(path)
    result = run("verify")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert result.err.endswith("1 problem\n")
    digest = path.parent.name + path.name
    (row,) = result.lines[2:]
    assert row.startswith(digest)
    assert "it belongs to sst2@2 (adapter.safetensors)" in row
    (problem,) = run("verify", "--json").json["problems"]
    assert problem["subject"] == digest
    assert problem["text"] in row
    assert problem["advice"] == "registry verify --repair --from …"
    assert "\ntry: registry verify --repair --from …\n" in f"\n{result.err}"


def test_swapped_files_are_both_found(run: Any, mine: Path) -> None:
    one, other = stored(mine, "sst2@1"), stored(mine, "sst2@2")
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    problems = run("verify", "--json").json["problems"]
    assert {problem["subject"] for problem in problems} == {path.parent.name + path.name for path in (one, other)}


def test_a_file_of_several_versions_is_one_problem(run: Any, mine: Path) -> None:
    missing(stored(mine, "sst2@3", "adapter_config.json"))
    (problem,) = run("verify", "--json").json["problems"]
    for ref in ("sst2@3", "cola@1", "mix@1"):
        assert f"{ref} (adapter_config.json)" in problem["text"]


@pytest.mark.parametrize(
    ("statement", "subject", "said"),
    [
        ("UPDATE version SET config = '{}' WHERE number = 2", "sst2@2", "config"),
        ("UPDATE version SET method = 'lora' WHERE number = 3", "sst2@3", "method"),
        ("UPDATE version SET max_length = 9 WHERE number = 2", "sst2@2", "max_length"),
        ("UPDATE version SET manifest = '{}' WHERE number = 2", "sst2@2", "its manifest has the sha256"),
        ("UPDATE version SET size = size + 1 WHERE number = 2", "sst2@2", "its row says"),
        ("UPDATE version SET score = 0.99 WHERE number = 2", "sst2@2", "its score is 0.99, but its "),
        ("UPDATE version SET task_name = 'cola' WHERE number = 2", "sst2@2", "cola"),
        (
            "UPDATE adapter SET last_number = 1 WHERE name = 'sst2'",
            "sst2",
            "its last number is 1, but it has a version of number 3",
        ),
        ("UPDATE alias SET version_id = 4 WHERE name = 'production'", "sst2@production", "another adapter"),
        ("DELETE FROM version_file WHERE version_id = 2", "sst2@2", "files"),
        ("DELETE FROM metric_point WHERE step = 7", "run:", "there are 49 points"),
    ],
    ids=lambda value: value if value.startswith(("UPDATE", "DELETE")) else "",
)
def test_rows_that_contradict_are_found(statement: str, subject: str, said: str, *, run: Any, mine: Path) -> None:
    execute_sql(mine, statement)
    result = run("verify", "--json")
    assert result.code == 1
    found = result.json["problems"]
    assert [item for item in found if item["subject"].startswith(subject) and said in item["text"]], found


def test_a_row_without_its_version_is_found(run: Any, mine: Path) -> None:
    execute_sql(mine, "PRAGMA foreign_keys = OFF", "UPDATE version SET base_id = 99 WHERE number = 2")
    result = run("verify", "--json")
    assert result.code == 1
    assert any(problem["subject"] == "database" for problem in result.json["problems"])


@pytest.fixture
def copies(mine: Path, run: Any, tmp_path: Path) -> dict[str, object]:
    """Good copies of everything, made before anything was damaged."""
    assert run("backup", tmp_path / "backup").code == 0
    assert run("export", "mix@1", tmp_path / "all.tar").code == 0
    shutil.copytree(mine, tmp_path / "other")
    return {
        "backup": tmp_path / "backup",
        "bundle": tmp_path / "all.tar",
        "home": tmp_path / "other",
        "store": tmp_path / "other" / "objects",
        "url": (tmp_path / "other" / "objects").as_uri(),
    }


@pytest.mark.parametrize("place", ["backup", "bundle", "home", "store", "url"])
def test_everything_is_repaired(place: str, run: Any, mine: Path, copies: dict[str, object]) -> None:
    before = objects(mine)
    for damage, ref in zip(DAMAGES[:5], ["sst2@1", "sst2@2", "sst2@3", "cola@1", "mix@1"], strict=True):
        damage(stored(mine, ref))
    assert len(run("verify", "--json").json["problems"]) == 5
    result = run("verify", "--repair", "--from", copies[place])
    assert result.code == 0, result.err
    assert result.err.count("repaired: ") == 5
    assert result.err.endswith("no problems\n")
    assert objects(mine) == before
    assert run("verify").code == 0


def test_a_bad_copy_is_never_taken(run: Any, mine: Path, copies: dict[str, object]) -> None:
    """The second place goes where the first has none or a damaged one."""
    before = objects(mine)
    for home in (mine, Path(str(copies["home"]))):
        flipped(stored(home, "sst2@1"))
        missing(stored(home, "sst2@2"))
    left = run("verify", "--repair", "--from", copies["home"], "--json")
    assert left.code == 1
    assert (len(left.json["problems"]), left.json["repaired"]) == (2, [])
    both = run("verify", "--repair", "--from", copies["home"], "--from", copies["backup"], "--json")
    assert both.code == 0
    assert (both.json["problems"], len(both.json["repaired"])) == ([], 2)
    assert objects(mine) == before


def test_what_cannot_be_repaired_stays_a_problem(run: Any, mine: Path, copies: dict[str, object]) -> None:
    flipped(stored(mine))
    execute_sql(mine, "UPDATE version SET max_length = 9 WHERE number = 2")
    result = run("verify", "--repair", "--from", copies["backup"])
    assert result.code == 1
    assert result.err.count("repaired: ") == 1
    assert result.err.endswith("1 problem\n")
    assert [row.split()[0] for row in result.lines[2:]] == ["sst2@2"]


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--repair"], "--from PLACE", 2),
        (["--from", "backup"], "--from PLACE", 2),
        (["--repair", "--from"], "--from", 2),
        (["sst2"], "sst2", 2),
        (["--repair", "--from", "nosuch"], "'nosuch' does not exist", 1),
        (["--repair", "--from", "letter"], "'letter' is not a bundle", 1),
        (["--repair", "--from", "nosuch://bucket"], "nosuch", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(
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
    flipped(stored(mine))
    before = objects(mine)
    result = run("verify", *arguments)
    result.refused(said, code=code)
    assert result.out == ""
    assert objects(mine) == before
