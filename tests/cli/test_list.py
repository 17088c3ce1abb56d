"""registry list: filters, order, and what programs get."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Base, Registry


def refs(result: Any) -> list[str]:
    assert result.code == 0, result.err
    return [version["ref"] for version in result.json]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["mrpc@1", "sst2@2", "stsb@1"]),
        (["--all"], ["mrpc@1", "sst2@1", "sst2@2", "stsb@1"]),
        (["sst2"], ["sst2@1", "sst2@2"]),
        (["--task", "mrpc"], ["mrpc@1"]),
        (["--method", "seq_bn"], ["mrpc@1", "stsb@1"]),
        (["--method", "seq_bn", "--all"], ["mrpc@1", "sst2@1", "stsb@1"]),
        (["--task", "sst2", "--method", "compacter"], ["sst2@2"]),
        (["--limit", "2"], ["mrpc@1", "sst2@2"]),
        (["--limit", "9" * 18], ["mrpc@1", "sst2@2", "stsb@1"]),
        (["--task", "nosuch"], []),
        (["--base", "nosuch"], []),
        (["--method", "'; drop table version --"], []),
    ],
    ids=lambda value: " ".join(value) or "-",
)
def test_what_is_listed(arguments: list[str], expected: list[str], run: Any, trained: Path) -> None:
    assert refs(run("list", "--json", *arguments, home=trained)) == expected


def test_bases_by_name_and_by_fingerprint(run: Any, trained: Path, tiny_base: Path) -> None:
    (version,) = run("list", "--json", "--limit", "1", home=trained).json
    for base in (str(tiny_base.resolve()), version["base"]["fingerprint"][:8]):
        assert len(refs(run("list", "--json", "--base", base, home=trained))) == 3


def test_best_first(run: Any, trained: Path) -> None:
    """Versions without the metric come last."""
    versions = run("list", "--json", "--all", "--sort", "eval/accuracy", home=trained).json
    scores = [version["metrics"].get("eval/accuracy") for version in versions]
    assert len([score for score in scores if score is not None]) == 3
    assert scores[:3] == sorted(scores[:3], reverse=True)
    assert scores[3] is None


def test_an_unknown_metric_lists_those_there_are(run: Any, trained: Path) -> None:
    run("list", "--sort", "eval/accuracies", home=trained).refused("eval/accuracies", "eval/accuracy", "eval/pearson")


def test_the_table_for_people(run: Any, trained: Path) -> None:
    result = run("list", home=trained)
    assert result.err == ""
    header, _, *rows = result.lines
    assert header.split()[:3] == ["adapter", "task", "method"]
    assert [row.split()[:3] for row in rows] == [
        ["mrpc@1", "mrpc", "seq_bn"],
        ["sst2@2", "sst2", "compacter"],
        ["stsb@1", "stsb", "seq_bn"],
    ]


def test_sorting_shows_the_metric(run: Any, trained: Path) -> None:
    result = run("list", "--sort", "eval/f1", home=trained)
    score = run("show", "mrpc", "--json", home=trained).json["metrics"]["eval/f1"]
    assert "eval/f1" in result.lines[0]
    assert result.lines[2].startswith("mrpc@1")
    assert f"{score:.4f}" in result.lines[2]


def test_nothing_to_list(run: Any, trained: Path) -> None:
    """Whoever reads the output gets nothing; the person is told."""
    empty = run("list")
    assert (empty.code, empty.out) == (0, "")
    assert "registry train" in empty.err
    none = run("list", "sst2", "--task", "mrpc", home=trained)
    assert (none.code, none.out, none.err) == (0, "", "no adapter matches\n")
    assert run("list", "--json").out == "[]\n"


def test_names_are_broken_between_their_parts(trained: Path, on_a_terminal: Any) -> None:
    text = on_a_terminal("--home", trained, "list", NO_COLOR="1", COLUMNS="80")
    assert {"compacter", "accuracy", "pearson", "sst2@2", "tiny-"} <= set(text.split())


def test_the_table_fits_a_terminal(own: Path, add_version: Any, on_a_terminal: Any) -> None:
    """Whatever names are in it; numbers stay whole."""
    with Registry(own) as registry:
        base = Base(**{**asdict(registry.version("sst2").base), "name": "sentence-transformers/all-MiniLM-L6-v2"})
        add_version(
            registry,
            "customer-complaints-by-product",
            base=base,
            method="lora",
            task={"name": "customer-complaints", "description": "x", "text": ["text"], "labels": ["a", "b"]},
            metrics={"eval/matthews_correlation": 0.1234},
            primary_metric="eval/matthews_correlation",
            parameters=12_345_678,
        )
        registry.set_alias("customer-complaints-by-product", "production")
    for arguments in (["list"], ["list", "--all", "--sort", "eval/matthews_correlation"]):
        text = on_a_terminal("--home", own, *arguments, NO_COLOR="1", COLUMNS="80")
        assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
        assert {"0.1234", "12,345,678", "@1"} <= set(text.split())


def test_colours_in_a_file_change_no_layout(run: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run("list", home=trained).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = run("list", home=trained).out
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize("form", [[], ["--json"], ["--csv"], ["--count"]])
def test_an_unknown_adapter_is_an_error_with_those_that_are_known(run: Any, trained: Path, form: list[str]) -> None:
    said = "unknown adapter 'sst3'; did you mean sst2?; known: mrpc, sst2, stsb"
    run("list", "sst3", *form, home=trained).refused(said)
    if form in ([], ["--json"]):
        run("runs", "sst3", *form, home=trained).refused(said)
