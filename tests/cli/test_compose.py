"""registry compose, and predicting with compositions, named or written out."""

from pathlib import Path
from typing import Any

import pytest


def test_a_composition_gets_a_name_and_predicts(run: Any, own: Path) -> None:
    made = run("compose", "both", "parallel(sst2@1, sst2@2)")
    assert (made.code, made.out) == (0, "both@1\n")
    assert made.err == "both@1: parallel of sst2@1, sst2@2\n"
    by_name = run("predict", "both", "a film", "no film")
    assert by_name.code == 0
    written = run("predict", "parallel(sst2@1, sst2@2)", "a film", "no film")
    assert by_name.out == written.out
    alone = [run("predict", f"sst2@{number}", "a film").lines[0].split("\t") for number in (1, 2)]
    assert by_name.lines[0].split("\t") == [*alone[0][:2], *alone[1][:2], "a film"]
    answers = run("predict", "both", "a film", "--json").json[0]["answers"]
    assert [answer["label"] for answer in answers] == [alone[0][0], alone[1][0]]
    tree = run("show", "both", "--tree").out
    assert "member of sst2@1" in tree
    assert "member of sst2@2" in tree
    assert [version["method"] for version in run("list", "--where", "method = parallel", "--json").json] == ["parallel"]


def test_for_programs(run: Any, own: Path) -> None:
    made = run("compose", "mean", "average(sst2@1: 0.25, sst2@1: 0.75)", "--json").json
    assert (made["ref"], made["method"], made["parents"]) == ("mean@1", "average", ["sst2@1"])
    assert made["config"] == {"composition": {"average": ["sst2@1", "sst2@1"], "weights": [0.25, 0.75]}}
    assert run("predict", "mean", "a film").out == run("predict", "sst2@1", "a film").out


@pytest.mark.parametrize(
    ("composition", "said"),
    [
        ("sst2", ["single ref", "alias"]),
        ("average(sst2@1: 0.5, sst2@2: 0.6)", ["1.1"]),
        ("stak(sst2, sst2)", ["did you mean stack"]),
        ("stack(sst2, sst9)", ["sst9", "did you mean sst2"]),
        ("stack(sst2@1, stack(sst2@1))", ["stack"]),
        ("average(sst2@1, sst2@2)", ["sst2@1", "sst2@2"]),
        ("batchsplit(sst2: 0)", ["rows"]),
    ],
)
def test_what_cannot_be_composed_is_refused(run: Any, own: Path, composition: str, said: list[str]) -> None:
    run("compose", "no", composition).refused(*said)
    run("show", "no").refused("no")
    if composition != "sst2":
        run("predict", composition, "a film").refused(*said)
