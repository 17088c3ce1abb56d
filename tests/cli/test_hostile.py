"""What people, files and errors say is printed so that no terminal, spreadsheet or reader of lines acts on it."""

import csv
import dataclasses
import io
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry

RED, TITLE, BELL = "\x1b[31m", "\x1b]0;mine\x07", "\x07"
CSI, BACKWARDS, HIDDEN = "\x9b31m", "\u202e", "\u200b"
HOSTILE = f"{RED}{TITLE}{BELL}{CSI}{BACKWARDS}{HIDDEN}\r\b\x7f"
ALLOWED = f"plain {BACKWARDS}{HIDDEN}\u2066text\u2028next"
"""What is text by the rules for tags and notes, and changes how a terminal shows what follows."""

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "-", "\t=1", "\r=1", "\n=1", "＝1"]


@pytest.fixture
def hostile(home: Path, add_version: Any, add_run: Any) -> Path:
    """A home with hostile text wherever text can be."""
    fields = {"settings": {"lr": HOSTILE}, "data": {"source": HOSTILE}, "environment": {"command": HOSTILE}}
    with Registry(home) as registry:
        plain = add_version(registry, "plain").base
        base = dataclasses.replace(plain, fingerprint="12" * 32, name=f"base{HOSTILE}")
        uid = add_run(registry, base=base, **fields)
        add_version(
            registry,
            files={"adapter.safetensors": b"hostile"},
            base=base,
            task={"name": "sst2", "description": HOSTILE, "text": [HOSTILE], "labels": [HOSTILE]},
            config={"reduction_factor": HOSTILE, HOSTILE: 1},
            method=f"m{HOSTILE}",
            run=uid,
            tags={"owner": ALLOWED},
            note=ALLOWED,
            parents=[(f"r{HOSTILE}", "plain@1")],
        )
        with (
            pytest.raises(RuntimeError),
            registry.start_run("broken", task="sst2", method="seq_bn", base=plain, seed=0, **fields),
        ):
            raise RuntimeError(f"it broke: {HOSTILE}\nsecond line")
    return home


def hidden(text: str) -> list[str]:
    """What a terminal would act on."""
    return [c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["list", "--csv"],
        ["list", "--json"],
        ["show", "sst2"],
        ["show", "sst2", "--json"],
        ["show", "sst2", "--tree"],
        ["show", "sst2", "--tree", "--json"],
        ["compare", "sst2", "plain"],
        ["compare", "sst2", "plain", "--csv"],
        ["compare", "sst2", "plain", "--json"],
        ["runs"],
        ["runs", "--json"],
        ["log"],
        ["log", "--json"],
        ["tag", "sst2"],
        ["tag", "sst2", "--json"],
        ["note", "sst2"],
        ["verify"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_nothing_that_a_terminal_acts_on(command: list[str], run: Any, hostile: Path) -> None:
    result = run(*command)
    assert result.code == 0, result.err
    assert hidden(result.out + result.err) == []


def test_a_row_is_a_line(run: Any, hostile: Path) -> None:
    """Errors of several lines are common; whoever reads a table line by line gets one a run."""
    rows = run("runs").lines[2:]
    assert len(rows) == 2
    assert rows[0].endswith("\\nsecond line")


def test_programs_get_what_was_said(run: Any, hostile: Path) -> None:
    """JSON escapes what it hides, and loses nothing."""
    shown = run("show", "sst2", "--json").json
    assert shown["note"] == shown["tags"]["owner"] == ALLOWED
    assert shown["config"]["reduction_factor"] == shown["run"]["settings"]["lr"] == HOSTILE
    assert HOSTILE in run("runs", "--json").json[0]["error"]


def test_a_name_in_a_file_name(run: Any, hostile: Path, tmp_path: Path) -> None:
    target = tmp_path / f"x{RED}{BACKWARDS}.tar"
    for command in (["export", "sst2", target], ["import", target], ["backup", tmp_path / f"b{RED}"]):
        result = run(*command)
        assert result.code == 0, result.err
        assert hidden(result.out + result.err) == []
    assert hidden(run("export", "sst2", target).refused("exists")) == []


@pytest.mark.parametrize("place", ["name", "task", "sort", "where"])
def test_what_is_asked_for_is_not_echoed(place: str, run: Any, hostile: Path) -> None:
    arguments = [HOSTILE] if place == "name" else [f"--{place}", HOSTILE]
    result = run("list", *arguments)
    assert result.code in (0, 1)
    assert "Traceback" not in result.err
    assert hidden(result.out + result.err) == []


@pytest.mark.parametrize(
    "command",
    [
        ["show"], ["history"], ["log"], ["alias"], ["tag"], ["note"], ["rm"], ["compare", "plain"], ["runs"],
        ["history", "plain", "--metric"], ["history", "plain", "--since"], ["import"], ["verify", "--repair", "--from"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_hostile_argument(command: list[str], run: Any, hostile: Path) -> None:
    result = run(*command, HOSTILE)
    assert result.code in (0, 1, 2)
    assert "Traceback" not in result.err
    assert hidden(result.out + result.err) == []


def test_cells_are_no_formulas(run: Any, home: Path, add_version: Any) -> None:
    """A cell of text that begins like one has a quote before it; numbers stay numbers, also those below zero."""
    config = {f"field{index}": text for index, text in enumerate(FORMULAS)}
    numbers = {"negative": -5, "small": -2.5e-07, "inside": "a=1", "none": None}
    with Registry(home) as registry:
        add_version(
            registry, config=config | numbers, metrics={"eval/loss": -0.25}, primary_metric="eval/loss", method="=m"
        )
    rows = list(csv.reader(io.StringIO(run("compare", "sst2", "sst2@1", "--csv").out)))
    cells = {row[0].removeprefix("config."): row[1] for row in rows}
    for name, text in config.items():
        assert cells[name] == (json.dumps(text)[1:-1] if text[0] in "\t\r" else f"'{text}")
    assert (cells["negative"], cells["small"], cells["inside"], cells["none"]) == ("-5", "-2.5e-07", "a=1", "")
    assert cells["metrics.eval/loss"] == "-0.25"
    (listed,) = csv.DictReader(io.StringIO(run("list", "--csv").out))
    assert (listed["method"], listed["score"]) == ("'=m", "-0.25")


def test_negative_points_stay_numbers(run: Any, home: Path, add_version: Any) -> None:
    values = [-1.5, float("-inf"), float("nan"), 2.0]
    with Registry(home) as registry:
        base = add_version(registry).base
        with registry.start_run(
            "odd", task="sst2", method="seq_bn", base=base, settings={}, data={}, environment={}, seed=0
        ) as recorder:
            for step, value in enumerate(values):
                recorder.log({"loss": value}, step=step)
    text = run("history", f"run:{recorder.uid}", "--metric", "loss", "--csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["value"] for row in rows] == ["-1.5", "-Infinity", "NaN", "2.0"]


def test_a_metric_is_no_formula_for_matplotlib(run: Any, mine: Path, tmp_path: Path) -> None:
    result = run("history", "sst2@1", "--metric", "train/loss", "--png", tmp_path / "$x$.png")
    assert result.code == 0
    assert (tmp_path / "$x$.png").exists()
