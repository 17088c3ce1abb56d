"""registry show for people: what differs from the defaults, and everything with --all."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pointsman.registry import Origin, Registry
from pointsman.sdk.core.composition import parse
from pointsman.sdk.details.runs import data_rows, environment_rows
from pointsman.sdk.methods.defaults import default_config
from pointsman.sdk.methods.fusion import fuse_config
from pointsman.sdk.training.settings import TrainSettings

COMPLETED = {"epochs": 3, "learning_rate": 0.0001, "batch_size": 16, "average": 0.2, "max_length": 128}
"""What a training fills in where nothing was requested."""

TOTAL = len(TrainSettings().to_dict()) - 1
"""Settings without the seed, which is shown beside the run."""

TRAINING = {
    "settings": {
        **TrainSettings(seed=7, weight_decay=0.01).to_dict(),
        **COMPLETED,
        "asked": ["epochs", "seed", "weight_decay"],
        "config": {"r": 8},
    },
    "data": {
        "source": "reviews.csv",
        "fingerprint": "ef" * 32,
        "rows": {"train": 1000, "eval": 200},
        "majority": 0.625,
        "given": {"base": "minilm", "data": "reviews.csv", "validation": None, "text": ["body"], "label": "stars"},
    },
    "environment": {
        "python": "3.11.7",
        "packages": {"pointsman": "0.1.0", "torch": "2.13.0", "transformers": "4.57.6", "adapters": "1.3.0"},
        "platform": "Linux-6.18",
        "processor": "A processor",
        "cores": 8,
        "threads": 1,
        "device": "cpu",
        "precision": "fp32",
        "git": {"commit": "12" * 20, "changed": True},
    },
}


OF_ROWS = {
    "repeated": {"eval": 12},
    "absent": {"eval": ["rare"]},
    "cut": {"rows": {"train": 4, "eval": 0}, "tokens": {"train": 90, "eval": 0}, "max_length": 136, "held": 0.99},
    "target": {"mean": 250_000.0, "deviation": 30_000.5},
}


def test_what_is_known_of_the_rows_is_shown_where_it_says_something() -> None:
    run = SimpleNamespace(data=OF_ROWS)
    assert data_rows(run, every=False) == [  # type: ignore[arg-type]
        ("in training, too", "12 eval"),
        ("without rows", "eval rare"),
        ("cut rows", "4 train, 0 eval"),
        ("scores", "mean 250000, deviation 30000.5"),
    ]
    nothing = SimpleNamespace(data={"repeated": {"eval": 0}, "cut": {"rows": {"train": 0, "eval": 0}}})
    assert data_rows(nothing, every=False) == []  # type: ignore[arg-type]
    assert data_rows(nothing, every=True) == [  # type: ignore[arg-type]
        ("in training, too", "0 eval"),
        ("cut rows", "0 train, 0 eval"),
    ]


@pytest.mark.parametrize(
    "name", ["repeated", "cut", "absent", "target", "rows", "majority", "given", "measured", "fingerprint"]
)
@pytest.mark.parametrize("odd", [3, "x", None, [1], {"rows": 3}, {"rows": {"train": "x"}}, {"mean": "x"}])
def test_data_of_any_shape_are_shown(name: str, odd: Any) -> None:
    for every in (False, True):
        assert all(isinstance(text, str) for _, text in data_rows(SimpleNamespace(data={name: odd}), every=every))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["packages", "git", "python", "device"])
@pytest.mark.parametrize("odd", [3, "x", [1], {"torch": [1]}])
def test_an_environment_of_any_shape_is_shown(name: str, odd: Any) -> None:
    run = SimpleNamespace(environment={name: odd})
    for every in (False, True):
        assert all(isinstance(text, str) for _, text in environment_rows(run, every=every))  # type: ignore[arg-type]


def config(method: str, **changes: Any) -> dict[str, Any]:
    """A method's configuration with some fields set: by name, or in a union ``part__field`` by the part's index."""
    changed = default_config(method)
    for name, value in changes.items():
        part, _, field = name.rpartition("__")
        (changed if part == "" else changed["configs"][int(part[1:])])[field] = value
    return changed


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    with Registry(home) as opened:
        yield opened


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each section by its title; those before the first title by ""."""
    found: dict[str, list[str]] = {"": []}
    title = ""
    for line in text.splitlines():
        if line.startswith(("configuration: ", "settings: ")) or line in ("data", "environment"):
            title = line
            found[title] = []
            continue
        if line == "":
            title = ""
        found[title].append(line)
    return found


