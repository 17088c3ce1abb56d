"""registry submit: the zip for GLUE's leaderboard, and what is said of it."""

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pointsman.cli.submit import _best_ref
from pointsman.registry import Registry, Version
from pointsman.sdk.tasks import SYNTHETIC

from helpers import interrupted_before
from shapes import FIELDS, RUN

SAMPLE = ("--data", "sample")
ALL = {
    "AX.tsv", "CoLA.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "MRPC.tsv", "QNLI.tsv", "QQP.tsv", "RTE.tsv", "SST-2.tsv",
    "STS-B.tsv", "WNLI.tsv",
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, where the program is called."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_in(path: Path) -> dict[str, int]:
    """How many rows each file of a zip has."""
    with zipfile.ZipFile(path) as archive:
        tables = {name: list(csv.reader(io.StringIO(archive.read(name).decode()), "excel-tab"))
                  for name in archive.namelist()}  # fmt: skip
    assert all(table[0] == ["index", "prediction"] for table in tables.values())
    return {name: len(table) - 1 for name, table in tables.items()}


def test_the_best_of_each_task_is_submitted_unless_versions_are_named(run: Any, trained: Path, tmp_path: Path) -> None:
    result = run("submit", "--out", tmp_path / "glue.zip", *SAMPLE, home=trained)
    assert result.code == 0
    assert rows_in(tmp_path / "glue.zip") == {"MRPC.tsv": 200, "SST-2.tsv": 200, "STS-B.tsv": 200}
    best = run("show", "sst2@best", "--json", home=trained).json["ref"]
    assert [line.split() for line in result.lines[2:]] == [
        ["MRPC.tsv", "200", "mrpc@1"],
        ["SST-2.tsv", "200", best],
        ["STS-B.tsv", "200", "stsb@1"],
    ]
    for said in (
        "glue.zip written, from sample (synthetic)",
        "synthetic",
        "numbers of rows: MRPC.tsv 200 of 1,725, SST-2.tsv 200 of 1,821, STS-B.tsv 200 of 1,379\n",
        "missing: AX.tsv, CoLA.tsv, MNLI-m.tsv, MNLI-mm.tsv, QNLI.tsv, QQP.tsv, RTE.tsv, WNLI.tsv (see --fill)",
    ):
        assert said in result.err
    other = next(ref for ref in ("sst2@1", "sst2@2") if ref != best)
    named = run("submit", other, "--out", tmp_path / "one.zip", *SAMPLE, "--json", home=trained)
    assert named.json["files"] == [{"name": "SST-2.tsv", "rows": 200, "official_rows": 1821, "ref": other}]
    assert (named.json["path"], named.json["filled"]) == (str(tmp_path / "one.zip"), [])
    assert set(named.json["missing"]) == ALL - {"SST-2.tsv"}
    assert "missing: AX.tsv" in named.err


def test_a_filled_submission_of_rows_in_the_right_number_only_says_what_it_is_of(
    run: Any, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "glue" / "SST-2").mkdir(parents=True)
    lines = ["index\tsentence", *(f"{index}\ta film" for index in range(1821))]
    (tmp_path / "glue" / "SST-2" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = run("submit", "sst2", "--out", tmp_path / "glue.zip", "--data", tmp_path / "glue", "--fill", home=trained)
    assert set(rows_in(tmp_path / "glue.zip")) == ALL
    assert rows_in(tmp_path / "glue.zip")["QQP.tsv"] == 390_965
    assert len(result.lines) == 2 + 11
    assert ["QQP.tsv", "390,965", "(filled)"] in [line.split() for line in result.lines]
    written, learned, filled = result.err.splitlines()
    newest = run("show", "sst2", "--json", home=trained).json["ref"]
    assert learned == f"trained on synthetic rows, not on GLUE's: {newest}"
    assert written == f"{tmp_path / 'glue.zip'} written, from directory (official layout) glue"
    assert filled.startswith("filled with each task's class 0 (STS-B: 0), not predicted: AX.tsv, CoLA.tsv, ")
    assert "SST-2" not in filled


def test_diagnostic_rows_that_the_data_lack(run: Any, own: Path, tmp_path: Path) -> None:
    with Registry(own) as registry:
        version = registry.version("mrpc")
        base = version.base.name
    settings = ("--epochs", 1, "--max-train-rows", 16, "--max-eval-rows", 16, "--max-length", 32)
    assert run("train", "mnli", "--base", base, *SAMPLE, *settings).code == 0
    (tmp_path / "glue" / "MNLI").mkdir(parents=True)
    for split in ("matched", "mismatched"):
        text = "index\tsentence1\tsentence2\n0\tthe cat ate\tthe dog ate\n"
        (tmp_path / "glue" / "MNLI" / f"test_{split}.tsv").write_text(text, encoding="utf-8")
    result = run("submit", "mnli", "--out", tmp_path / "glue.zip", "--data", tmp_path / "glue")
    assert rows_in(tmp_path / "glue.zip") == {"MNLI-m.tsv": 1, "MNLI-mm.tsv": 1}
    assert "AX.tsv was not predicted" in result.err
    whole = run("submit", "mnli", "--out", tmp_path / "sample.zip", *SAMPLE)
    assert set(rows_in(tmp_path / "sample.zip")) == {"AX.tsv", "MNLI-m.tsv", "MNLI-mm.tsv"}
    assert "AX.tsv was not predicted" not in whole.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sst3", *SAMPLE], ["sst2"]),
        (["sst2@1", "sst2@2", *SAMPLE], ["sst2@1 and sst2@2", "one of each task"]),
        (["sst2"], ["hub", "--data"]),
        (["sst2", "--data", "nowhere"], ["nowhere"]),
        (["sst2", "mrpc", "--data", "."], ["lacks", "SST-2/test.tsv", "MRPC/test.tsv"]),
        (["sst2", *SAMPLE, "--out", "no/glue.zip"], ["directory no ", "create it"]),
        (["sst2", *SAMPLE, "--out", "glue.tar"], [".zip"]),
        (["sst2", *SAMPLE, "--out", "there.zip"], ["there.zip exists", "--force"]),
        (["sst2", *SAMPLE, "--base", "nowhere"], ["nowhere"]),
        (["sst2", *SAMPLE, "--device", "nonsense"], ["nonsense"]),
    ],
    ids=" ".join,
)
def test_what_cannot_be_submitted(arguments: list[str], said: list[str], run: Any, trained: Path, here: Path) -> None:
    Path("there.zip").write_text("somebody's", encoding="utf-8")
    result = run("submit", "--out", "glue.zip", *arguments, home=trained)
    assert result.refused(*said)
    assert result.out == ""
    assert [path.name for path in here.iterdir()] == ["there.zip"]
    assert Path("there.zip").read_text(encoding="utf-8") == "somebody's"


