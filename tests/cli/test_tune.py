"""registry tune: what it prints, how it goes on, and that the command it ends with trains what it says."""

import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from pointsman.cli.train import command as train
from pointsman.cli.tune import _OPTIONS
from pointsman.registry import Registry
from pointsman.sdk import tune
from pointsman.sdk.tuning.fields import SETTINGS

FEW = (
    *("--data", "sample", "--max-train-rows", "32", "--max-eval-rows", "16", "--max-steps", "4", "--eval-every", "1"),
    *("--space", "learning_rate=1e-4..1e-2:log", "--space", "reduction_factor=4,8", "--space", "max_length=16"),
)


@pytest.fixture(scope="module")
def begun(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the study that ``FEW`` asks for, of two trials. For reading only: see ``tuned``."""
    path = tmp_path_factory.mktemp("tuned") / "home"
    space = {"learning_rate": "1e-4..1e-2:log", "reduction_factor": "4,8", "max_length": "16"}
    options = {"data": "sample", "max_train_rows": 32, "max_eval_rows": 16, "max_steps": 4, "eval_every": 1.0}
    with Registry(path) as registry:
        tune("sst2", base=str(tiny_base), trials=2, registry=registry, space=space, **options)
    return path


@pytest.fixture
def tuned(begun: Path, home: Path) -> Path:
    """A copy of it, which the program finds by the environment."""
    shutil.copytree(begun, home)
    return home


def test_a_search_goes_on_with_what_python_began(run: Any, tuned: Path, tiny_base: Path) -> None:
    result = run("tune", "sst2", "--base", tiny_base, "--trials", "3", *FEW)
    assert result.code == 0, result.err
    said = result.err.splitlines()
    assert said[0] == "importing the libraries …"
    assert said[1].startswith("trial 2 (of 3): learning_rate=")
    assert [line.split("  ")[0] for line in said[2:6]] == [f"step {step}/4" for step in (1, 2, 3, 4)]
    assert said[6].startswith("trial 2 complete: 0.")
    assert said[6].endswith(", sst2-tune@3")
    assert len(said) == 7

    made = run("tune", "sst2", "--base", tiny_base, "--trials", "3", *FEW, "--json").json
    assert (made["study"], made["adapter"], made["metric"]) == ("sst2-seq_bn", "sst2-tune", "eval/accuracy")
    assert made["space"] == ["learning_rate=0.0001..0.01:log", "max_length=16", "reduction_factor=4,8"]
    trials = made["trials"]
    assert sorted(trial["trial"] for trial in trials) == [0, 1, 2]
    assert made["best"] == trials[0]
    assert [trial["score"] for trial in trials] == sorted((trial["score"] for trial in trials), reverse=True)

    head, _, *rows = result.lines
    assert head.split() == ["trial", "state", "score", "parameters", "run", "ref"]
    for row, trial in zip(rows[:3], trials, strict=True):
        params = [f"{name}={value}" for name, value in trial["params"].items()]
        assert row.split() == [
            str(trial["trial"]),
            "complete",
            f"{trial['score']:.4f}",
            *params,
            trial["run"],
            trial["ref"],
        ]
    pairs = dict(line.split("  ", 1) for line in rows[3:] if "  " in line)
    assert pairs["best"].strip() == trials[0]["ref"]
    assert pairs["eval/accuracy (primary)"].strip() == f"{trials[0]['score']:.4f}"
    assert pairs["learning_rate"].strip() == str(trials[0]["params"]["learning_rate"])
    assert rows[-1] == f"to train with these settings: {made['command']}"
    assert run("predict", "sst2-tune@best", "a gripping film").code == 0


def test_the_command_it_ends_with_trains_the_winner(run: Any, tuned: Path, tiny_base: Path) -> None:
    """But on all rows; here they are limited again, so that the weights have to be the same."""
    made = run("tune", "sst2", "--base", tiny_base, "--trials", "2", *FEW, "--json").json
    program, *words = shlex.split(made["command"])
    assert program == "registry"
    assert not {"--max-train-rows", "--max-eval-rows"} & set(words)
    few = ("--max-train-rows", "32", "--max-eval-rows", "16", "--name", "sst2-tune")
    version = run(*words, *few, "--json").json
    shown = run("show", made["best"]["ref"], "--json").json
    assert version["ref"] == "sst2-tune@3"
    assert version["files"] == shown["files"]
    assert version["config"] == shown["config"]
    assert version["score"] == shown["score"]


def test_trials_together(run: Any, tuned: Path, tiny_base: Path) -> None:
    result = run("tune", "sst2", "--base", tiny_base, "--trials", "4", "--together", "2", "--no-pruning", *FEW)
    assert result.code == 0, result.err
    said = [line.split("  epoch")[0].split(": ")[0] for line in result.err.splitlines()]
    assert said == [
        "importing the libraries …",
        *("trial 2 (of 4)", "trial 3 (of 4)"),
        *(f"trial {number}  step {step}/4" for step in (1, 2, 3, 4) for number in (2, 3)),
        *("trial 2 complete", "trial 3 complete"),
    ]
    assert "trial 3 complete: 0." in result.err


def test_trials_that_share_no_pass(run: Any, tiny_base: Path) -> None:
    few = (*FEW[:6], "--max-steps", "1", "--space", "r=2,4", "--method", "lora")
    result = run("tune", "sst2", "--base", tiny_base, "--trials", "2", "--together", "2", *few)
    assert result.code == 0, result.err
    said = result.err.splitlines()
    assert [line.split(": ")[0].split("  epoch")[0] for line in said[1:-2]] == [
        *("trial 0 (of 2)", "trial 0  step 1/1", "trial 0 complete"),
        *("trial 1 (of 2)", "trial 1  step 1/1", "trial 1 complete"),
    ]
    assert said[-2].startswith("trials trained one after another: trainings together compute the method seq_bn")


def test_the_command_can_say_whatever_can_be_searched() -> None:
    options = {option for param in train.params if isinstance(param, click.Option) for option in param.opts}
    names = [name for name in SETTINGS if name != "device"]
    assert len(names) >= 19
    for name in names:
        assert _OPTIONS.get(name, f"--{name.replace('_', '-')}") in options


def test_a_task_of_ones_own_with_words_and_parts(run: Any, tiny_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "own rows.csv"
    path.write_text("body,stars\n" + "".join(f"a {'good' if i % 2 else 'bad'} film {i},{i % 2}\n" for i in range(40)))
    own = ("--data", path, "--text", "body", "--label", "stars", "--max-steps", "2", "--name", "mine", "--study", "s")
    space = ("--space", "lora.r=2,4", "--space", "schedule=linear", "--space", "max_grad_norm=null")
    result = run(
        "tune", "own", "--base", tiny_base, *own, *space, "--method", "lora+seq_bn", "--seed", "3", "--no-pruning",
        "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert sorted(trial["params"]["lora.r"] for trial in result.json["trials"]) == [2, 4]
    assert "all 2 combinations of the space were tried" in result.err
    best = result.json["best"]
    assert result.json["command"] == shlex.join(
        [
            *("registry", "train", "own", "--base", str(tiny_base), "--data", str(path), "--text", "body"),
            *("--label", "stars", "--method", "lora+seq_bn", "--eval-every", "0.25", "--seed", "3", "--max-steps", "2"),
            *("--set", f"lora.r={best['params']['lora.r']}", "--max-grad-norm", "1e6", "--schedule", "linear"),
        ]
    )
    again = run(*shlex.split(result.json["command"])[1:], "--json")
    assert again.code == 0, again.err
    assert again.json["score"] == best["score"]


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(run: Any, start: Callable[..., Any], tuned: Path, tiny_base: Path) -> None:
    def listen() -> None:
        # Whoever started these tests in the background may have had SIGINT ignored, for children as well.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    endless = ("--trials", "1000", *FEW)
    process = start("tune", "sst2", "--base", tiny_base, *endless, preexec_fn=listen)
    while not (said := process.stderr.readline()).startswith("step "):
        assert said.startswith(("importing", "trial ")), said
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert err.splitlines()[-3:] == [
        "finished trials are kept; the same command continues the study",
        "",
        "error: interrupted",
    ]
    there = len(run("runs", "sst2-tune", "--json").json)
    assert there >= 3
    made = run("tune", "sst2", "--base", tiny_base, "--trials", str(there), *FEW, "--json").json
    assert sorted(trial["trial"] for trial in made["trials"]) == list(range(there))
    assert {trial["state"] for trial in made["trials"]} <= {"complete", "pruned"}


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("--space", "reduction_factor=8..4"), ["--space: reduction_factor: the range 8..4 is empty"], 2),
        (("--space", "reduction_factor"), ["--space: a dimension is written NAME=…"], 2),
        (("--space", "r=4,8", "--space", "r=4"), ["names r twice"], 2),
        (("--space", "reduction_factor=4"), ["nothing to search"], 2),
        (("--trials", "0"), ["--trials"], 2),
        (("--space", "r=4,8"), ["unknown dimension 'r'; known settings: ", "reduction_factor"], 1),
        (("--seed", "1"), ["the study 'sst2-seq_bn' was started", "seed: 0 in the study, 1 now", "try: --study …"], 1),
        (("--trials", "3", "--name", "Mine"), ["Mine"], 1),
    ],
)
def test_refusals(
    arguments: tuple[str, ...], said: list[str], code: int, *, run: Any, tuned: Path, tiny_base: Path
) -> None:
    before = run("runs", "--json").json
    asked = FEW if "--space" not in arguments else FEW[:10]
    run("tune", "sst2", "--base", tiny_base, *asked, *arguments).refused(*said, code=code)
    assert run("runs", "--json").json == before


def test_without_a_score_there_is_no_winner(run: Any, tiny_base: Path, tmp_path: Path) -> None:
    """All texts are the same, and so are all answers: no correlation with them is a number."""
    for name, scores in (("rows", [0.5, 1.5, 2.5, 3.5] * 4), ("check", [1.5, 2.5])):
        rows = "".join(f"a film,{score}\n" for score in scores)
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    data = ("--data", tmp_path / "rows.csv", "--validation", tmp_path / "check.csv", "--max-steps", "2")
    result = run("tune", "own", "--base", tiny_base, *data, "--trials", "2")
    result.refused("none of the 2 trials of the study 'own-seq_bn' has a score", "try: registry runs own-tune")
    assert [line.split()[:3] for line in result.lines[2:]] == [["1", "complete", "-"], ["0", "complete", "-"]]
