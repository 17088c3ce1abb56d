"""The README tells of every command."""

from pathlib import Path

import pytest

from pointsman.cli.main import COMMANDS

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_shows_every_command(command: str) -> None:
    assert f"registry {command}" in README.read_text(encoding="utf-8")
