"""The program as a whole: help, versions, exit codes, escape codes, and how fast it starts."""

import os
import pty
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest

from pointsman.cli import main as program

HEAVY = {"torch", "transformers", "adapters", "datasets", "sklearn", "matplotlib"}


def commands(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    """Every command under a group, as its words."""
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, *path, name)
    return found


COMMANDS = commands(program.cli)


def test_help_lists_every_command(run: Any) -> None:
    result = run("--help")
    assert result.code == 0
    assert len(program.COMMANDS) >= 12
    listed = [line.split()[0] for line in result.out.partition("Commands:")[2].splitlines() if line.strip()]
    assert [name for name in listed if name in program.COMMANDS] == list(program.COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...], run: Any) -> None:
    for flag in ("--help", "-h"):
        result = run(*words, flag)
        assert result.code == 0
        assert result.out.startswith(f"Usage: registry {' '.join(words)}")
        assert result.err == ""


def test_every_module_of_a_command_is_offered() -> None:
    folder = Path(program.__file__).parent
    helpers = {"__init__", "main", "options", "output"}
    assert {path.stem for path in folder.glob("*.py")} - helpers == set(program.COMMANDS)


def test_version(run: Any) -> None:
    assert run("--version").out == f"pointsman {version('pointsman')}\n"


@pytest.mark.parametrize("name", ["registry", "pointsman"])
def test_the_installed_script(name: str, tmp_path: Path) -> None:
    script = Path(sys.executable).parent / name
    result = subprocess.run(
        [script, "--home", tmp_path / "home", "list", "--json"], capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")
    assert f"Usage: {name} " in subprocess.run([script, "-h"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lost"], "lost"),
        (["list", "--no-such"], "--no-such"),
        (["show"], "REF"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--limit", "many"], "--limit"),
        (["db", "lost"], "lost"),
        (["history", "sst2", "--csv", "--json", "--metric", "train/loss"], "exclude each other"),
        (["train", "sst2"], "--base"),
        (["train", "sst2", "--base", "x", "--epochs", "two"], "--epochs"),
        (["train", "sst2", "--base", "x", "--precision", "fp8"], "bf16"),
        (["train", "sst2", "--base", "x", "--set", "reduction_factor"], "FIELD=VALUE"),
        (["train", "sst2", "--base", "x", "--set", "=8"], "FIELD=VALUE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_exit_2(arguments: list[str], said: str, run: Any) -> None:
    run(*arguments).refused(said, code=2)


def test_no_command_shows_the_help(run: Any) -> None:
    result = run()
    assert result.code == 2
    assert "Commands:" in result.out + result.err


def test_home_wins_over_the_environment(run: Any, home: Path, tmp_path: Path) -> None:
    assert run("list", home=tmp_path / "other").code == 0
    assert (tmp_path / "other" / "registry.db").exists()
    assert not home.exists()
    assert run("list").code == 0
    assert (home / "registry.db").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["list", "sst2", "--json", "--sort", "eval/accuracy"],
        ["show", "sst2"],
        ["history", "sst2"],
        ["history", "sst2", "--metric", "train/loss", "--csv"],
        ["runs"],
        ["tasks"],
        ["methods"],
        ["alias", "sst2@1", "old"],
        ["export", "sst2", "files"],
        ["train", "--help"],
        ["predict", "--help"],
    ],
    ids=" ".join,
)
def test_a_command_without_a_model_imports_none(arguments: list[str], own: Path, tmp_path: Path) -> None:
    code = (
        "import atexit, sys; from pointsman.cli.main import main\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = set(result.stderr.split())
    assert f"pointsman.cli.{arguments[0]}" in loaded
    assert not loaded & HEAVY


def on_a_terminal(home: Path, **environment: str) -> str:
    """What the program writes to a terminal that knows colours."""
    leader, follower = pty.openpty()
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [Path(sys.executable).parent / "registry", "--home", home, "show", "sst2"],
        stdout=follower,
        stderr=follower,
        stdin=subprocess.DEVNULL,
        env={**plain, "TERM": "xterm-256color", **environment},
    )
    os.close(follower)
    written = b""
    try:
        while piece := os.read(leader, 65_536):
            written += piece
    except OSError:  # the end of a terminal, on Linux
        pass
    os.close(leader)
    assert process.wait() == 0
    return written.decode()


def test_escape_codes_are_for_terminals_that_want_them(trained: Path) -> None:
    styled, plain = on_a_terminal(trained), on_a_terminal(trained, NO_COLOR="1")
    assert "\x1b[" in styled
    assert "\x1b" not in plain
    assert "eval/accuracy" in plain


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "sst2"], ["history", "sst2", "--metric", "train/loss", "--plot"], ["tasks"]]
)
def test_pipes_get_no_escape_codes(arguments: list[str], run: Any, trained: Path) -> None:
    result = run(*arguments, home=trained)
    assert result.code == 0
    assert "\x1b" not in result.out + result.err
