"""registry history: points and summaries, as tables, JSON, CSV and pictures."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry

PNG = b"\x89PNG\r\n\x1a\n"


def test_points(run: Any, trained: Path) -> None:
    points = run("history", "sst2", "--metric", "train/loss", "--json", home=trained).json
    assert [point["step"] for point in points] == [1, 2]
    assert [point["epoch"] for point in points] == [0.5, 1.0]
    assert all(0 < point["value"] < 10 for point in points)
    header, _, *rows = run("history", "sst2", "--metric", "train/loss", home=trained).lines
    assert header.split() == ["step", "epoch", "train/loss"]
    assert [row.split() for row in rows] == [
        [str(point["step"]), f"{point['epoch']:.2f}", f"{point['value']:.4f}"] for point in points
    ]


def test_csv(run: Any, trained: Path) -> None:
    arguments = ["history", "sst2", "--metric", "train/loss"]
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--csv", home=trained).out)))
    points = run(*arguments, "--json", home=trained).json
    assert [{key: float(value) for key, value in row.items()} for row in rows] == points
    assert len(rows) == 2


def test_summaries(run: Any, trained: Path) -> None:
    summaries = run("history", "mrpc", "--json", home=trained).json
    assert [summary["key"] for summary in summaries] == [
        "eval/accuracy",
        "eval/f1",
        "eval/loss",
        "train/learning_rate",
        "train/loss",
        "train/samples_per_second",
    ]
    loss = next(summary for summary in summaries if summary["key"] == "train/loss")
    points = run("history", "mrpc", "--metric", "train/loss", "--json", home=trained).json
    assert (loss["count"], loss["max"]) == (2, max(point["value"] for point in points))
    assert [row.split()[0] for row in run("history", "mrpc", home=trained).lines[2:]] == [s["key"] for s in summaries]


def test_a_run_by_its_uid(run: Any, trained: Path) -> None:
    uid = run("show", "sst2@1", "--json", home=trained).json["run"]["uid"]
    of_version = run("history", "sst2@1", "--metric", "eval/accuracy", "--json", home=trained).json
    for ref in (f"run:{uid}", f"run:{uid[:8]}"):
        assert run("history", ref, "--metric", "eval/accuracy", "--json", home=trained).json == of_version
    run("history", "run:nosuch", home=trained).refused("nosuch", uid)
    run("history", "run:", home=trained).refused(f"try: registry --home {trained} runs")


def test_the_plot(run: Any, trained: Path) -> None:
    text = run("history", "sst2", "--metric", "train/loss", "--plot", home=trained).out
    assert "train/loss of sst2" in text
    assert any("⠀" <= character <= "⣿" for character in text)
    assert "step" in text


def test_the_picture(run: Any, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "loss.png"
    result = run("history", "sst2", "--metric", "train/loss", "--png", path, home=trained)
    assert (result.code, result.out) == (0, "")
    assert str(path) in result.err
    content = path.read_bytes()
    assert content.startswith(PNG)
    width, height = (int.from_bytes(content[start : start + 4]) for start in (16, 20))
    assert (width, height) == (960, 540)
    assert len(content) > 5000
    both = run("history", "sst2", "--metric", "train/loss", "--png", path, "--json", home=trained)
    assert len(both.json) == 2


def test_a_picture_that_cannot_be_written(run: Any, trained: Path, tmp_path: Path) -> None:
    arguments = ("history", "sst2", "--metric", "train/loss", "--png")
    run(*arguments, tmp_path / "no" / "loss.png", home=trained).refused("loss.png")
    run(*arguments, tmp_path, home=trained).refused(code=2)


@pytest.mark.parametrize("flag", [["--plot"], ["--csv"], ["--png", "x.png"]])
def test_what_draws_needs_a_metric(flag: list[str], run: Any, trained: Path) -> None:
    run("history", "sst2", *flag, home=trained).refused("--metric", "eval/accuracy", code=2)


def test_an_unknown_metric_lists_those_there_are(run: Any, trained: Path) -> None:
    run("history", "sst2", "--metric", "eval/acuracy", home=trained).refused("eval/accuracy", "train/loss")
    run("history", "sst2", "--metric", "a b", home=trained).refused("a b")


def test_values_that_are_no_numbers(run: Any, own: Path, tmp_path: Path) -> None:
    """NaN and the infinities have words in JSON, stay themselves in CSV, and break no picture."""
    with Registry(own) as registry:
        version = registry.version("sst2")
        recorder = registry.start_run(
            "odd", task="sst2", method="seq_bn", base=version.base, settings={}, data={}, environment={}, seed=0
        )
        with recorder:
            for step, value in enumerate((math.nan, math.inf, -math.inf), start=1):
                recorder.log({"train/loss": value}, step=step)
    metric = (f"run:{recorder.uid}", "--metric", "train/loss")
    result = run("history", *metric, "--json")
    assert [point["value"] for point in json.loads(result.out, parse_constant=pytest.fail)] == [
        "NaN",
        "Infinity",
        "-Infinity",
    ]
    rows = list(csv.DictReader(io.StringIO(run("history", *metric, "--csv").out)))
    assert [float(row["value"]) for row in rows][1:] == [math.inf, -math.inf]
    assert math.isnan(float(rows[0]["value"]))
    assert run("history", *metric).code == 0
    assert run("history", f"run:{recorder.uid}").code == 0
    plot = run("history", *metric, "--plot")
    assert plot.code == 0
    assert "3 points" in plot.err
    assert run("history", *metric, "--png", tmp_path / "odd.png").code == 0
    assert (tmp_path / "odd.png").read_bytes().startswith(PNG)


def test_a_run_without_points(run: Any, own: Path) -> None:
    with Registry(own) as registry:
        base = registry.version("sst2").base
        with registry.start_run(
            "odd", task="sst2", method="seq_bn", base=base, settings={}, data={}, environment={}, seed=0
        ) as recorder:
            pass
    assert run("history", f"run:{recorder.uid}", "--json").out == "[]\n"
    run("history", f"run:{recorder.uid}", "--metric", "train/loss").refused("train/loss")
