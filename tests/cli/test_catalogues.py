"""registry tasks and registry methods: what can be learned, and how."""

from typing import Any

import pytest

from pointsman.sdk.methods import FORMER_NAMES, METHODS
from pointsman.sdk.tasks import GLUE

NOT_OURS = {"mtl_lora"}
"""It shares its matrices among several tasks that are trained together; here a version is of one task."""


def test_tasks(run: Any) -> None:
    listed = run("tasks", "--json").json
    assert [task["name"] for task in listed] == list(GLUE)
    assert len(listed) == 10
    assert {task["name"]: task["primary"] for task in listed}["cola"] == "matthews_correlation"
    assert [line.split()[0] for line in run("tasks").lines[2:]] == list(GLUE)
    assert "a score from 0 to 5" in run("tasks").out


def test_methods_are_the_librarys() -> None:
    from adapters import ADAPTER_CONFIG_MAP

    assert set(METHODS) == set(ADAPTER_CONFIG_MAP) - set(FORMER_NAMES) - NOT_OURS
    assert NOT_OURS | set(FORMER_NAMES) <= set(ADAPTER_CONFIG_MAP)
    assert all(ADAPTER_CONFIG_MAP[then] == ADAPTER_CONFIG_MAP[now] for then, now in FORMER_NAMES.items())
    assert len(METHODS) == 21


def test_methods(run: Any) -> None:
    listed = run("methods", "--json").json
    assert [method["name"] for method in listed] == list(METHODS)
    assert all(method["summary"] and method["paper"] for method in listed)
    assert [line.split()[0] for line in run("methods").lines[2:]] == list(METHODS)
    assert "pfeiffer" in run("methods").out


@pytest.mark.parametrize(
    ("name", "found"),
    [("lora", "lora"), ("houlsby", "double_seq_bn"), ("mam", "mam"), ("lora+pfeiffer", "lora+seq_bn")],
)
def test_the_fields_of_one(name: str, found: str, run: Any) -> None:
    shown = run("methods", name, "--json").json
    assert shown["name"] == found
    text = run("methods", name).out
    assert text.startswith(f"{found}: ")
    for part in shown["config"].get("configs", [shown["config"]]):
        assert [field for field in part if f"\n{field} " not in text] == []


def test_the_parts_of_a_union_are_named(run: Any) -> None:
    text = run("methods", "compacter+++lora").out
    assert [line for line in text.splitlines() if line.endswith(":")] == ["compacter++:", "lora:"]
    run("methods", "lora+ia3").refused("cannot be in one union")


def test_an_unknown_method_lists_those_there_are(run: Any) -> None:
    run("methods", "lore").refused("did you mean", "lora", "compacter")