def test_force_overwrites(run: Any, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "glue.zip").write_text("an old one", encoding="utf-8")
    assert run("submit", "sst2", "--out", tmp_path / "glue.zip", *SAMPLE, "--force", home=trained).code == 0
    assert rows_in(tmp_path / "glue.zip") == {"SST-2.tsv": 200}
    assert [path.name for path in tmp_path.iterdir()] == ["glue.zip"]


@pytest.mark.parametrize("arguments", [[], ["sst2"], ["sst2", "--out", "glue.zip", "--precision", "fp8"]])
def test_wrong_usage(arguments: list[str], run: Any, trained: Path) -> None:
    run("submit", *arguments, home=trained).refused(code=2)


def test_versions_of_several_bases_are_refused_before_any_is_loaded(run: Any, ready: Path, tmp_path: Path) -> None:
    """The bases of these versions do not exist."""
    result = run("submit", "--out", tmp_path / "glue.zip", *SAMPLE, home=ready)
    result.refused("one base", "'tiny' (abababababab): sst2@2", "'other' (cdcdcdcdcdcd): cola@1")


def test_adapters_that_only_have_a_tasks_name_are_not_the_default(
    run: Any, own: Path, add_version: Callable[..., Version], tmp_path: Path
) -> None:
    with Registry(own) as registry:
        add_version(registry, "rte", base=registry.version("sst2").base)
    result = run("submit", "--out", tmp_path / "glue.zip", *SAMPLE, "--json")
    assert [file["name"] for file in result.json["files"]] == ["MRPC.tsv", "SST-2.tsv", "STS-B.tsv"]


def test_an_empty_home_has_nothing_to_submit(run: Any, tmp_path: Path) -> None:
    run("submit", "--out", tmp_path / "glue.zip", *SAMPLE).refused("cola", "wnli", "name the versions")


def test_a_directory_that_cannot_be_written(
    execute: Any, bound_by_permissions: Callable[[], None], trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    target = tmp_path / "closed" / "glue.zip"
    result = execute("--home", trained, "submit", "sst2", "--out", target, *SAMPLE, preexec_fn=bound_by_permissions)
    result.refused("glue.zip cannot be written")


def test_a_terminal_sees_how_far_it_is(on_a_terminal: Any, trained: Path, tmp_path: Path) -> None:
    text = on_a_terminal("--home", trained, "submit", "sst2", "--out", tmp_path / "glue.zip", *SAMPLE)
    assert "200/200" in text
    assert "SST-2.tsv" in text


def test_the_best_that_learned_glue_is_found_in_as_many_queries_for_ten_versions_as_for_two(tmp_path: Path) -> None:
    counts = []
    with Registry(tmp_path) as registry:
        for number in range(1, 11):
            # Only the first version learned GLUE's rows.
            data = {"source": "directory (hub layout) glue" if number == 1 else SYNTHETIC}
            with registry.start_run("sst2", **{**RUN, "data": data}) as run:
                pass
            registry.add_version("sst2", **{**FIELDS, "run": run, "metrics": {"eval/accuracy": number / 10}})
            if number in (2, 10):
                with interrupted_before(0) as statements:
                    assert _best_ref(registry, "sst2", synthetic=False) == "sst2@best@1"
                counts.append(len(statements))
        assert _best_ref(registry, "sst2", synthetic=True) == "sst2@best"
    assert counts[0] == counts[1]
