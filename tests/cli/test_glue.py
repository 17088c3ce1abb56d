"""registry glue: what it says before and while it trains, the table, and what is left after Ctrl-C."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch

from pointsman.registry import Registry

from helpers import make_tiny_base

SAMPLE = (
    *("--data", "sample", "--max-train-rows", "32", "--max-eval-rows", "16", "--epochs", "1"),
    *("--max-length", "24", "--batch-size", "16"),
)
FOUR = ("--task", "rte", "--task", "mrpc", "--seed", "0", "--seed", "1")
SCORES = {"rte": ("eval/accuracy",), "mrpc": ("eval/accuracy", "eval/f1")}


@pytest.fixture(scope="module")
def _filled(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pointsman.sdk import glue

    home = tmp_path_factory.mktemp("filled") / "home"
    with Registry(home) as registry:
        settings: dict[str, Any] = {
            "max_train_rows": 32, "max_eval_rows": 16, "epochs": 1, "max_length": 24, "batch_size": 16
        }  # fmt: skip
        glue(base=str(tiny_base), tasks=["rte", "mrpc"], seeds=[0, 1], data="sample", registry=registry, **settings)
    return home


@pytest.fixture
def filled(_filled: Path, home: Path) -> Path:
    """A home, to change, with what the options of FOUR and SAMPLE train."""
    shutil.copytree(_filled, home)
    return home


def test_the_whole_way(run: Any, tiny_base: Path) -> None:
    result = run("glue", "--base", tiny_base, *SAMPLE, *FOUR)
    assert result.code == 0, result.err
    said = result.err.splitlines()
    assert said[:3] == [
        "importing the libraries …",
        "2 tasks × 1 method × 2 seeds: 4 trainings, 0 finished",
        "seq_bn: 2 seeds at a time share each pass through the base",
    ]
    steps = [f"seed {seed}  step {step}/2" for step in (1, 2) for seed in (0, 1)]
    assert [line.split("  epoch")[0].split(": score")[0] for line in said[3:-5]] == [
        "training 1 of 4: mrpc, seq_bn, seed 0",
        "training 2 of 4: mrpc, seq_bn, seed 1",
        *steps,
        "mrpc@1 registered",
        "mrpc@2 registered",
        "training 3 of 4: rte, seq_bn, seed 0",
        "training 4 of 4: rte, seq_bn, seed 1",
        *steps,
        "rte@1 registered",
        "rte@2 registered",
    ]

    # The table, worked out here from what the registry says of each version.
    scores = {}
    for task, keys in SCORES.items():
        for number in (1, 2):
            metrics = run("show", f"{task}@{number}", "--json").json["metrics"]
            scores[task, number] = 100 * sum(metrics[key] for key in keys) / len(keys)
    expected = ["seq_bn"]
    for first, second in (
        (scores["mrpc", 1], scores["mrpc", 2]),
        (scores["rte", 1], scores["rte", 2]),
        ((scores["mrpc", 1] + scores["rte", 1]) / 2, (scores["mrpc", 2] + scores["rte", 2]) / 2),
    ):
        expected.append(f"{(first + second) / 2:.1f}±{abs(first - second) / math.sqrt(2):.1f}")
    header, _, row = result.lines
    assert header.split() == ["method", "mrpc", "rte", "avg"]
    assert row.split() == expected

    again = run("glue", "--base", tiny_base, *SAMPLE, *FOUR)
    assert again.out == result.out
    assert "4 trainings, 4 finished\n" in again.err
    assert "training 1" not in again.err
    assert len(run("runs", "--json").json) == 4


def test_one_seed_after_another(run: Any, tiny_base: Path) -> None:
    """As asked for; and what can share no pass, with the reason."""
    few = ("--task", "rte", "--seed", "0", "--seed", "1", "--epochs", "0.5")
    result = run("glue", "--base", tiny_base, *SAMPLE, *few, "--together", "1", "--method", "seq_bn")
    assert result.code == 0, result.err
    ended = [line.split()[0] for line in result.err.splitlines() if line.startswith(("training", "step", "rte@"))]
    assert ended == ["training", "step", "rte@1", "training", "step", "rte@2"]
    assert "share" not in result.err
    both = run("glue", "--base", tiny_base, *SAMPLE, *few, "--method", "seq_bn", "--method", "lora")
    assert both.code == 0, both.err
    said = both.err.splitlines()
    assert said[1] == "1 task × 2 methods × 2 seeds: 4 trainings, 2 finished"
    assert said[2] == "seq_bn: 2 seeds at a time share each pass through the base"
    assert said[3].startswith("lora, one seed after another: trainings together compute the method seq_bn")
    assert said[3].endswith("found lora on a bert base on cpu")
    lines = [line.split("  epoch")[0] for line in said if line.startswith(("training", "step", "seed"))]
    assert lines == ["training 1 of 2: rte, lora, seed 0", "step 1/1", "training 2 of 2: rte, lora, seed 1", "step 1/1"]
    run("glue", "--base", tiny_base, *SAMPLE, "--together", "0").refused("--together", code=2)


def test_what_the_table_is_of(run: Any, filled: Path, tiny_base: Path) -> None:
    result = run("glue", "--table")
    assert result.code == 0
    assert len(result.lines) == 3
    assert result.err.splitlines() == [
        f"scores of {tiny_base} on the validation rows × 100, from sample (synthetic)",
        "trained with epochs 1, batch_size 16, max_length 24, max_train_rows 32, max_eval_rows 16; "
        "the others are defaults",
        "these rows are synthetic: their scores say nothing about GLUE",
        "scored on part of the validation rows: not comparable with published scores",
        "avg is over mrpc, rte (2 of 8); missing: cola, sst2, stsb, qqp, mnli, qnli",
    ]
    with_wnli = run("glue", "--table", "--with-wnli")
    assert with_wnli.out == result.out
    assert "(2 of 9); missing: cola, sst2, stsb, qqp, mnli, qnli, wnli" in with_wnli.err
    one = run("glue", "--table", "--task", "rte", "--seed", 0, "--seed", 5)
    assert one.code == 0
    assert "±" not in one.out
    assert "the avg of seq_bn counts only seeds that have every task; it is over seed 0: seed 5 lacks rte\n" in one.err
    assert "no version of rte, seq_bn, seed 5: not trained\n" in one.err


def test_details(run: Any, filled: Path) -> None:
    result = run("glue", "--table", "--details")
    short = run("glue", "--table")
    assert result.out.startswith(short.out + "\n")
    header, _, *rows = result.lines[4:]
    assert header.split() == ["task", "method", "seed", "score", "ref", "run", "time", "metrics"]
    assert len(rows) == 4
    version = run("show", "mrpc@2", "--json").json
    found = rows[1].split()
    assert found[:3] == ["mrpc", "seq_bn", "1"]
    assert found[4:6] == ["mrpc@2", version["run"]["uid"]]
    assert f"eval/f1 {version['metrics']['eval/f1']:.4f}" in rows[1]


def test_json(run: Any, filled: Path, tiny_base: Path) -> None:
    result = run("glue", "--base", tiny_base, *SAMPLE, *FOUR, "--json")
    assert result.code == 0
    made = result.json
    assert json.loads(run("glue", "--table", "--json").out) == made
    assert (made["name"], made["tasks"], made["seeds"], made["left_out"]) == ("glue", ["mrpc", "rte"], [0, 1], [])
    assert [cell["ref"] for cell in made["cells"]] == ["mrpc@1", "mrpc@2", "rte@1", "rte@2"]
    (row,) = made["rows"]
    assert row["scores"]["rte"]["seeds"] == [0, 1]
    assert row["averaged"] == ["mrpc", "rte"]
    scores = [cell["score"] for cell in made["cells"]]
    assert row["average"]["mean"] == pytest.approx(sum(scores) / 4)


def test_ctrl_c_loses_nothing(run: Any, home: Path, tiny_base: Path) -> None:
    """Here when the second version is being registered: its training is over, and its version not there yet."""
    seen = []

    def interrupt(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO version "):
            seen.append(statement)
            if len(seen) == 2:
                raise KeyboardInterrupt

    sa.event.listen(sa.Engine, "before_cursor_execute", interrupt)
    try:
        stopped = run("glue", "--base", tiny_base, *SAMPLE, *FOUR)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", interrupt)
    assert stopped.code == 1
    assert stopped.out == ""
    assert [line for line in stopped.err.splitlines() if line][-2:] == [
        "finished trainings are kept; the same command continues",
        "error: interrupted",
    ]
    second, first = run("runs", "--json").json
    assert (first["version"], second["status"], second["version"]) == ("mrpc@1", "interrupted", None)
    table = run("glue", "--table")
    assert "no version of mrpc, seq_bn, seed 1: interrupted\n" in table.err
    assert table.lines[0].split() == ["method", "mrpc", "avg"]
    assert "±" not in table.out

    result = run("glue", "--base", tiny_base, *SAMPLE, *FOUR)
    assert result.code == 0, result.err
    assert "4 trainings, 1 finished, 1 to resume\n" in result.err
    assert "training 1 of 3: mrpc, seq_bn, seed 1 (resumed)\n" in result.err
    runs = run("runs", "--json").json
    assert len(runs) == 4
    assert {entry["uid"]: entry["version"] for entry in runs}[second["uid"]] == "mrpc@2"


def test_a_training_that_fails_is_told_of_and_the_rest_goes_on(run: Any, tmp_path: Path) -> None:
    """A base that answers NaN to the word film: of these samples, only sst2's has it."""
    from adapters import AutoAdapterModel
    from transformers import AutoTokenizer

    broken = make_tiny_base(tmp_path / "broken", seed=3)
    model = AutoAdapterModel.from_pretrained(broken)
    with torch.no_grad():
        word = AutoTokenizer.from_pretrained(broken).vocab["film"]
        # Finite, as a base must be; what the layers compute of it is not.
        spoilt = model.base_model.embeddings.word_embeddings.weight[word]
        spoilt.copy_(torch.where(torch.arange(len(spoilt)) % 3 == 0, 3e38, -3e38))
    model.base_model.save_pretrained(broken)
    result = run("glue", "--base", broken, *SAMPLE, "--task", "sst2", "--task", "rte")
    assert result.code == 1
    header, _, row = result.lines
    assert header.split() == ["method", "sst2", "rte", "avg"]
    assert row.split()[::2] == ["seq_bn", row.split()[2]]
    assert (row.split()[1], row.split()[3]) == ("-", "-")
    assert result.err.count("no version of sst2, seq_bn, seed 0: failed: the loss became nan at step 1 of 2") == 2
    assert "rte@1 registered" in result.err
    assert "no seed does: seed 0 lacks sst2\n" in result.err
    assert "Traceback" not in result.err