def test_an_adapter(run: Any, registry: Registry, add_version: Any, add_run: Any) -> None:
    uid = add_run(registry, seed=7, **TRAINING)
    add_version(registry, config=config("seq_bn", reduction_factor=8, leave_out=[0, 1]), run=uid)
    found = sections(run("show", "sst2").out)
    assert found["configuration: 2 of 33 fields set; the others are the defaults of seq_bn (--all shows them)"] == [
        "  reduction_factor  8 (default: 16)",
        "  leave_out         0, 1 (default: none)",
    ]
    assert found[f"settings: 2 of {TOTAL} set; the others are defaults (--all shows them)"] == [
        "  epochs        3",
        "  weight_decay  0.01 (default: 0.0)",
    ]
    assert found["data"] == [
        "  source          reviews.csv",
        f"  sha256          {'ef' * 32}",
        "  rows            1000 train, 200 eval",
        "  majority class  62.50 %",
    ]
    assert found["environment"] == [
        "  packages  python 3.11.7, pointsman 0.1.0, torch 2.13.0, transformers 4.57.6, adapters 1.3.0",
        "  device    cpu, fp32, 1 thread",
        "  machine   A processor, 8 cores, Linux-6.18",
        "  commit    121212121212, with uncommitted changes",
    ]
    assert "seed     7" in found[""]


def test_everything(run: Any, registry: Registry, add_version: Any, add_run: Any) -> None:
    uid = add_run(registry, seed=7, **TRAINING)
    add_version(registry, config=config("seq_bn", reduction_factor=8), run=uid)
    found = sections(run("show", "sst2", "--all").out)
    fields = found["configuration: all 33 fields"]
    assert [line.split()[0] for line in fields] == list(default_config("seq_bn"))
    assert [line.split(maxsplit=1)[1] for line in fields if line.split()[0] in ("reduction_factor", "inv_adapter")] == [
        "8 (default: 16)",
        "not set",
    ]
    settings = dict(line.split(maxsplit=1) for line in found[f"settings: all {TOTAL}"])
    assert settings.keys() == TrainSettings().to_dict().keys() - {"seed"}
    assert settings["learning_rate"] == "0.0001"
    assert settings["weight_decay"] == "0.01 (default: 0.0)"
    assert settings["report_to"] == "none"
    assert found["data"][4:] == [
        "  requested base        minilm",
        "  requested data        reviews.csv",
        "  requested validation  not set",
        "  requested text        body",
        "  requested label       stars",
    ]
    assert [line.split()[0] for line in found["environment"]] == [
        "python",
        *(f"packages.{name}" for name in TRAINING["environment"]["packages"]),  # type: ignore[index]
        *("platform", "processor", "cores", "threads", "device", "precision", "git.commit", "git.changed"),
    ]
    assert found["environment"][-1].split() == ["git.changed", "true"]


def test_the_json_has_everything_either_way(run: Any, registry: Registry, add_version: Any, add_run: Any) -> None:
    uid = add_run(registry, **TRAINING)
    add_version(registry, config=config("seq_bn"), run=uid)
    shown = run("show", "sst2", "--json").json
    assert shown == run("show", "sst2", "--all", "--json").json
    assert shown["config"] == default_config("seq_bn")
    assert {name: shown["run"][name] for name in TRAINING} == TRAINING


@pytest.mark.parametrize(
    ("method", "changes", "expected"),
    [
        ("lora+seq_bn", {"_0__r": 4}, ["  lora.r  4 (default: 8)"]),
        (
            "mam",
            {"_0__prefix_length": 5, "_1__reduction_factor": 4},
            ["  prefix_tuning.prefix_length  5 (default: 30)", "  par_bn.reduction_factor      4 (default: 2)"],
        ),
    ],
)
def test_parts_of_a_union_by_name(
    method: str, changes: dict[str, Any], expected: list[str], *, run: Any, registry: Registry, add_version: Any
) -> None:
    add_version(registry, method=method, config=config(method, **changes))
    total = sum(map(len, default_config(method)["configs"]))
    found = sections(run("show", "sst2").out)
    title = f"configuration: {len(expected)} of {total} fields set; the others are the defaults of {method}"
    assert found[f"{title} (--all shows them)"] == expected
    assert len(sections(run("show", "sst2", "--all").out)[f"configuration: all {total} fields"]) == total


def test_a_fusion(run: Any, registry: Registry, add_version: Any) -> None:
    for name in ("a", "b"):
        add_version(registry, name, files={"adapter.safetensors": name.encode()})
    add_version(
        registry,
        "fused",
        method="fuse",
        config=fuse_config(["a@1", "b@1"], {"value": False}),
        parents=[("member", "a@1"), ("member", "b@1")],
    )
    found = sections(run("show", "fused").out)
    assert "composition  fuse(a@1, b@1)" in found[""]
    assert found["configuration: 1 of 10 fields set; the others are the defaults of fuse (--all shows them)"] == [
        "  value  false (default: true)"
    ]


