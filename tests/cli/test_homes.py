"""``--home``: a command that only looks makes nothing where the path is mistyped."""

from pathlib import Path
from typing import Any

import pytest

READING = [
    ["list"],
    ["runs", "--json"],
    ["show", "sst2"],
    ["history", "sst2"],
    ["compare", "sst2@1", "sst2@2"],
    ["log"],
    ["alias", "sst2", "production"],
    ["tag", "sst2", "owner=ann"],
    ["note", "sst2", "good"],
    ["rm", "sst2@1"],
    ["export", "sst2", "sst2.tar"],
    ["verify"],
    ["gc", "--apply"],
    ["backup", "backup"],
    ["db", "upgrade"],
    ["predict", "sst2", "a film"],
    ["compose", "both", "stack(sst2, cola)"],
]


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
@pytest.mark.parametrize("place", ["typo", "typo/below", "empty"])
def test_a_mistyped_home_is_refused_and_not_made(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    run(*command, home=tmp_path / place).refused(
        f"there is no registry yet at {tmp_path / place / 'registry.db'}: name the home of an existing one"
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_doctor_says_so_too(run: Any, tmp_path: Path) -> None:
    outcome = run("doctor", home=tmp_path / "typo")
    assert outcome.code == 1
    assert f"problem: there is no registry yet at {tmp_path / 'typo' / 'registry.db'}" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_the_home_of_the_user_is_made_on_first_use(run: Any, home: Path) -> None:
    assert run("list").code == 0
    assert (home / "registry.db").exists()


def test_an_import_makes_the_home_it_is_told(run: Any, mine: Path, tmp_path: Path) -> None:
    assert run("export", "sst2@1", tmp_path / "one.tar").code == 0
    assert run("import", tmp_path / "one.tar", home=tmp_path / "new").code == 0
    assert [version["ref"] for version in run("list", "--json", home=tmp_path / "new").json] == ["sst2@1"]
