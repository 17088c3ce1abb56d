"""A registry never loses to one bad row: whatever a disk does to a value, no command ends in a traceback."""

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from faults import DAMAGED, columns, flipped, loosen, places, read, write

from pointsman.cli.main import cli
from pointsman.registry import PointsmanError, Registry

QUERY = "config.r = 8 or settings.lr > 0 or tags.owner = ann or created > 7d ago or alias = production"
RUN_QUERY = "data.source = sample and best(train/loss) < 9 and status = finished"
READING = [
    ["list"],
    ["list", "--all", "--json"],
    ["list", "--csv", "--all", "--sort", "created"],
    ["list", "--where", QUERY],
    ["list", "--sort", "eval/accuracy", "--all"],
    ["show", "sst2"],
    ["show", "sst2@2", "--all"],
    ["show", "mix", "--tree"],
    ["show", "sst2@best", "--json"],
    ["history", "sst2@1"],
    ["history", "sst2@1", "--metric", "train/loss"],
    ["history", "sst2@1", "--metric", "eval/accuracy", "--points", "8", "--csv"],
    ["history", "sst2", "--metric", "eval/accuracy", "--versions"],
    ["runs"],
    ["runs", "--json"],
    ["runs", "--where", RUN_QUERY],
    ["compare", "sst2@1", "sst2@2", "cola"],
    ["log"],
    ["log", "sst2@2", "--json"],
    ["tag", "sst2@2"],
    ["note", "sst2@3"],
    ["gc"],
    ["doctor"],
    ["backup", "backup"],
    ["export", "mix@1", "mix.tar"],
    ["export", "sst2@1", "files"],
]


