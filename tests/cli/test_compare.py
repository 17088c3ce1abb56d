"""registry compare: versions and runs side by side."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry


def fields(result: Any) -> dict[str, dict[str, Any]]:
    """The values by field."""
    assert result.code == 0, result.err
    return {row["name"]: row["values"] for row in result.json}


def test_every_field_of_two_versions(run: Any, ready: Path) -> None:
    found = fields(run("compare", "sst2@1", "sst2@2", "--json", home=ready))
    shown = {ref: run("show", ref, "--json", home=ready).json for ref in ("sst2@1", "sst2@2")}
    assert found["method"] == {"sst2@1": "seq_bn", "sst2@2": "lora"}
    assert found["made from"] == {"sst2@1": None, "sst2@2": "sst2@1"}
    assert found["config.reduction_factor"] == {"sst2@1": 16, "sst2@2": None}
    assert found["config.bias"] == {"sst2@1": None, "sst2@2": False}
    assert found["settings.lr"] == {"sst2@1": 0.001, "sst2@2": 0.00002}
    assert found["data.rows.train"] == {"sst2@1": 64, "sst2@2": 64}
    assert found["environment.python"] == {"sst2@1": "3.11", "sst2@2": "3.11"}
    for ref, version in shown.items():
        assert found["parameters"][ref] == version["parameters"]
        assert found["seed"][ref] == version["run"]["seed"]
        assert found["metrics.eval/accuracy"][ref] == version["metrics"]["eval/accuracy"]
    assert [name.partition(".")[0] for name in found] == sorted(
        (name.partition(".")[0] for name in found), key=list(dict.fromkeys(n.partition(".")[0] for n in found)).index
    )


def test_only_what_differs(run: Any, ready: Path) -> None:
    every = fields(run("compare", "sst2@1", "sst2@2", "--json", home=ready))
    differing = fields(run("compare", "sst2@1", "sst2@2", "--diff", "--json", home=ready))
    assert differing == {
        name: values for name, values in every.items() if json.dumps(values["sst2@1"]) != json.dumps(values["sst2@2"])
    }
    assert {"method", "settings.lr"} <= differing.keys()
    assert "base" not in differing


def test_which_settings_were_typed_is_no_setting(run: Any, home: Path, add_run: Callable[..., str]) -> None:
    with Registry(home) as registry:
        runs = [add_run(registry, settings={"lr": 0.1, "asked": asked}) for asked in ([], ["lr"])]
    assert run("compare", *(f"run:{uid}" for uid in runs), "--diff").err == "nothing differs\n"


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_nothing_differs(form: list[str], run: Any, ready: Path) -> None:
    result = run("compare", "sst2@1", "sst2@1", "--diff", *form, home=ready)
    assert result.code == 0
    if form:
        assert result.out in ("[]\n", "field,sst2@1,sst2@1\n")
    else:
        assert (result.out, result.err) == ("", "nothing differs\n")


def test_the_table(run: Any, ready: Path) -> None:
    """A small number is not rounded to nothing, and what one does not have is a dash."""
    header, _, *rows = run("compare", "sst2@1", "sst2@2", "cola", "--diff", home=ready).lines
    assert header.split() == ["field", "sst2@1", "sst2@2", "cola"]
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    assert cells["settings.lr"] == ["0.0010", "2e-05", "0.0010"]
    assert cells["config.bias"] == ["-", "false", "-"]
    assert cells["metrics.eval/accuracy"] == ["0.7000", "0.9000", "-"]
    assert cells["parameters"] == ["100", "1600", "100"]


def test_csv(run: Any, ready: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("compare", "sst2@1", "sst2@2", "--csv", home=ready).out)))
    cells = {row["field"]: (row["sst2@1"], row["sst2@2"]) for row in rows}
    assert cells["settings.lr"] == ("0.001", "2e-05")
    assert cells["config.bias"] == ("", "false")
    assert len(rows) == len(run("compare", "sst2@1", "sst2@2", "--json", home=ready).json)


def test_a_version_and_a_run(run: Any, ready: Path) -> None:
    """The run that made a version has what is known of the training; its metrics are the last that it logged."""
    uid = run("show", "sst2@2", "--json", home=ready).json["run"]["uid"]
    found = fields(run("compare", "sst2@2", f"run:{uid[:8]}", "--json", home=ready))
    for name, values in found.items():
        version, of_run = values.values()
        if name.startswith(("settings", "data", "environment")) or name in ("seed", "status", "base", "method"):
            assert version == of_run
    assert found["metrics.eval/accuracy"] == {"sst2@2": 0.9, f"run:{uid[:8]}": 0.898}


def test_aliases_and_best(run: Any, ready: Path) -> None:
    found = fields(run("compare", "sst2@production", "sst2@best", "sst2", "--json", home=ready))
    assert list(found["method"].values()) == ["lora", "lora", "seq_bn"]


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([], "REF", 2),
        (["sst2"], "two or more", 2),
        (["sst2", "cola", "--csv", "--json"], "exclude each other", 2),
        (["sst2", "cola", "--plot"], "--plot", 2),
        (["sst2", "sst3"], "known: cola, mix, sst2", 1),
        (["sst2", "sst2@9"], "sst2@9", 1),
        (["sst2", "sst2@"], "not valid", 1),
        (["sst2", "run:"], "\ntry: registry --home {home} runs\n", 1),
        (["sst2", "run:ffffffffffff"], "\ntry: registry --home {home} runs\n", 1),
        (["sst2", "run:%"], "\ntry: registry --home {home} runs\n", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(arguments: list[str], said: str, code: int, *, run: Any, ready: Path) -> None:
    result = run("compare", *arguments, home=ready)
    result.refused(said.replace("{home}", str(ready)), code=code)
    assert result.out == ""
