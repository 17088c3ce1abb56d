"""The site: every page is in it, the reference has every command and option, and README stays short."""

import importlib.util
import re
import runpy

import click
import pytest
from test_architecture import ROOMS

from pointsman.cli.main import COMMANDS, cli

from examples import PAGES, ROOT

FEWEST_PAGES = 20
FEWEST_BENCHES = 32


def test_every_page_is_in_the_navigation() -> None:
    named = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = [page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.name != "README.md"]
    assert sorted(named) == sorted(there)
    assert len(named) >= FEWEST_PAGES


def test_every_bench_is_on_the_page_of_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    benches = runpy.run_path(str(ROOT / "tests" / "benchmarks" / "run.py"))["BENCHES"]
    page = (ROOT / "docs" / "explanation" / "figures.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| bench \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.M)
    rows = [line.split("|")[1] for table in tables for line in table.splitlines()]
    documented = {name for row in rows for name in re.findall(r"`([\w-]+)`", row.split(":")[0])}
    assert documented <= benches.keys()
    assert set(re.findall(r"`([\w-]+)`", page)) >= benches.keys()
    assert len(benches) >= FEWEST_BENCHES


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


@pytest.fixture(scope="module")
def reference() -> str:
    """What the page of the command line includes."""
    spec = importlib.util.spec_from_file_location("commands", ROOT / "docs" / "reference" / "commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return "\n".join(module.pages())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_every_command_and_option(name: str, reference: str) -> None:
    _, heading, rest = reference.partition(f"### registry {name}\n")
    assert heading
    text = re.split(r"^#{2,3} ", rest, flags=re.M)[0]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    options = [option for each in commands for parameter in each.params for option in parameter.opts]
    assert all(option in text for option in options if option.startswith("-"))


def test_contributing_has_the_table_of_rooms() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = re.search(r"^\| registry/ \| sdk/ \|\n\|---\|---\|\n((?:\|.*\|\n)+)", text, re.M)
    assert table is not None
    cells = [[re.findall(r"`([\w.]+)`", cell) for cell in line.split("|")[1:3]] for line in table[1].splitlines()]
    for column, layer in enumerate(ROOMS):
        assert tuple(tuple(row[column]) for row in cells if row[column]) == ROOMS[layer]


def test_the_design_names_every_room() -> None:
    text = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")
    rooms = {room.partition(".")[0] for lines in ROOMS.values() for line in lines for room in line}
    assert len(rooms) >= 20
    assert {room for room in rooms if f"`{room}`" not in text} == set()
