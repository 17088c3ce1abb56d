"""registry merge: what it prints, that what it made is used like any other, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

SEARCH = ("--search", "--data", "sample", "--max-rows", "24")


def test_two_versions_become_one(run: Any, own: Path) -> None:
    result = run("merge", "both", "--of", "sst2@1, mrpc", "--weights", "0.7,0.3", "--head-of", "sst2@1")
    assert (result.code, result.err) == (0, "")
    shown = dict(line.split("  ", 1) for line in result.lines)
    assert {key: value.strip() for key, value in shown.items() if key not in ("parameters", "size")} == {
        "registered": "both@1",
        "made of": "0.7 sst2@1, 0.3 mrpc@1",
        "how": "linear",
        "head": "sst2@1",
    }
    assert "a film" in run("predict", "both", "a film").out
    assert "made from" in run("show", "both").out
    tree = run("show", "both", "--tree").out
    assert "member of sst2@1" in tree
    assert "member of mrpc@1" in tree
    assert len(run("list", "--where", "tags.merge = linear", "--json").json) == 1


def test_negation_for_programs(run: Any, own: Path) -> None:
    made = run("merge", "less", "--of", "sst2@1", "--how", "arithmetic", "--weights", "-1", "--json").json
    assert (made["ref"], made["parents"], made["metrics"]) == ("less@1", ["sst2@1"], {})
    assert made["tags"] == {"merge": "arithmetic", "merge.weights": "-1.0", "merge.head": "sst2@1"}


def test_settings_are_said(run: Any, own: Path) -> None:
    result = run("merge", "both", "--of", "sst2@1,sst2@1", "--how", "dare", "--density", "0.8", "--seed", "3")
    assert "how         dare, density 0.8, seed 3" in result.lines
    assert "head        merged" in result.lines


def test_searched_weights_have_a_score(run: Any, own: Path) -> None:
    result = run("merge", "both", "--of", "sst2@1,mrpc@1", "--head-of", "sst2@1", *SEARCH)
    assert (result.code, result.err) == (0, "searching the weights …\n")
    made = run("show", "both", "--json").json
    assert made["primary_metric"] == "eval/accuracy"
    assert any(line.split()[:2] == ["eval/accuracy", "(primary)"] for line in result.lines)
    again = run("evaluate", "both", "--data", "sample", "--max-rows", "24", "--json").json
    assert again["metrics"]["accuracy"] == pytest.approx(made["metrics"]["eval/accuracy"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sst2@1,mrpc@1"], ["sst2@1", "mrpc@1", "different tasks", "--head-of"]),
        (["sst2@1,sst2@2"], ["sst2@1", "sst2@2", "different methods, seq_bn and compacter"]),
        (["sst2@1"], ["one member"]),
        (["sst2@1,sst3"], ["sst3", "did you mean sst2"]),
        (["sst2@1,"], ["''"]),
        (["sst2@1,sst2@1", "--weights", "0.5,0.6"], ["a sum of 1.1"]),
        (["sst2@1,sst2@1", "--weights", "nan,1"], ["finite numbers", "nan"]),
        (["sst2@1,sst2@1", "--how", "svd"], ["plain LoRA only", "seq_bn"]),
        (["sst2@1,sst2@1", "--how", "ties", "--density", "2"], ["at most 1", "2.0"]),
        (["sst2@1,sst2@1", "--data", "sample"], ["--search"]),
        (["sst2@1,sst2@1", "--search", "--data", "nowhere"], ["nowhere"]),
        (["sst2@1,sst2@1", *SEARCH, "--base", "nowhere"], ["nowhere"]),
    ],
    ids=" ".join,
)
def test_what_cannot_be_merged(arguments: list[str], said: list[str], run: Any, own: Path) -> None:
    result = run("merge", "both", "--of", *arguments)
    assert result.refused(*said)
    assert result.out == ""
    assert run("list", "both", "--json").refused("unknown adapter 'both'")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["both"], "--of"),
        (["both", "--of", "sst2", "--weights", "much"], "found 'much'"),
        (["both", "--of", "sst2", "--how", "best"], "'best'"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, run: Any, home: Path) -> None:
    assert run("merge", *arguments).refused(said, code=2)
    assert not home.exists()