@pytest.fixture(scope="module")
def loose(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up home, with a database that takes any value in any column."""
    home = tmp_path_factory.mktemp("loose") / "home"
    shutil.copytree(ready, home)
    loosen(home / "registry.db")
    return home


@pytest.fixture
def bad(loose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to damage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return Path(shutil.copytree(loose, tmp_path / "bad"))


def call(home: Path, *arguments: str) -> Result:
    """Run a command in this process; an error that is none of ours is a traceback for a user."""
    for name in ("backup", "files"):
        shutil.rmtree(name, ignore_errors=True)
    Path("mix.tar").unlink(missing_ok=True)
    result = CliRunner().invoke(cli, ["--home", str(home), *arguments])
    error = result.exception
    assert error is None or isinstance(error, SystemExit | PointsmanError), (arguments, repr(error))
    return result


def test_every_column_damaged_in_every_way(bad: Path, loose: Path) -> None:
    """Each column of each table in one of the ways, and with one bit flipped; some commands each, and verify."""
    chance = random.Random(20)
    path, count = bad / "registry.db", 0
    for number, place in enumerate(places(loose / "registry.db", seed=1)):
        before = read(path, place)
        ways = dict([list(DAMAGED.items())[number % len(DAMAGED)], ("flipped", flipped(before, chance))])
        for way, value in ways.items():
            if not write(path, place, value):
                continue
            count += 1
            for command in chance.sample(READING, 2):
                call(bad, *command)
            verified = call(bad, "verify", "--json")
            told = verified.exit_code == 1
            # A value that the column may hold is no damage; what is no text, no number or no document always is.
            if way in ("no text", "a blob") and place.column != "id":
                assert told, (place, way)
            shutil.copy(loose / "registry.db", path)
    assert count > 150
    assert sum(map(len, columns(path).values())) > 90


def test_bits_flipped_in_the_file(bad: Path, loose: Path) -> None:
    """Anywhere in the pages, also in what holds rows together."""
    chance = random.Random(7)
    path = bad / "registry.db"
    sound = path.read_bytes()
    for _ in range(20):
        content = bytearray(sound)
        for _ in range(3):
            content[chance.randrange(100, len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        for command in (*chance.sample(READING, 3), ["verify"]):
            call(bad, *command)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("config", '{"r": 8, "drop', 'config is not a JSON object: \'{"r": 8, "drop\''),
        ("task", "[]", "task is not a JSON object: '[]'"),
        ("task", "{}", "task has no name"),
        ("created_at", "yesterday", "created_at is not a time: 'yesterday'"),
        ("size", "large", "size is not a whole number: 'large'"),
        ("method", memoryview(b"lor\xe1"), "method is not valid UTF-8: 'lor\\ufffd'"),
        ("base_id", 99, "base.fingerprint is missing"),
        ("kind", "adaptes", "kind 'adaptes' is unknown"),
    ],
)
def test_a_damaged_version_is_left_out_and_named(bad: Path, run: Any, column: str, value: object, said: str) -> None:
    with closing(sqlite3.connect(bad / "registry.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        kind = "CAST(? AS TEXT)" if isinstance(value, memoryview) else "?"
        connection.execute(f"UPDATE version SET {column} = {kind} WHERE id = 2", [value])
    listed = run("list", "--all", "--json", home=bad)
    assert [version["ref"] for version in listed.json] == ["cola@1", "mix@1", "sst2@1", "sst2@3"]
    assert f"left out: a row of sst2@2 is damaged: {said}" in listed.err
    assert "verify" in listed.err.splitlines()[-1]
    assert said in run("show", "sst2@2", home=bad).refused("a row of sst2@2 is damaged")
    assert run("show", "sst2@1", home=bad).code == 0
    assert run("list", "--where", "config.reduction_factor = 4 or config.r = 8", home=bad).code == 0
    verified = run("verify", "--json", home=bad)
    assert verified.code == 1
    subjects = {problem["subject"] for problem in verified.json["problems"]}
    assert subjects <= {"sst2@2", "database"}
    doctor = run("doctor", home=bad)
    assert doctor.code == 1


def test_a_damaged_run_is_left_out_and_named(bad: Path, run: Any) -> None:
    with Registry(bad) as registry:
        uid = registry.version("sst2@2").run
    with closing(sqlite3.connect(bad / "registry.db", isolation_level=None)) as connection:
        connection.execute("UPDATE run SET settings = '{' WHERE uid = ?", [uid])
    listed = run("runs", "--json", home=bad)
    assert len(listed.json) == 2
    assert f"left out: a row of run:{uid} is damaged: settings is not a JSON object: '{{'" in listed.err
    assert len(run("runs", "--where", "settings.lr > 0", "--json", home=bad).json) == 2
    run("show", "sst2@2", home=bad).refused(f"a row of run:{uid} is damaged")
    assert f"run:{uid}" in run("verify", home=bad).out
    assert f"rows of run:{uid} are damaged" in run("doctor", home=bad).err


def test_a_damaged_line_of_the_log_stays_in_it(bad: Path, run: Any) -> None:
    with closing(sqlite3.connect(bad / "registry.db", isolation_level=None)) as connection:
        connection.execute("UPDATE event SET details = '{' WHERE id = 1")
    listed = run("log", home=bad)
    assert "damaged: details is not a JSON object: '{'" in listed.out
    assert "verify" in listed.err


@pytest.mark.parametrize("table", ["tag", "alias", "event", "lineage", "metric_bucket", "version_metric"])
def test_a_missing_table_is_told_of(bad: Path, run: Any, table: str) -> None:
    with closing(sqlite3.connect(bad / "registry.db", isolation_level=None)) as connection:
        connection.execute(f"DROP TABLE {table}")
    said = f"the table {table} is missing: restore a backup"
    assert said in run("verify", home=bad).out
    assert said in run("doctor", home=bad).err
    for command in READING[::3]:
        call(bad, *command)


@pytest.mark.parametrize("column", ["version.note", "run.error", "base.former_fingerprint", "event.actor"])
def test_a_missing_column_is_told_of(bad: Path, run: Any, column: str) -> None:
    table, name = column.split(".")
    with closing(sqlite3.connect(bad / "registry.db", isolation_level=None)) as connection:
        connection.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    said = f"the table {table} lacks the column {name}: restore a backup"
    assert said in run("verify", home=bad).out
    assert said in run("doctor", home=bad).err
    for command in READING[::3]:
        call(bad, *command)


@pytest.mark.parametrize(("kind", "block"), [("fusion", "fuse"), ("composition", "stack")])
def test_a_fusion_whose_member_was_removed(mine: Path, run: Any, add_version: Any, kind: str, block: str) -> None:
    members = ["sst2@3", "cola@1"]
    with Registry(mine) as registry:
        made = add_version(
            registry,
            "made",
            kind=kind,
            config={"composition": {block: members}},
            parents=[("member", member) for member in members],
        )
    assert run("verify").code == 0
    assert run("rm", "cola@1", "--force").code == 0
    verified = run("verify", "--json")
    assert [(problem["subject"], problem["text"].partition(" (")[0]) for problem in verified.json["problems"]] == [
        (made.ref, "its member cola@1")
    ]
    assert "was removed: it cannot be loaded" in verified.json["problems"][0]["text"]
