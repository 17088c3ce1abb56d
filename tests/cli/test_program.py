"""The program as a whole: help, versions, exit codes, escape codes, and how fast it starts."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest

from pointsman.cli import main as program
from pointsman.registry import Registry

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
    assert len(program.COMMANDS) >= 22
    sections = dict.fromkeys(program.SECTIONS, "")
    for section in sections:
        sections[section] = result.out.partition(f"\n{section}:\n")[2].partition("\n\n")[0]
    assert {section: tuple(line.split()[0] for line in text.splitlines()) for section, text in sections.items()} == (
        program.SECTIONS
    )
    assert "..." not in "".join(sections.values())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...], run: Any) -> None:
    for flag in ("--help", "-h"):
        result = run(*words, flag)
        assert result.code == 0
        assert result.out.startswith(f"Usage: registry {' '.join(words)}")
        assert result.err == ""
        # On a terminal of the usual width, what is laid out by hand would be torn.
        assert [line for line in result.lines if len(line) > 80] == []


def test_every_module_of_a_command_is_offered() -> None:
    folder = Path(program.__file__).parent
    helpers = {
        "__init__",
        "advice",
        "best",
        "inputs",
        "lineage",
        "listening",
        "main",
        "options",
        "output",
        "pictures",
        "progress",
        "runtime",
        "start",
        "summaries",
        "tables",
        "train_options",
    }
    assert {path.stem.rstrip("_") for path in folder.glob("*.py") if path.stem not in helpers} == set(program.COMMANDS)


def test_version(run: Any) -> None:
    assert run("--version").out == f"pointsman {version('pointsman')}\n"


@pytest.mark.parametrize("name", ["registry", "pointsman"])
def test_the_installed_script(name: str, tmp_path: Path) -> None:
    script = Path(sys.executable).parent / name
    result = subprocess.run(
        [script, "list", "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "POINTSMAN_HOME": str(tmp_path / "home")},
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
    assert all(f"\n{section}:\n" in result.out + result.err for section in program.SECTIONS)


def test_home_wins_over_the_environment(run: Any, home: Path, tmp_path: Path) -> None:
    Registry(tmp_path / "other").close()
    assert run("list", home=tmp_path / "other").code == 0
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
        ["history", "sst2", "--metric", "train/loss", "--plot"],
        ["compare", "sst2@1", "sst2@2"],
        ["list", "--where", "best(eval/accuracy) > 0"],
        ["log"],
        ["alias", "sst2@1", "old"],
        ["tag", "sst2", "owner=ann"],
        ["note", "sst2", "good"],
        ["rm", "sst2@1"],
        ["export", "sst2", "files"],
        ["export", "sst2", "sst2.tar"],
        ["verify"],
        ["gc", "--apply"],
        ["backup", "backup"],
        ["doctor"],
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


def test_escape_codes_are_for_terminals_that_want_them(trained: Path, on_a_terminal: Any) -> None:
    show = ("--home", trained, "show", "sst2")
    styled, plain = on_a_terminal(*show), on_a_terminal(*show, NO_COLOR="1")
    assert "\x1b[" in styled
    assert "\x1b" not in plain
    assert "eval/accuracy" in plain


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("arguments", [["list", "--all"], ["list", "--all", "--sort", "score"], ["runs"], ["log"]])
def test_no_column_is_left_out(arguments: list[str], width: int, run: Any, ready: Path, on_a_terminal: Any) -> None:
    """However narrow the terminal is; and no number is torn."""
    text = on_a_terminal("--home", ready, *arguments, NO_COLOR="1", COLUMNS=str(width))
    lines = text.splitlines()
    headers = run(*arguments, home=ready).lines[0].split()
    assert lines[0].split() == headers
    assert all(len(line) <= max(width, len(lines[0])) for line in lines)
    if arguments[0] == "list":
        assert {"0.9000", "product"} <= {word[:7] for word in text.split()}


@pytest.mark.parametrize(
    "arguments", [["list"], ["show", "sst2"], ["history", "sst2", "--metric", "train/loss", "--plot"], ["tasks"]]
)
def test_pipes_get_no_escape_codes(arguments: list[str], run: Any, trained: Path) -> None:
    result = run(*arguments, home=trained)
    assert result.code == 0
    assert "\x1b" not in result.out + result.err


_WAITING = """
import signal, sys
from pointsman.cli import main
from pointsman.registry.database import waiting

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
waiting.SLICE = 0.05
clock = waiting.time.monotonic
waiting.time.monotonic = lambda: print("asked", flush=True) or clock()
sys.argv[0] = "registry"
main.main()
"""


def test_ctrl_c_while_the_database_is_busy_names_the_cause(home: Path) -> None:
    Registry(home).close()
    database = home / "registry.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with subprocess.Popen(
            [sys.executable, "-c", _WAITING, "--home", str(home), "doctor"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["asked\n"] * 2
            process.send_signal(signal.SIGINT)
            err = process.communicate(timeout=60)[1]
    said = f"error: interrupted while waiting for another process that writes to the database {database}\n"
    assert (process.returncode, err.lstrip()) == (1, said)  # click breaks the line of ^C
