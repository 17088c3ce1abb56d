"""registry train: what it prints, and what of it ends up in the registry."""

import json
from pathlib import Path
from typing import Any

import pytest

FEW = ("--epochs", "1", "--max-length", "32", "--batch-size", "8")
SAMPLE = (
    *("--data", "sample", "--max-train-rows", "64", "--max-eval-rows", "32", "--epochs", "1"),
    *("--max-length", "32", "--batch-size", "32"),
)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Forty rows with one text, a second text, a class and a score; some quoted, with commas and line breaks."""
    words = ["good", "great", "bad", "dull"]
    rows = [
        f'"a {words[i % 4]} film, number {i}","what a\nstory {i}",{"warm" if i % 4 < 2 else "cold"},{i % 7 / 2}'
        for i in range(40)
    ]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["text,other,label,stars", *rows]) + "\n", encoding="utf-8")
    return path


def test_a_task_of_glue(run: Any, tiny_base: Path) -> None:
    result = run("train", "sst2", "--base", tiny_base, *SAMPLE)
    assert result.code == 0, result.err
    said = dict(line.split("  ", 1) for line in result.lines if "  " in line)
    assert said["registered"].strip() == "sst2@1"
    shown = run("show", "sst2", "--json").json
    assert said["eval/accuracy (primary)"].strip() == f"{shown['metrics']['eval/accuracy']:.4f}"
    assert "eval/loss" in said
    share = f"{100 * shown['parameters'] / shown['base']['parameters']:.2f} % of the base's"
    assert share in said["parameters"]
    assert f"{shown['parameters']:,}" in said["parameters"]
    assert "of the base's" in said["size"]
    assert "time" in said
    assert result.lines[-1] == 'next: registry predict sst2 "some text"'
    # The command to type next is one that works.
    assert run("predict", "sst2", "some text").code == 0


def test_progress_is_plain_lines_on_standard_error(run: Any, tiny_base: Path) -> None:
    result = run("train", "mrpc", "--base", tiny_base, *SAMPLE, "--eval-every", "1")
    first, *steps = result.err.splitlines()
    assert first == "importing the libraries …"
    assert len(steps) == 2
    assert steps[0].startswith("step 1/2  epoch 0.50  loss ")
    assert all("eval/accuracy" in step and "rows/s" in step and "left" in step for step in steps)
    assert not {"\r", "\x1b"} & set(result.err)
    assert "step 1/2" not in result.out
    assert result.lines[-1] == 'next: registry predict mrpc "one text" "another"'


def test_json_is_one_object_and_nothing_else(run: Any, tiny_base: Path) -> None:
    result = run(
        "train", "sst2", "--base", tiny_base, *SAMPLE, "--name", "mine", "--set", "reduction_factor=8",
        "--set", "non_linearity=gelu", "--lr", "5e-4", "--seed", "3", "--json",
    )  # fmt: skip
    made = result.json
    assert made["ref"] == "mine@1"
    assert made["task"]["name"] == "sst2"
    assert made["config"]["reduction_factor"] == 8
    assert made["config"]["non_linearity"] == "gelu"
    assert made["seconds"] > 0
    shown = run("show", "mine", "--json").json
    assert shown["digest"] == made["digest"]
    assert shown["run"]["settings"]["learning_rate"] == 5e-4
    assert shown["run"]["seed"] == 3


def test_a_former_name_of_a_method(run: Any, tiny_base: Path) -> None:
    assert (
        run("train", "rte", "--base", tiny_base, *SAMPLE, "--method", "pfeiffer", "--json").json["method"] == "seq_bn"
    )


def test_a_table_of_ones_own(run: Any, tiny_base: Path, reviews: Path) -> None:
    made = run("train", "reviews", "--base", tiny_base, "--data", reviews, *FEW, "--json").json
    assert made["task"]["text"] == ["text"]
    assert made["task"]["labels"] == ["cold", "warm"]
    assert made["primary_metric"] == "eval/accuracy"
    rows = run("show", "reviews", "--json").json["run"]["data"]["rows"]
    assert rows == {"train": 36, "eval": 4}
    assert run("predict", "reviews", "a good film", "--json").json[0]["label"] in ("cold", "warm")


def test_two_columns_of_text_and_a_score(run: Any, tiny_base: Path, reviews: Path) -> None:
    arguments = ("--data", reviews, "--text", "text", "--text", "other", "--label", "stars")
    result = run("train", "stars", "--base", tiny_base, *arguments, *FEW)
    assert result.code == 0, result.err
    assert "eval/pearson (primary)" in result.out
    assert result.lines[-1] == 'next: registry predict stars "one text" "another"'
    (answer,) = run("predict", "stars", "a good film", "what a story", "--json").json
    assert answer["label"] is None
    assert answer["probabilities"] is None
    assert isinstance(answer["score"], float)


def test_json_lines_with_a_validation_file(run: Any, tiny_base: Path, tmp_path: Path) -> None:
    rows = [{"text": f"a {'good' if i % 2 else 'bad'} film {i}", "label": bool(i % 2)} for i in range(24)]
    for name, part in (("train.jsonl", rows[:16]), ("check.jsonl", rows[16:])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    arguments = ("--data", tmp_path / "train.jsonl", "--validation", tmp_path / "check.jsonl")
    made = run("train", "flags", "--base", tiny_base, *arguments, *FEW, "--json").json
    assert made["task"]["labels"] == ["false", "true"]
    assert run("show", "flags", "--json").json["run"]["data"]["rows"] == {"train": 16, "eval": 8}


def test_a_text_of_a_hundred_thousand_characters(run: Any, tiny_base: Path, tmp_path: Path) -> None:
    long = "good film " * 10_000
    rows = [f"{long if i == 0 else 'a film'} {i},{'warm' if i % 2 else 'cold'}" for i in range(20)]
    (tmp_path / "long.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    result = run("train", "long", "--base", tiny_base, "--data", tmp_path / "long.csv", *FEW)
    assert result.code == 0, result.err
    (answer,) = run("predict", "long", "--json", stdin=long + "\n").json
    assert answer["text"] == [long]


def test_versions_count_up(run: Any, own: Path, tiny_base: Path) -> None:
    assert run("train", "sst2", "--base", tiny_base, *SAMPLE, "--json").json["ref"] == "sst2@3"
    assert run("show", "sst2@1", "--json").json["number"] == 1


def test_the_same_once_more(run: Any, tiny_base: Path, reviews: Path) -> None:
    arguments = ("--data", reviews, "--text", "text", "--text", "other", "--label", "stars", "--seed", "4")
    assert run("train", "stars", "--base", tiny_base, *arguments, *FEW).code == 0
    again = run("train", "--like", "stars@1")
    assert again.code == 0, again.err
    assert again.lines[-1] == "the weights are those of stars@1, bit for bit"
    changed = run("train", "--like", "stars", "--lr", "0.002", "--name", "other-stars")
    assert changed.lines[-1] == "the weights are not those of stars@2; different: learning_rate: 0.001, now 0.002"
    shown = run("show", "other-stars", "--json").json
    assert shown["run"]["settings"]["seed"] == 4
    assert shown["task"]["text"] == ["text", "other"]


def test_the_same_on_other_rows_and_of_the_latest(run: Any, tiny_base: Path, reviews: Path, tmp_path: Path) -> None:
    arguments = ("--data", reviews, "--text", "other", "--set", "reduction_factor=8", "--batch-size", "32")
    assert run("train", "notes", "--base", tiny_base, *arguments, "--max-length", "32", "--epochs", "1").code == 0
    fewer = tmp_path / "fewer.csv"
    fewer.write_text(
        "\n".join(["text,other,label,stars", *(f"a,film {i},{'warm' if i % 2 else 'cold'},1" for i in range(20))])
    )
    result = run("train", "--like", "notes", "--data", fewer, "--set", "non_linearity=gelu", "--batch-size", "4")
    assert result.code == 0, result.err
    assert result.lines[-1].startswith(
        "the weights are not those of notes@1; different: batch_size: 32, now 4, config: "
    )
    shown = run("show", "notes", "--json").json
    assert (shown["number"], shown["task"]["text"]) == (2, ["other"])
    assert (shown["config"]["reduction_factor"], shown["config"]["non_linearity"]) == (8, "gelu")
    assert (
        run("train", "--like", "notes@1", "--name", "copy").lines[-1] == "the weights are those of notes@1, bit for bit"
    )
    other = run("train", "--like", "notes@1", "--name", "copy", "--seed", "1").lines[-1]
    assert other == "the weights are not those of notes@1; different: seed: 0, now 1"


def test_settings_reach_the_training(run: Any, tiny_base: Path) -> None:
    options = (
        *("--max-steps", "4", "--schedule", "cosine", "--warmup", "0.5", "--average", "0.5"),
        *("--gradient-accumulation", "2", "--weight-decay", "0.01", "--max-grad-norm", "2", "--eval-every", "0.5"),
        *("--class-weight", "negative=2", "--class-weight", "positive=0.5", "--checkpoint-every", "3"),
    )
    few = ("--data", "sample", "--max-train-rows", "64", "--max-eval-rows", "8", "--max-length", "16")
    assert run("train", "sst2", "--base", tiny_base, *few, *options).code == 0
    settings = run("show", "sst2", "--json").json["run"]["settings"]
    expected = {
        "max_steps": 4, "epochs": None, "schedule": "cosine", "warmup": 0.5, "average": 0.5, "gradient_accumulation": 2,
        "weight_decay": 0.01, "max_grad_norm": 2.0, "eval_every": 0.5, "checkpoint_every": 3,
        "class_weights": {"negative": 2.0, "positive": 0.5},
    }  # fmt: skip
    assert {key: settings[key] for key in expected} == expected


def test_what_was_not_learned_is_said(run: Any, tiny_base: Path) -> None:
    """Words that mean nothing, a rate that moves nothing: the score is the majority's, and the loss stays."""
    result = run("train", "sst2", "--base", tiny_base, *SAMPLE, "--lr", "1e-9")
    notes = [line for line in result.lines if line.startswith("note: ")]
    assert len(notes) == 3
    assert "45 of 64 training rows and 23 of 32 validation rows are cut at 32 tokens" in notes[0]
    assert "no better than always answering the most frequent class" in notes[1]
    assert "the training loss is flat" in notes[2]
    tries = [line.removeprefix("try: registry train --like sst2@1 ") for line in result.lines if "try: " in line]
    assert tries == ["--max-length 56", "--lr 0.001"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "TASK is missing"),
        (["sst2"], "--base is missing"),
        (["--resume", "abc", "--lr", "1e-3"], "takes nothing else; found --lr"),
        (["sst2", "--resume", "abc"], "takes nothing else; found sst2"),
        (["--resume", "abc", "--like", "sst2"], "takes nothing else; found --like"),
        (["sst2", "--like", "sst2"], "--like trains the task of sst2"),
        (["sst2", "--base", "x", "--class-weight", "positive"], "--class-weight takes LABEL=NUMBER"),
        (["sst2", "--base", "x", "--class-weight", "balanced", "--class-weight", "a=1"], "'balanced' alone"),
    ],
)
def test_calls_that_contradict_themselves(arguments: list[str], said: str, run: Any) -> None:
    run("train", *arguments).refused(said, code=2)
