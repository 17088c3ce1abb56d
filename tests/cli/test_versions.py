"""registry show, alias, export and runs."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest


def test_show_gives_one_object(run: Any, trained: Path) -> None:
    shown = run("show", "sst2@1", "--json", home=trained).json
    assert shown["ref"] == "sst2@1"
    assert shown["method"] == "seq_bn"
    assert shown["config"]["reduction_factor"] == 16
    assert shown["base"]["model_type"] == "bert"
    assert len(shown["base"]["fingerprint"]) == len(shown["digest"]) == 64
    assert set(shown["metrics"]) == {"eval/accuracy", "eval/loss"}
    assert shown["run"]["status"] == "finished"
    assert shown["run"]["data"]["rows"] == {"train": 64, "eval": 32}
    assert shown["run"]["environment"]["packages"]["adapters"]
    assert [file["name"] for file in shown["files"]] == [
        "adapter.safetensors",
        "adapter_config.json",
        "head_config.json",
        "model_head.safetensors",
    ]


def test_show_for_people(run: Any, trained: Path) -> None:
    shown = run("show", "sst2", "--json", home=trained).json
    text = run("show", "sst2", home=trained).out
    expected = [
        "sst2@2",
        "compacter",
        shown["digest"],
        shown["base"]["fingerprint"],
        shown["run"]["uid"],
        "sample (synthetic)",
        "64 train, 32 eval",
        "eval/accuracy",
        *(file["sha256"] for file in shown["files"]),
    ]
    assert [item for item in expected if item not in text] == []
    assert "phm_dim" not in text
    assert "  phm_dim                       4" in run("show", "sst2", "--all", home=trained).lines


@pytest.mark.parametrize(
    "command", [["show"], ["history"], ["predict"], ["alias"], ["export"], ["compare"], ["tag"], ["note"]]
)
@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("sst3", "mrpc, sst2, stsb"),
        ("sst2@9", "sst2@9"),
        ("sst2@production", "production"),
        ("SST2", "not valid"),
        ("sst2@", "not valid"),
        ("", "not valid"),
    ],
)
def test_an_unknown_ref(command: list[str], ref: str, said: str, *, run: Any, trained: Path, tmp_path: Path) -> None:
    more = {"alias": ["production"], "export": [tmp_path / "files"], "predict": ["text"], "compare": ["sst2"]}.get(
        command[0], []
    )
    run(*command, ref, *more, home=trained).refused(said)
    assert not (tmp_path / "files").exists()


def test_an_alias_moves(run: Any, own: Path) -> None:
    made = run("alias", "sst2@1", "production")
    assert (made.code, made.out) == (0, "")
    assert "sst2@production is sst2@1" in made.err
    assert run("show", "sst2@production", "--json").json["number"] == 1
    run("alias", "sst2", "production")
    shown = run("show", "sst2@production", "--json").json
    assert (shown["number"], shown["aliases"]) == (2, ["production"])
    assert "production" in run("list").out


@pytest.mark.parametrize("name", ["latest", "best", "3", "v3", "Prod", "a b", ""])
def test_an_alias_that_cannot_be(name: str, run: Any, own: Path) -> None:
    run("alias", "sst2", name).refused("alias")
    assert run("show", "sst2", "--json").json["aliases"] == []


def test_export_writes_the_files(run: Any, trained: Path, tmp_path: Path) -> None:
    result = run("export", "sst2@1", tmp_path / "a" / "files", home=trained)
    assert (result.code, result.out) == (0, "")
    written = {path.name: path.read_bytes() for path in (tmp_path / "a" / "files").iterdir()}
    shown = run("show", "sst2@1", "--json", home=trained).json
    assert {file["name"]: file["sha256"] for file in shown["files"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in written.items()
    }
    assert json.loads(written["adapter_config.json"])["config"]["reduction_factor"] == 16


def test_export_overwrites_nothing(run: Any, trained: Path, tmp_path: Path) -> None:
    directory = tmp_path / "files"
    directory.mkdir()
    (directory / "head_config.json").write_text("mine")
    run("export", "sst2", directory, home=trained).refused("head_config.json")
    assert [path.name for path in directory.iterdir()] == ["head_config.json"]
    assert (directory / "head_config.json").read_text() == "mine"
    (directory / "head_config.json").unlink()
    (directory / "notes.txt").write_text("mine as well")
    assert run("export", "sst2", directory, home=trained).code == 0
    assert run("export", "sst2", directory, home=trained).code == 0
    assert (directory / "notes.txt").read_text() == "mine as well"


def test_export_into_a_file(run: Any, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    run("export", "sst2", tmp_path / "file", home=trained).refused("file")
    run("export", "sst2", tmp_path / "file" / "below", home=trained).refused()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_damaged_file_is_never_used(run: Any, own: Path, tmp_path: Path) -> None:
    shown = run("show", "sst2", "--json").json
    digest = next(file["sha256"] for file in shown["files"] if file["name"] == "adapter.safetensors")
    path = own / "objects" / digest[:2] / digest[2:]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    run("export", "sst2", tmp_path / "files").refused("damaged", digest)
    assert not (tmp_path / "files").exists()
    run("predict", "sst2", "a film").refused("damaged", digest)
    path.unlink()
    run("predict", "sst2", "a film").refused("missing", digest)


def test_runs(run: Any, trained: Path) -> None:
    runs = run("runs", "--json", home=trained).json
    assert [item["version"] for item in runs] == ["stsb@1", "mrpc@1", "sst2@2", "sst2@1"]
    assert {item["status"] for item in runs} == {"finished"}
    assert [item["version"] for item in run("runs", "sst2", "--json", home=trained).json] == ["sst2@2", "sst2@1"]
    assert len(run("runs", "--limit", "1", "--json", home=trained).json) == 1
    table = run("runs", home=trained).lines
    assert [row.split()[0] for row in table[2:]] == [item["uid"] for item in runs]


def test_runs_that_match_a_query(run: Any, trained: Path, ready: Path) -> None:
    found = run("runs", "--where", "task = sst2 and status = finished", "--json", home=trained).json
    assert [item["version"] for item in found] == ["sst2@2", "sst2@1"]
    found = run("runs", "sst2", "--where", "method = compacter", "--json", home=trained).json
    assert [item["version"] for item in found] == ["sst2@2"]
    limited = run("runs", "--where", "task = sst2", "--limit", 1, home=trained)
    assert (len(limited.lines), limited.err) == (3, "1 to 1 of 2; more: --limit N\n")
    none = run("runs", "--where", "seed = 99", home=trained)
    assert (none.code, none.out, none.err) == (0, "", "no run matches\n")
    run("runs", "--where", "statu = finished", home=trained).refused("did you mean 'status'")
    run("runs", "--where", "", home=trained).refused("query")
    best = run("runs", "--where", "best(eval/accuracy) > 0.8", "--json", home=ready).json
    assert [item["version"] for item in best] == ["sst2@2"]


def test_no_runs(run: Any) -> None:
    assert run("runs", "--json").out == "[]\n"
    result = run("runs")
    assert (result.code, result.out, result.err) == (0, "", "no runs yet\n")
