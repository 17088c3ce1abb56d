"""registry history --smooth: in numbers, in files and in the terminal."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry
from pointsman.registry.metrics.smoothing import smooth

LOSS = ["--metric", "train/loss"]
ACCURACY = ["--metric", "eval/accuracy"]


def values(points: list[dict[str, Any]]) -> list[float]:
    return [float(point["value"]) for point in points]


def test_smoothed_points(run: Any, ready: Path) -> None:
    plain = run("history", "sst2@1", *LOSS, "--json", home=ready).json
    smoothed = run("history", "sst2@1", *LOSS, "--smooth", "0.9", "--json", home=ready).json
    assert [list(point) for point in smoothed] == [["step", "value", "epoch", "wall_time", "smoothed"]] * 50
    assert [{key: point[key] for key in point if key != "smoothed"} for point in smoothed] == plain
    assert [point["smoothed"] for point in smoothed] == smooth(values(plain), 0.9)
    rows = list(
        csv.DictReader(io.StringIO(run("history", "sst2@1", *LOSS, "--smooth", "0.9", "--csv", home=ready).out))
    )
    assert list(rows[0]) == ["step", "epoch", "value", "wall_time", "smoothed"]
    assert [float(row["smoothed"]) for row in rows] == [point["smoothed"] for point in smoothed]
    header, _, *lines = run("history", "sst2@1", *LOSS, "--smooth", "0.9", home=ready).lines
    assert header.split() == ["step", "epoch", "train/loss", "smoothed"]
    assert [line.split()[-1] for line in lines] == [f"{point['smoothed']:.4f}" for point in smoothed]


def test_several_are_smoothed_apart(run: Any, ready: Path) -> None:
    histories = run("history", "sst2@1", "sst2@2", *LOSS, "--smooth", "0.5", "--json", home=ready).json
    assert [history["ref"] for history in histories] == ["sst2@1", "sst2@2"]
    for history in histories:
        points = history["points"]
        assert [point["smoothed"] for point in points] == smooth(values(points), 0.5)


def test_across_versions(run: Any, ready: Path) -> None:
    points = run("history", "sst2", *ACCURACY, "--versions", "--smooth", "0.5", "--json", home=ready).json
    assert [point["smoothed"] for point in points] == smooth([0.7, 0.9, 0.8], 0.5)
    header, *_ = run("history", "sst2", *ACCURACY, "--versions", "--smooth", "0.5", home=ready).lines
    assert header.split() == ["version", "eval/accuracy", "least", "greatest", "made", "smoothed"]


@pytest.fixture
def gaps(mine: Path) -> str:
    """A run of 200 points, one of them NaN and one infinite."""
    with Registry(mine) as registry:
        base = registry.version("sst2@1").base
        with registry.start_run(
            "gaps", task="sst2", method="seq_bn", base=base, settings={}, data={}, environment={}, seed=0
        ) as recorder:
            for step in range(200):
                value = {50: math.nan, 120: -math.inf}.get(step, math.sin(step))
                recorder.log({"train/loss": value}, step=step)
    return f"run:{recorder.uid}"


def test_gaps_stay_gaps(gaps: str, run: Any, tmp_path: Path) -> None:
    points = run("history", gaps, *LOSS, "--smooth", "0.9", "--json").json
    assert [point["step"] for point in points if point["smoothed"] is None] == [50, 120]
    assert [point["smoothed"] for point in points] == smooth(values(points), 0.9)
    rows = list(csv.DictReader(io.StringIO(run("history", gaps, *LOSS, "--smooth", "0.9", "--csv").out)))
    assert [int(row["step"]) for row in rows if row["smoothed"] == ""] == [50, 120]
    assert "2 points are not drawn" in run("history", gaps, *LOSS, "--smooth", "0.9", "--plot").err
    assert run("history", gaps, *LOSS, "--smooth", "0.9", "--png", tmp_path / "gaps.png").code == 0


def test_a_limit_moves_no_smoothed_value(gaps: str, run: Any) -> None:
    """Smoothed is the whole history, of which --points shows some."""
    every = {point["step"]: point for point in run("history", gaps, *LOSS, "--smooth", "0.9", "--json").json}
    few = run("history", gaps, *LOSS, "--smooth", "0.9", "--points", 20, "--json").json
    assert 2 < len(few) <= 20
    assert all(point == every[point["step"]] for point in few)


def test_files_show_the_raw_line_as_well(run: Any, ready: Path, tmp_path: Path) -> None:
    arguments = ["history", "sst2@1", "sst2@2", *LOSS]
    plain, smoothed = tmp_path / "plain.svg", tmp_path / "smoothed.svg"
    run(*arguments, "--svg", plain, home=ready)
    result = run(*arguments, "--smooth", "0.9", "--svg", smoothed, home=ready)
    assert result.err == f"100 points drawn in {smoothed}\n"
    assert smoothed.read_text().count('clip-path="') == plain.read_text().count('clip-path="') + 2
    assert smoothed.read_text().count("stroke-opacity: 0.25") == 2
    assert "stroke-opacity: 0.25" not in plain.read_text()


def test_the_terminal_shows_the_smoothed_line_alone(run: Any, ready: Path) -> None:
    def labels(*more: str) -> list[float]:
        lines = run("history", "sst2@1", *LOSS, "--plot", *more, home=ready).lines
        return [float(line.partition("┤")[0]) for line in lines if "┤" in line]

    points = run("history", "sst2@1", *LOSS, "--json", home=ready).json
    smoothed = [value for value in smooth(values(points), 0.9) if value is not None]
    assert min(labels()) == pytest.approx(min(values(points)), abs=5e-3)
    assert min(labels("--smooth", "0.9")) == pytest.approx(min(smoothed), abs=5e-3)
    assert "smoothed by 0.9" in run("history", "sst2@1", *LOSS, "--plot", "--smooth", "0.9", home=ready).out


@pytest.mark.parametrize("weight", ["0", "1", "-0.5", "1.5", "nan", "inf", "much", ""])
def test_a_weight_that_cannot_be(weight: str, run: Any, ready: Path) -> None:
    result = run("history", "sst2@1", *LOSS, "--smooth", weight, home=ready)
    result.refused(f"--smooth': '{weight}' is not a weight: write a number above 0 and below 1", code=2)


def test_smoothing_needs_a_metric(run: Any, ready: Path) -> None:
    run("history", "sst2@1", "--smooth", "0.9", home=ready).refused("--metric: eval/accuracy, train/loss", code=2)
