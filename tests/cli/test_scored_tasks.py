"""--primary and --positive of train and tune, what is said of them, and evaluate on a file of one's own."""

from pathlib import Path
from typing import Any

import pytest

QUICK = ("--epochs", "1", "--batch-size", "32", "--max-length", "16")


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    """Forty mails, eight of which are fraud."""
    rows = [
        f"a {'dull' if number % 5 else 'gripping'} story {number},{'ok' if number % 5 else 'fraud'}"
        for number in range(40)
    ]
    path = tmp_path / "mails.csv"
    path.write_text("\n".join(["body,kind", *rows]) + "\n", encoding="utf-8")
    return path


def test_the_positive_class_and_the_primary_metric(run: Any, tiny_base: Path, mails: Path) -> None:
    own = ("--base", tiny_base, "--data", mails, "--text", "body", "--label", "kind", *QUICK)
    plain = run("train", "mails", *own)
    assert plain.code == 0, plain.err
    said = dict(line.split("  ", 1) for line in plain.lines if "  " in line)
    assert said["positive class"].strip() == (
        "'fraud': the rarer in the training rows, of two as frequent the second; --positive names another"
    )
    assert {"eval/accuracy (primary)", "eval/f1 of 'fraud'", "eval/matthews_correlation"} <= said.keys()
    chosen = run("train", "mails", *own, "--primary", "f1", "--positive", "ok")
    said = dict(line.split("  ", 1) for line in chosen.lines if "  " in line)
    assert "eval/f1 of 'ok' (primary)" in said
    assert "positive class" not in said
    shown = run("show", "mails@best")
    assert "eval/f1 of 'ok'" in shown.out
    assert "not compared: mails@1 (eval/accuracy)" in shown.err
    assert run("train", "--like", "mails@2", "--positive", "fraud", "--json").json["task"]["positive"] == "fraud"

    # Scored on a file, by the task of the version.
    found = run("evaluate", "mails@2", "--data", mails, "--json").json
    assert list(found["metrics"]) == ["f1", "accuracy", "matthews_correlation", "loss"]
    assert found["metrics"]["f1"] != run("evaluate", "mails@3", "--data", mails, "--json").json["metrics"]["f1"]
    assert run("evaluate", "mails@2", "--data", mails).lines[2].startswith("f1 of 'ok'")
    mails.write_text(mails.read_text(encoding="utf-8").replace("body,kind", "said,given"), encoding="utf-8")
    other = run("evaluate", "mails@2", "--data", mails, "--text", "said", "--label", "given", "--json")
    assert other.json["metrics"] == found["metrics"]
    run("evaluate", "mails@2", "--data", mails).refused("body")
    mails.write_text(mails.read_text(encoding="utf-8") + "no kind,\n", encoding="utf-8")
    columns = ("--text", "said", "--label", "given")
    run("evaluate", "mails@2", "--data", mails, *columns).refused("line 42: ")
    left = run("evaluate", "mails@2", "--data", mails, *columns, "--skip-bad-rows", "1", "--json")
    assert left.json["metrics"] == found["metrics"]
    assert "left out: " in left.err
    run("evaluate", "mails@2").refused(
        "'mails' is a task of your own: it is scored on a file, with the columns body, kind", "try: --data …"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--primary", "f2"],
            "unknown classification metric 'f2'; known: accuracy, f1, f1_macro, matthews_correlation",
        ),
        (["--positive", "spam"], "unknown class of 'mails' to be positive 'spam'; known: fraud, ok"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_is_trained(
    arguments: list[str], said: str, run: Any, tiny_base: Path, mails: Path
) -> None:
    own = ("--base", tiny_base, "--data", mails, "--text", "body", "--label", "kind")
    run("train", "mails", *own, *arguments).refused(said)
    assert run("runs", "--json").json == []


def test_a_search_names_them_in_the_command_to_train_with(run: Any, tiny_base: Path, mails: Path) -> None:
    own = ("--base", tiny_base, "--data", mails, "--text", "body", "--label", "kind", "--epochs", "1")
    found = run("tune", "mails", *own, "--trials", "1", "--primary", "f1", "--positive", "ok", "--json")
    assert found.code == 0, found.err
    assert found.json["metric"] == "eval/f1"
    assert "--primary f1 --positive ok" in found.json["command"]
