"""registry history: several histories side by side, windows of them, and pictures."""

import csv
import io
import math
import time
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry

LOSS = ["--metric", "train/loss"]
ACCURACY = ["--metric", "eval/accuracy"]
PNG = b"\x89PNG\r\n\x1a\n"


def steps(result: Any) -> list[int]:
    assert result.code == 0, result.err
    return [point["step"] for point in result.json]


def paths(svg: Path) -> int:
    """How many lines were drawn into a picture."""
    groups = ET.parse(svg).getroot().iter("{http://www.w3.org/2000/svg}g")
    axes = next(group for group in groups if group.get("id") == "axes_1")
    lines = [group for group in axes if group.get("id", "").startswith("line2d_")]
    return sum(any("clip-path" in child.attrib for child in line) for line in lines)


# Windows


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (["--from-step", "48"], [48, 49, 50]),
        (["--to-step", "3"], [1, 2, 3]),
        (["--from-step", "20", "--to-step", "22"], [20, 21, 22]),
        (["--from-step", "50", "--to-step", "50"], [50]),
        (["--from-step", "51"], []),
        (["--from-step", "9", "--to-step", "8"], []),
        (["--since", "1h ago"], list(range(1, 51))),
        (["--since", "1.5d"], list(range(1, 51))),
        (["--until", "1h ago"], []),
        (["--since", "2000-01-01", "--until", "2000-01-02T12:00"], []),
        (["--since", "2000-01-01T00:00+14:00", "--to-step", "2"], [1, 2]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_a_window(window: list[str], expected: list[int], run: Any, ready: Path) -> None:
    assert steps(run("history", "sst2@2", *LOSS, *window, "--json", home=ready)) == expected


def test_a_moment_between_two_points(run: Any, ready: Path) -> None:
    points = run("history", "sst2@2", *LOSS, "--json", home=ready).json
    moment = datetime.fromtimestamp(points[24]["wall_time"], UTC)
    since = run("history", "sst2@2", *LOSS, "--since", moment.isoformat(), "--json", home=ready)
    until = run("history", "sst2@2", *LOSS, "--until", moment.isoformat(), "--json", home=ready)
    assert steps(since) == [point["step"] for point in points if point["wall_time"] >= moment.timestamp()]
    assert steps(until) == [point["step"] for point in points if point["wall_time"] <= moment.timestamp()]


def test_a_time_without_a_zone_is_this_machines(run: Any, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = datetime.fromtimestamp(run("history", "sst2@2", *LOSS, "--json", home=ready).json[0]["wall_time"], UTC)
    before = (first - timedelta(minutes=1)).replace(tzinfo=None).isoformat()
    with monkeypatch.context() as patch:
        for zone, expected in (("UTC", 50), ("EAST-9", 50), ("WEST+9", 0)):
            patch.setenv("TZ", zone)
            time.tzset()
            assert len(steps(run("history", "sst2@2", *LOSS, "--since", before, "--json", home=ready))) == expected
    time.tzset()


def test_nothing_in_the_window_is_said(run: Any, ready: Path, tmp_path: Path) -> None:
    nothing = ["history", "sst2@2", *LOSS, "--from-step", "99"]
    for form in ([], ["--plot"], ["--svg", tmp_path / "none.svg"], ["--csv"]):
        result = run(*nothing, *form, home=ready)
        assert result.code == 0
        assert result.err.startswith("no points in this window\n")
    assert paths(tmp_path / "none.svg") == 0


@pytest.fixture
def long(mine: Path, add_run: Any) -> str:
    """A run of 5,000 points with one peak and one NaN."""
    with Registry(mine) as registry:
        version = registry.version("sst2@1")
        with registry.start_run(
            "long", task="sst2", method="seq_bn", base=version.base, settings={}, data={}, environment={}, seed=0
        ) as recorder:
            for step in range(5_000):
                value = {1_234: 99.0, 4_000: math.nan}.get(step, math.sin(step / 100))
                recorder.log({"train/loss": value}, step=step)
    return f"run:{recorder.uid}"


def test_few_points_keep_the_extremes(long: str, run: Any) -> None:
    every = run("history", long, *LOSS, "--json").json
    for limit in (8, 50, 400):
        few = run("history", long, *LOSS, "--points", limit, "--json").json
        assert len(few) <= limit
        assert all(point in every for point in few)
        assert (few[0], few[-1]) == (every[0], every[-1])
        assert {99.0, "NaN"} <= {point["value"] for point in few}
    window = steps(run("history", long, *LOSS, "--points", 20, "--from-step", 1_000, "--to-step", 2_000, "--json"))
    assert (window[0], window[-1], 1_234 in window) == (1_000, 2_000, True)
    assert len(run("history", long, *LOSS, "--points", 9_999, "--json").json) == 5_000


def test_a_picture_of_a_long_history_has_few_points(long: str, run: Any, tmp_path: Path) -> None:
    result = run("history", long, *LOSS, "--png", tmp_path / "long.png")
    drawn = int(result.err.split()[0])
    assert 500 < drawn <= 2_000
    fewer = run("history", long, *LOSS, "--png", tmp_path / "long.png", "--points", 100)
    assert int(fewer.err.split()[0]) <= 100
    more = run("history", long, *LOSS, "--png", tmp_path / "long.png", "--json")
    assert len(more.json) == 5_000


# Several


def test_points_of_several(run: Any, ready: Path) -> None:
    refs = ["sst2@1", "sst2@production"]
    arguments = ["history", *refs, *LOSS, "--from-step", "49"]
    alone = {ref: run("history", ref, *LOSS, "--from-step", "49", "--json", home=ready).json for ref in refs}
    assert run(*arguments, "--json", home=ready).json == [{"ref": ref, "points": alone[ref]} for ref in refs]
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--csv", home=ready).out)))
    assert [(row["ref"], int(row["step"]), float(row["value"])) for row in rows] == [
        (ref, point["step"], point["value"]) for ref in refs for point in alone[ref]
    ]
    header, _, *lines = run(*arguments, home=ready).lines
    assert header.split() == ["ref", "step", "epoch", "train/loss"]
    assert [line.split()[:2] for line in lines] == [[ref, str(step)] for ref in refs for step in (49, 50)]


def test_several_in_one_picture(run: Any, ready: Path, tmp_path: Path) -> None:
    uid = run("show", "cola", "--json", home=ready).json["run"]["uid"]
    refs = ["sst2@1", "sst2@2", f"run:{uid}"]
    png, svg = tmp_path / "l.png", tmp_path / "l.svg"
    result = run("history", *refs, *LOSS, "--png", png, "--svg", svg, home=ready)
    assert (result.code, result.out) == (0, "")
    assert result.err == f"150 points drawn in {png}\n150 points drawn in {svg}\n"
    assert png.read_bytes().startswith(PNG)
    assert paths(svg) == 3
    one = tmp_path / "one.svg"
    run("history", refs[0], *LOSS, "--svg", one, home=ready)
    assert paths(one) == 1
    first = svg.read_bytes()
    run("history", *refs, *LOSS, "--svg", svg, home=ready)
    assert svg.read_bytes() == first


def test_several_in_the_terminal_differ(run: Any, ready: Path) -> None:
    result = run("history", "sst2@1", "sst2@2", *LOSS, "--plot", home=ready)
    assert result.lines[-1] == "• sst2@1   x sst2@2"
    picture = "\n".join(result.lines[1:-3])
    assert picture.count("•") > 10
    assert picture.count("x") > 10
    assert all(len(line) <= 100 for line in result.lines)


def test_steps_are_whole_numbers(run: Any, ready: Path) -> None:
    axis = run("history", "sst2@1", *LOSS, "--plot", home=ready).lines[-3]
    assert [int(tick) for tick in axis.split()] == [1, 13, 25, 37, 50]
    versions = run("history", "sst2", *ACCURACY, "--versions", "--plot", home=ready).lines[-3]
    assert versions.split() == ["1", "2", "3"]


# Versions


def test_from_version_to_version(run: Any, ready: Path) -> None:
    points = run("history", "sst2", *ACCURACY, "--versions", "--json", home=ready).json
    assert [(point["number"], point["value"]) for point in points] == [(1, 0.7), (2, 0.9), (3, 0.8)]
    assert [point["max"] for point in points] == [pytest.approx(0.698), pytest.approx(0.898), None]
    rows = list(csv.DictReader(io.StringIO(run("history", "sst2", *ACCURACY, "--versions", "--csv", home=ready).out)))
    assert [(int(row["version"]), float(row["value"])) for row in rows] == [(1, 0.7), (2, 0.9), (3, 0.8)]
    header, _, *lines = run("history", "sst2", *ACCURACY, "--versions", home=ready).lines
    assert header.split() == ["version", "eval/accuracy", "least", "greatest", "made"]
    assert [line.split()[:4] for line in lines] == [
        ["sst2@1", "0.7000", "0.6000", "0.6980"],
        ["sst2@2", "0.9000", "0.8000", "0.8980"],
        ["sst2@3", "0.8000", "-", "-"],
    ]


def test_versions_of_several_adapters(run: Any, ready: Path, tmp_path: Path) -> None:
    arguments = ["history", "sst2", "cola", *ACCURACY, "--versions"]
    found = run(*arguments, "--json", home=ready).json
    assert [(of["ref"], [point["number"] for point in of["points"]]) for of in found] == [
        ("sst2", [1, 2, 3]),
        ("cola", [1]),
    ]
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--csv", home=ready).out)))
    assert [(row["ref"], row["version"]) for row in rows] == [
        ("sst2", "1"),
        ("sst2", "2"),
        ("sst2", "3"),
        ("cola", "1"),
    ]
    assert [line.split()[0] for line in run(*arguments, home=ready).lines[2:]] == [
        "sst2@1",
        "sst2@2",
        "sst2@3",
        "cola@1",
    ]
    assert run(*arguments, "--svg", tmp_path / "v.svg", home=ready).code == 0
    assert paths(tmp_path / "v.svg") == 2


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([*LOSS], "REF", 2),
        (["sst2@1", "sst2@2"], "--metric: eval/accuracy, train/loss", 2),
        (["sst2@1", "--from-step", "3"], "--metric: eval/accuracy, train/loss", 2),
        (["sst2@1", "--versions"], "--metric: eval/accuracy, train/loss", 2),
        (["sst2@1", *LOSS, "--since", "yesterday"], "'yesterday' is not a time", 2),
        (["sst2@1", *LOSS, "--since", ""], "'' is not a time", 2),
        (["sst2@1", *LOSS, "--until", "2026-13-01"], "is not a time", 2),
        (["sst2@1", *LOSS, "--until", "999999w"], "is not a time", 2),
        (["sst2@1", *LOSS, "--until", "99999-01-01"], "is not a time", 2),
        (["sst2@1", *LOSS, "--since", "2026-01-01T00:00 Mars/Phobos"], "is not a time", 2),
        (["sst2@1", *LOSS, "--since", "0001-01-01T00:00+14:00"], "is not a time", 2),
        (["sst2@1", *LOSS, "--since", "\x1b[31m"], "is not a time", 2),
        (["sst2@1", *LOSS, "--from-step", "-1"], "--from-step", 2),
        (["sst2@1", *LOSS, "--from-step", "9" * 30], "64 bits", 1),
        (["sst2@1", *LOSS, "--points", "7"], "--points", 2),
        (["sst2", *LOSS, "--versions", "--points", "9"], "every version", 2),
        (["sst2", *LOSS, "--versions", "--since", "1h"], "every version", 2),
        (["sst2@1", *LOSS, "--plot", "--json"], "exclude each other", 2),
        (["sst2@1", *LOSS, "--plot", "--csv"], "exclude each other", 2),
        (["sst2@1", *LOSS, "--png", "."], "directory", 2),
        (["sst2@1", *LOSS, "--svg", "nosuch/x.svg"], "nosuch/x.svg", 1),
        (["sst2@1", "sst2@9", *LOSS], "sst2@9", 1),
        (["sst2@1", "mix", *LOSS], "mix@1 was made by no run", 1),
        (["sst2@1", "--metric", "train/lose"], "did you mean train/loss?", 1),
        (["sst2", "--metric", "train/lose", "--versions"], "did you mean train/loss?", 1),
        (["sst2@1", *LOSS, "--versions"], "not valid", 1),
        (["run:0123", *LOSS, "--versions"], "not valid", 1),
        (["sst3", *LOSS, "--versions"], "known: cola, mix, sst2", 1),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_usage(
    arguments: list[str],
    said: str,
    code: int,
    *,
    run: Any,
    ready: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("history", *arguments, home=ready)
    assert "\x1b" not in result.refused(said, code=code)
    assert result.out == ""
    assert list(tmp_path.iterdir()) == []
