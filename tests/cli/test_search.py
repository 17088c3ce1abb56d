"""registry list --where and its like: what is found, in which order, page by page."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

EVERY = ["cola@1", "mix@1", "sst2@1", "sst2@2", "sst2@3"]


def refs(result: Any) -> list[str]:
    assert result.code == 0, result.err
    return [version["ref"] for version in result.json]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("task = sst2", ["mix@1", "sst2@1", "sst2@2", "sst2@3"]),
        ("task IN (cola, mrpc)", ["cola@1"]),
        ("eval/accuracy >= 0.8", ["sst2@2", "sst2@3"]),
        ("score < 0.6", ["cola@1"]),
        ("best(eval/accuracy) > 0.6 and last(train/loss) < 1", ["sst2@1", "sst2@2"]),
        ("count(train/loss) = 50", ["cola@1", "sst2@1", "sst2@2"]),
        ("config.reduction_factor = 4", ["sst2@3"]),
        ("config.bias = false", ["sst2@2"]),
        ("settings.lr < 1e-4", ["sst2@2"]),
        ("alias = production", ["sst2@2"]),
        ("not alias = production and name = sst2", ["sst2@1", "sst2@3"]),
        ("alias is null", ["cola@1", "mix@1", "sst2@1"]),
        ("tags.owner = ann", ["sst2@2"]),
        ("tags.owner is null and name like 'S%'", ["sst2@1", "sst2@3"]),
        ("note like '%AVERAGE%'", ["sst2@3"]),
        ("parent = sst2@1", ["sst2@2", "sst2@3"]),
        ("parent is null", ["cola@1", "sst2@1"]),
        ("base = other or (method = fusion and number = 1)", ["cola@1", "mix@1"]),
        ("seed in (2, 3)", ["cola@1", "sst2@2"]),
        ("created > 1h ago", EVERY),
        ("created < 1h ago", []),
        ("name = \"it's\" or name = '; drop table version --'", []),
    ],
)
def test_what_a_query_finds(query: str, expected: list[str], run: Any, ready: Path) -> None:
    assert refs(run("list", "--where", query, "--json", home=ready)) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sst2"], ["sst2@2", "sst2@3"]),
        (["--method", "lora"], ["sst2@2"]),
        (["--base", "cd", "--all"], []),
        (["--task", "sst2", "--sort", "score", "--limit", "1"], ["sst2@2"]),
    ],
    ids=" ".join,
)
def test_a_query_and_other_filters_both_hold(arguments: list[str], expected: list[str], run: Any, ready: Path) -> None:
    assert refs(run("list", "--where", "eval/accuracy > 0.75", *arguments, "--json", home=ready)) == expected


@pytest.mark.parametrize(
    ("query", "said", "character"),
    [
        ("task = sst2 and and", "expected a comparison, found 'and'", "and"),
        ("taks = sst2", "did you mean 'task'?", "taks"),
        ("name = sst2 or TASK = sst2", "did you mean 'task'?", "TASK"),
        ("name = 'sst2", "a quoted text that does not end", "'sst2"),
        ("score > high", "'score' is a number, as in 0.9; found 'high'", "high"),
        ("worst(eval/accuracy) > 1", "unknown function 'worst'; known: best", "worst"),
        ("created > yesterday", "is not a time: write 2026-11-01", "yesterday"),
    ],
)
def test_an_error_points_at_the_character(query: str, said: str, character: str, run: Any, ready: Path) -> None:
    result = run("list", "--where", query, home=ready)
    first, shown, caret = result.refused(said).splitlines()
    position = query.rindex(character)
    assert first.startswith(f"error: the query has an error at character {position + 1}: ")
    assert (shown, caret) == (f"  {query}", f"  {' ' * position}^")
    assert result.out == ""


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "the query is empty"),
        ("  ", "the query is empty"),
        ("name = \x1b[31m", "U+001B"),
        ("(" * 60 + "name = a" + ")" * 60, "more than 50 parentheses"),
        ("eval/acuracy > 0.5", "did you mean eval/accuracy?"),
        ("best(train/lose) > 0.5", "did you mean train/loss?"),
        ("name = " + "a" * 10_000, "at most 10,000 characters"),
    ],
    ids=lambda value: value[:20],
)
def test_a_query_that_cannot_be(query: str, said: str, run: Any, ready: Path) -> None:
    message = run("list", "--where", query, home=ready).refused(said)
    assert "\x1b" not in message
    assert len(message) < 1_000


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], EVERY),
        (["--reverse"], EVERY[::-1]),
        (["--sort", "score"], ["cola@1", "sst2@2", "sst2@3", "sst2@1", "mix@1"]),
        (["--sort", "score", "--reverse"], ["sst2@1", "sst2@3", "sst2@2", "cola@1", "mix@1"]),
        (["--sort", "eval/accuracy"], ["sst2@2", "sst2@3", "sst2@1", "mix@1", "cola@1"]),
        (["--sort", "eval/accuracy", "--reverse"], ["sst2@1", "sst2@3", "sst2@2", "cola@1", "mix@1"]),
        (["--sort", "created"], ["mix@1", "cola@1", "sst2@3", "sst2@2", "sst2@1"]),
        (["--sort", "created", "--reverse"], ["sst2@1", "sst2@2", "sst2@3", "cola@1", "mix@1"]),
    ],
    ids=" ".join,
)
def test_order(arguments: list[str], expected: list[str], run: Any, ready: Path) -> None:
    """What lacks the field comes last, whichever way round; scores of one metric stand together, the newest first."""
    assert refs(run("list", "--all", "--json", *arguments, home=ready)) == expected


@pytest.mark.parametrize("sort", ["parameters", "size"])
def test_greatest_first(sort: str, run: Any, ready: Path) -> None:
    found = [version[sort] for version in run("list", "--all", "--sort", sort, "--json", home=ready).json]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) > 1


def test_pages_hold_everything_once(run: Any, ready: Path) -> None:
    """Programs get the rows on standard output; the person is told where the page lies on standard error."""
    notes = ["1 to 2 of 5; more: --page 2, --limit N\n", "3 to 4 of 5; more: --page 3, --limit N\n", "5 to 5 of 5\n"]
    found = []
    for page, said in enumerate(notes, start=1):
        result = run("list", "--all", "--limit", 2, "--page", page, "--json", home=ready)
        assert result.err == said
        found += refs(result)
    assert found == EVERY


def test_a_page_that_is_not_there(run: Any, ready: Path) -> None:
    result = run("list", "--all", "--limit", 2, "--page", 4, home=ready)
    assert (result.code, result.out, result.err) == (0, "", "page 4 is empty: 5 versions in all\n")
    assert run("list", "--all", "--limit", 2, "--page", 4, "--json", home=ready).out == "[]\n"


def test_a_table_says_when_it_is_not_all(run: Any, ready: Path) -> None:
    result = run("list", "--limit", 1, home=ready)
    assert len(result.lines) == 3
    assert result.err == "1 to 1 of 3; more: --page 2, --limit N\n"
    assert run("list", home=ready).err == ""


def test_the_table_of_one_metric(run: Any, ready: Path) -> None:
    """It says the metric once, and whose is not there."""
    header, _, *rows = run("list", "--all", "--sort", "eval/accuracy", home=ready).lines
    assert header.split()[3:6] == ["base", "eval/accuracy", "parameters"]
    assert [row.split()[4] for row in rows] == ["0.9000", "0.8000", "0.7000", "-", "-"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], 3),
        (["--all"], 5),
        (["sst2"], 3),
        (["--where", "score > 0.6"], 3),
        (["--where", "score > 0.6", "--limit", "1"], 3),
        (["--task", "nosuch"], 0),
        (["--all", "--json"], 5),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_count(arguments: list[str], expected: int, run: Any, ready: Path) -> None:
    result = run("list", "--count", *arguments, home=ready)
    assert (result.code, result.out, result.err) == (0, f"{expected}\n", "")


def test_csv_has_what_json_has(run: Any, ready: Path) -> None:
    result = run("list", "--all", "--sort", "score", "--csv", home=ready)
    rows = list(csv.DictReader(io.StringIO(result.out)))
    versions = run("list", "--all", "--sort", "score", "--json", home=ready).json
    assert [row["ref"] for row in rows] == [version["ref"] for version in versions]
    for row, version in zip(rows, versions, strict=True):
        assert row["score"] == ("" if version["score"] is None else str(version["score"]))
        assert (int(row["parameters"]), int(row["size"])) == (version["parameters"], version["size"])
        assert (row["task"], row["base"]) == (version["task"]["name"], version["base"]["name"])
        assert row["aliases"].split() == version["aliases"]
        assert row["created"] == version["created_at"]
    nothing = run("list", "--task", "nosuch", "--csv", home=ready)
    assert (nothing.out, nothing.err) == (f"{','.join(rows[0])}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--page", "2", "--json"], "--page needs --limit", 2),
        (["--page", "2", "--csv"], "--page needs --limit", 2),
        (["--page", "0"], "--page", 2),
        (["--limit", "-1"], "--limit", 2),
        (["--csv", "--json"], "exclude each other", 2),
        (["sst2", "cola"], "cola", 2),
        (["--where"], "--where", 2),
        (["--sort"], "--sort", 2),
        (["--sort", "eval/acuracy"], "did you mean eval/accuracy?", 1),
        (["--sort", "a b"], "not valid", 1),
        (["--limit", "9" * 30], "64 bits", 1),
        (["--limit", "9" * 18, "--page", "9" * 18], "64 bits", 1),
        (["--task", "\udcff"], "Unicode", 1),
    ],
    ids=lambda value: ascii(" ".join(value)) if isinstance(value, list) else "",
)
def test_wrong_usage(arguments: list[str], said: str, code: int, *, run: Any, ready: Path) -> None:
    result = run("list", *arguments, home=ready)
    result.refused(said, code=code)
    assert result.out == ""