def test_tasks_that_the_data_lack(run: Any, tiny_base: Path, tmp_path: Path) -> None:
    rows = [f"{index}\tthe cat ate\tthe dog ate {index}\t{('not_' if index % 2 else '')}entailment"
            for index in range(24)]  # fmt: skip
    (tmp_path / "glue" / "RTE").mkdir(parents=True)
    for name in ("train", "dev"):
        text = "\n".join(["index\tsentence1\tsentence2\tlabel", *rows]) + "\n"
        (tmp_path / "glue" / "RTE" / f"{name}.tsv").write_text(text, encoding="utf-8")
    few = ("--max-length", "24", "--max-steps", "2")
    result = run("glue", "--base", tiny_base, "--data", tmp_path / "glue", *few)
    assert result.code == 0, result.err
    assert "left out, without files in the data: cola, sst2, mrpc, stsb, qqp, mnli, qnli, wnli\n" in result.err
    assert "1 task × 1 method × 1 seed: 1 training, 0 finished\n" in result.err
    assert "avg is over rte (1 of 8); missing: cola, sst2, mrpc, stsb, qqp, mnli, qnli\n" in result.err
    assert "synthetic" not in result.err
    header, _, row = result.lines
    assert header.split() == ["method", "cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "avg"]
    score = row.split()[8]
    assert row.split() == ["seq_bn", *7 * ["-"], score, "-", score]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "2"], ["'glue'", "epochs (1 then, 2 now)", "try: --name …"]),
        (["--base", "nowhere"], ["nowhere"]),
        (["--task", "sst3"], ["sst3", "sst2"]),
        (["--task", "ax"], ["ax", "mnli"]),
        (["--task", "rte", "--task", "rte"], ["tasks has the duplicate 'rte'"]),
        (["--method", "lore"], ["lore", "lora"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--lr", "0"], ["learning_rate"]),
        (["--name", "No Good"], ["benchmark name"]),
        (["--table", "--name", "other"], ["unknown benchmark 'other'", "glue"]),
        (["--table", "--method", "lora"], ["none of these cells"]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_what_cannot_work(arguments: list[str], said: list[str], run: Any, filled: Path, tiny_base: Path) -> None:
    result = run("glue", "--base", tiny_base, *SAMPLE, *arguments)
    result.refused(*said)
    assert result.out == ""
    assert len(run("runs", "--json").json) == 4


@pytest.mark.parametrize(
    "arguments",
    [[], ["--data", "sample"], ["--seed", "one"], ["rte"], ["--base", "x", "--precision", "fp8"]],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str], run: Any, home: Path) -> None:
    run("glue", *arguments).refused(code=2)


def test_the_table_of_an_empty_home(run: Any, home: Path) -> None:
    run("glue", "--table").refused("unknown benchmark 'glue'", "none exists yet", "try: registry glue --base …")