def test_a_composition(run: Any, registry: Registry, add_version: Any) -> None:
    for name in ("a", "b"):
        add_version(registry, name, files={"adapter.safetensors": name.encode()})
    composition = parse("average(a@1: 0.7, b@1: 0.3)")
    add_version(registry, "mean", method="average", config={"composition": composition.to_dict()})  # type: ignore[union-attr]
    text = run("show", "mean").out
    assert "composition  average(a@1: 0.7, b@1: 0.3)" in text.splitlines()
    assert not [title for title in sections(text) if title]
    assert "{" not in text


def test_a_merged_version(run: Any, registry: Registry, add_version: Any) -> None:
    tags = {"merge": "linear", "merge.head": "merged", "merge.weights": "0.7,0.3"}
    add_version(registry, method="lora", config=config("lora", r=16), tags=tags)
    found = sections(run("show", "sst2").out)
    assert "tags         merge=linear, merge.head=merged, merge.weights=0.7,0.3" in found[""]
    assert found["configuration: 1 of 17 fields set; the others are the defaults of lora (--all shows them)"] == [
        "  r  16 (default: 8)"
    ]


def test_a_part_of_a_larger_piece_of_work(run: Any, registry: Registry, add_version: Any, add_run: Any) -> None:
    uid = add_run(registry, origin=Origin(kind="trial", name="sst2-lora", item="3"))
    add_version(registry, run=uid)
    assert "part of  trial 3 of 'sst2-lora'" in run("show", "sst2").lines


def test_nothing_set(run: Any, registry: Registry, add_version: Any, add_run: Any) -> None:
    settings = {**TrainSettings().to_dict(), **COMPLETED, "asked": []}
    uid = add_run(registry, settings=settings, data={}, environment={})
    add_version(registry, config=config("seq_bn"), run=uid)
    found = sections(run("show", "sst2").out)
    assert found["configuration: 0 of 33 fields set; the others are the defaults of seq_bn (--all shows them)"] == []
    assert found[f"settings: 0 of {TOTAL} set; the others are defaults (--all shows them)"] == []
    assert not {"data", "environment"} & found.keys()


def test_a_run_that_recorded_no_requests(run: Any, registry: Registry, add_version: Any, add_run: Any) -> None:
    """Of such a run, all that differs from the defaults counts; a default that is chosen by the training does, too."""
    settings = {**TrainSettings().to_dict(), **COMPLETED, "warmup": 0.1, "lr": 3}
    add_version(registry, config=config("seq_bn"), run=add_run(registry, settings=settings))
    found = sections(run("show", "sst2").out)
    assert [
        line.split()[0] for line in found[f"settings: 7 of {TOTAL + 1} set; the others are defaults (--all shows them)"]
    ] == [*("epochs", "learning_rate", "warmup", "average", "batch_size", "max_length", "lr")]


@pytest.mark.parametrize(
    ("method", "stored"),
    [("of tomorrow", {"a": 1}), ("mam", {"architecture": "union"}), ("lora", {"a": [{"\x1b[31m": {}}], "\x1b[31m": 1})],
)  # fmt: skip
def test_a_configuration_of_another_release(
    method: str, stored: dict[str, Any], run: Any, registry: Registry, add_version: Any
) -> None:
    add_version(registry, method=method, config=stored)
    result = run("show", "sst2")
    assert result.code == 0
    assert "\x1b" not in result.out
    assert f"configuration: all {len(stored)} fields" in result.lines


@pytest.mark.parametrize("flags", [[], ["--all"]])
def test_lines_fit(flags: list[str], run: Any, registry: Registry, add_version: Any, add_run: Any) -> None:
    """Words, such as paths, stay whole; all else is wrapped below its name."""
    changes = TRAINING["environment"] | {"processor": "Some (R) Processor with a Name " * 4}
    uid = add_run(registry, **TRAINING | {"environment": changes})
    task = {"name": "intents", "description": "what is meant " * 12, "text": ["text"]}
    labels = [f"label_{number}" for number in range(60)]
    add_version(
        registry,
        task={**task, "labels": labels},
        config=config("seq_bn", leave_out=list(range(40))),
        run=uid,
        tags={f"key{number}": "value" for number in range(20)},
    )
    result = run("show", "sst2", *flags)
    assert [line for line in result.lines if len(line.rstrip()) > 100] == []
    wrapped = " ".join(line.strip() for line in result.lines)
    assert ", ".join(labels) in wrapped
    assert f"{', '.join(map(str, range(40)))} (default: none)" in wrapped
