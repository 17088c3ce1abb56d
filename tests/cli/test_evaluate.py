"""registry evaluate: the scores of training once more, and those of other splits."""

from pathlib import Path
from typing import Any

import pytest

SAMPLE = ("--data", "sample")


@pytest.mark.parametrize("ref", ["sst2@1", "mrpc", "stsb"])
def test_the_rows_of_training_give_its_scores(ref: str, run: Any, trained: Path) -> None:
    result = run("evaluate", ref, *SAMPLE, "--max-rows", "32", "--json", home=trained).json
    shown = run("show", ref, "--json", home=trained).json
    assert result["ref"] == shown["ref"]
    assert result["task"] == shown["task"]["name"]
    scored = {f"eval/{key}": value for key, value in result["metrics"].items()}
    assert scored == pytest.approx(shown["metrics"], abs=1e-5)


def test_the_table_for_people(run: Any, trained: Path) -> None:
    result = run("evaluate", "mrpc", *SAMPLE, "--split", "test", "--max-rows", "20", home=trained)
    assert (result.code, result.err) == (0, "")
    assert [line.split()[0] for line in result.lines[2:]] == ["accuracy", "f1", "loss"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sst3", *SAMPLE], ["sst2"]),
        (["sst2", *SAMPLE, "--split", "dev"], ["dev", "validation"]),
        (["sst2", *SAMPLE, "--task", "mrpc"], ["sst2", "mrpc"]),
        (["sst2", *SAMPLE, "--task", "nosuch"], ["nosuch", "cola"]),
        (["sst2"], ["--data"]),
        (["sst2", "--data", "nowhere"], ["nowhere"]),
        (["sst2", *SAMPLE, "--base", "nowhere"], ["nowhere"]),
        (["sst2", *SAMPLE, "--device", "nonsense"], ["nonsense"]),
        (["sst2", *SAMPLE, "--quoting", "none"], ["reading", "for a file of your own"]),
    ],
    ids=" ".join,
)
def test_what_cannot_be_scored(arguments: list[str], said: list[str], run: Any, trained: Path) -> None:
    assert run("evaluate", *arguments, home=trained).refused(*said)
    assert run("evaluate", *arguments, home=trained).out == ""
