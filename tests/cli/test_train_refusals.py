"""registry train on bad input: a clear error, and nothing half-written."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry

SAMPLE = ("--data", "sample", "--max-train-rows", "64", "--max-eval-rows", "32", "--epochs", "1", "--max-length", "32")


@pytest.mark.parametrize(
    ("task", "arguments", "said"),
    [
        ("sst3", [], ["sst3", "did you mean", "sst2", "mnli"]),
        ("ax", [], ["mnli"]),
        ("No Good", [], ["No Good"]),
        ("\x1b[31mred", [], ["red"]),
        ("sst2", ["--name", "No Good"], ["not valid"]),
        ("sst2", ["--method", "lore"], ["did you mean", "lora", "compacter"]),
        ("sst2", ["--method", "mtl_lora"], ["seq_bn"]),
        ("sst2", ["--set", "reduction=8"], ["reduction_factor"]),
        ("sst2", ["--set", "reduction_factor=many"], ["reduction_factor", "many"]),
        ("sst2", ["--set", "reduction_factor=0"], ["reduction_factor", "greater than 0"]),
        ("sst2", ["--set", "reduction_factor=true"], ["reduction_factor"]),
        ("sst2", ["--set", "non_linearity=nosuch"], ["nosuch"]),
        ("sst2", ["--set", "architecture=lora"], ["architecture"]),
        ("sst2", ["--method", "compacter", "--set", "phm_dim=7"], ["phm_dim"]),
        ("sst2", ["--epochs", "0"], ["epochs", "over 0"]),
        ("sst2", ["--epochs", "nan"], ["epochs"]),
        ("sst2", ["--epochs", "-1"], ["epochs"]),
        ("sst2", ["--lr", "-1"], ["learning_rate", "over 0"]),
        ("sst2", ["--lr", "inf"], ["learning_rate"]),
        ("sst2", ["--batch-size", "0"], ["batch_size"]),
        ("sst2", ["--batch-size", "65"], ["65", "64 training rows"]),
        ("sst2", ["--max-length", "65"], ["65", "8 to 64 tokens"]),
        ("sst2", ["--max-length", "4"], ["at least 8"]),
        ("sst2", ["--max-eval-rows", "0"], ["max_eval_rows"]),
        ("sst2", ["--eval-every", "0"], ["eval_every"]),
        ("sst2", ["--patience", "-3"], ["patience"]),
        ("sst2", ["--seed", "-1"], ["seed"]),
        ("sst2", ["--seed", str(2**80)], ["seed"]),
        ("sst2", ["--device", "nonsense"], ["nonsense", "cpu"]),
        ("sst2", ["--device", "cuda:99"], ["cuda:99", "cpu"]),
        ("sst2", ["--device", "meta"], ["meta", "cpu"]),
        ("sst2", ["--text", "sentence"], ["text columns"]),
        ("sst2", ["--validation", "check.csv"], ["validation file"]),
        ("sst2", ["--data", "nowhere"], ["nowhere"]),
        ("sst2", ["--data", "."], ["sst2"]),
        ("mine", ["--data", "nowhere.csv"], ["nowhere.csv"]),
        ("mine", ["--data", "sample"], ["mine", "sst2"]),
        ("mine", ["--data", "."], ["mine"]),
        ("mine", ["--data", "rows.csv", "--label", "text"], ["both text and label"]),
        ("mine", ["--data", "rows.csv", "--text", "a", "--text", "a"], ["twice"]),
        ("mine", ["--data", "rows.csv", "--text", "a", "--text", "b", "--text", "c"], ["one or two"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings_and_names(
    task: str,
    arguments: list[str],
    said: list[str],
    *,
    run: Any,
    tiny_base: Path,
    nothing_left: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    message = run("train", task, "--base", tiny_base, *SAMPLE, *arguments).refused(*said)
    assert "\x1b" not in message
    nothing_left()
    assert run("runs", "--json").json == []


GOOD = "\n".join(f"a film {i},{'warm' if i % 2 else 'cold'}" for i in range(20)) + "\n"


@pytest.mark.parametrize(
    ("name", "content", "arguments", "said"),
    [
        ("empty.csv", "", [], ["is empty"]),
        ("header.csv", "text,label\n", [], ["no rows"]),
        ("few.csv", "text,label\na,x\nb,y\n", [], ["2 rows"]),
        ("one.csv", "text,label\n" + GOOD.replace("cold", "warm"), [], ["one class", "warm"]),
        ("column.csv", "text,label\n" + GOOD, ["--text", "review"], ["review", "text, label"]),
        ("column.csv", "text,label\n" + GOOD, ["--label", "stars"], ["stars", "text, label"]),
        ("blank.csv", "text,label\n" + GOOD + "  ,warm\n", [], ["line 22", "empty"]),
        ("missing.csv", "text,label\n" + GOOD + "a film,\n", [], ["line 22", "label"]),
        ("ragged.csv", "text,label\n" + GOOD + "a,b,c\n", [], ["line 22", "3 fields"]),
        ("quote.csv", 'text,label\n"a film,warm\n', [], ["line 2"]),
        ("inf.csv", "text,label\n" + "".join(f"a film {i},{i}.5\n" for i in range(20)) + "x,inf\n", [], ["line 22"]),
        ("flat.csv", "text,label\n" + "".join(f"a film {i},2.5\n" for i in range(20)), [], ["2.5"]),
        ("kind.xlsx", "text,label\n" + GOOD, [], [".csv", ".parquet"]),
        ("bytes.csv", b"text,label\n\xff\xfe,warm\n", [], ["UTF-8"]),
        ("no.parquet", "text,label\n" + GOOD, [], ["parquet"]),
        ("no.jsonl", "text,label\n" + GOOD, [], ["line 1", "JSON"]),
        ("list.jsonl", '["a"]\n', [], ["line 1", "object"]),
        ("number.jsonl", '{"text": 3, "label": "x"}\n' * 20, [], ["line 1", "string", "20 of 20 rows are bad"]),
        ("texts.jsonl", '{"text": 3, "label": "x"}\n{"text": "a", "label": "y"}\n' * 9, [], ["line 1", "string"]),
    ],
)  # fmt: skip
def test_tables(
    name: str,
    content: str | bytes,
    arguments: list[str],
    said: list[str],
    *,
    run: Any,
    tiny_base: Path,
    nothing_left: Callable[[], None],
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    run("train", "mine", "--base", tiny_base, "--data", path, *arguments).refused(name, *said)
    nothing_left()


def test_a_label_that_training_does_not_have(
    run: Any, tiny_base: Path, tmp_path: Path, nothing_left: Callable[[], None]
) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + GOOD, encoding="utf-8")
    (tmp_path / "check.csv").write_text("text,label\na film,warm\nanother,tepid\n", encoding="utf-8")
    arguments = ("--data", tmp_path / "train.csv", "--validation", tmp_path / "check.csv")
    run("train", "mine", "--base", tiny_base, *arguments).refused("check.csv, line 3", "tepid", "cold, warm")
    nothing_left()


def test_a_label_that_glue_does_not_have(
    run: Any, tiny_base: Path, tmp_path: Path, nothing_left: Callable[[], None]
) -> None:
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text("sentence\tlabel\na film\t1\nno film\t7\n", encoding="utf-8")
    run("train", "sst2", "--base", tiny_base, "--data", tmp_path / "glue").refused("train.tsv", "7")
    nothing_left()


def test_no_network_and_no_data(run: Any, tiny_base: Path, nothing_left: Callable[[], None]) -> None:
    """The hub is out of reach for these tests: it says so at once, and what to do."""
    began = time.monotonic()
    run("train", "sst2", "--base", tiny_base, "--max-length", "32").refused("--data")
    assert time.monotonic() - began < 5
    nothing_left()


@pytest.mark.parametrize("name", ["nosuch/base", "no-such-base", "../nowhere", "a/b/c", ""])
def test_a_base_that_is_nowhere(name: str, run: Any, nothing_left: Callable[[], None]) -> None:
    began = time.monotonic()
    run("train", "sst2", "--base", name, *SAMPLE).refused(f"'{name}'")
    assert time.monotonic() - began < 5
    nothing_left()


def without_weights(base: Path) -> None:
    (base / "model.safetensors").unlink()


def with_a_pickle(base: Path) -> None:
    import torch

    without_weights(base)
    torch.save({}, base / "pytorch_model.bin")


def of_another_architecture(base: Path) -> None:
    (base / "config.json").write_text(json.dumps({"model_type": "longformer"}))


def of_no_architecture(base: Path) -> None:
    (base / "config.json").write_text(json.dumps({"model_type": "nosuch"}))


def with_a_broken_config(base: Path) -> None:
    (base / "config.json").write_text("{")


def without_config(base: Path) -> None:
    (base / "config.json").unlink()


def with_half_its_weights(base: Path) -> None:
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[: len(content) // 2])


def of_another_shape(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))


def with_a_layer_too_many(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))


def without_tokenizer(base: Path) -> None:
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (base / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_weights, "safetensors"),
        (with_a_pickle, "safetensors"),
        (of_another_architecture, "longformer"),
        (of_no_architecture, "nosuch"),
        (with_a_broken_config, "config.json"),
        (without_config, "config.json"),
        (with_half_its_weights, "base"),
        (of_another_shape, "base"),
        (with_a_layer_too_many, "lacks"),
        (without_tokenizer, "tokenizer"),
    ],
)
def test_a_base_that_cannot_be_used(
    spoil: Callable[[Path], None],
    said: str,
    *,
    run: Any,
    tiny_base: Path,
    tmp_path: Path,
    nothing_left: Callable[[], None],
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    spoil(base)
    run("train", "sst2", "--base", base, *SAMPLE).refused(str(base), said)
    nothing_left()


def test_a_full_disk(run: Any, tiny_base: Path, small_disk: Path) -> None:
    home = small_disk / "home"
    Registry(home).close()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    run("train", "sst2", "--base", tiny_base, *SAMPLE, home=home).refused("no space is left")
    filler.unlink()
    assert run("list", "--json", home=home).json == []
    assert not list(home.rglob("*.tmp"))
    assert run("train", "sst2", "--base", tiny_base, *SAMPLE, home=home).code == 0
