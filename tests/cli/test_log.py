"""registry log: who did what, when."""

import os
from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry

pytestmark = pytest.mark.usefixtures("mine")


def test_who_did_what(run: Any) -> None:
    before = len(run("log", "--json").json)
    run("tag", "sst2@2", "owner=bob", "--remove", "stage")
    run("note", "sst2@2", "watch it")
    run("alias", "sst2@1", "production")
    run("alias", "sst2@production", "--remove")
    events = run("log", "--json").json
    assert len(events) == before + 4
    assert [(event["action"], event["subject"], event["details"]) for event in events[:4]] == [
        ("unalias", "sst2@1", {"alias": "production"}),
        ("alias", "sst2@1", {"alias": "production", "from": 2}),
        ("note", "sst2@2", {"note": "watch it"}),
        ("tag", "sst2@2", {"stage": None, "owner": "bob"}),
    ]
    assert all("@" in event["actor"] and event["at"] for event in events)
    assert [event["at"] for event in events] == sorted((event["at"] for event in events), reverse=True)


def test_what_only_looks_is_not_logged(run: Any) -> None:
    before = run("log", "--json").out
    for looked in (["tag", "sst2"], ["note", "sst2"], ["list"], ["show", "sst2"], ["verify"], ["gc"], ["doctor"]):
        assert run(*looked).code == 0
    run("alias", "sst2@1", "production", "--if-currently", 3).refused()
    assert run("log", "--json").out == before


@pytest.mark.parametrize(
    ("ref", "subjects"),
    [
        ("sst2", {"sst2@1", "sst2@2", "sst2@3"}),
        ("sst2@2", {"sst2@2"}),
        ("sst2@production", {"sst2@2"}),
        ("sst2@best", {"sst2@2"}),
        ("cola", {"cola@1"}),
    ],
)
def test_the_log_of_an_adapter_or_a_version(ref: str, subjects: set[str], run: Any) -> None:
    assert {event["subject"] for event in run("log", ref, "--json").json} == subjects


def test_the_table(run: Any, mine: Path) -> None:
    header, _, *rows = run("log", "--limit", 2).lines
    assert header.split() == ["when", "who", "what", "of", "details"]
    assert len(rows) == 2
    assert rows[0].rstrip().endswith("alias staging, from -")
    with Registry(mine) as registry:
        assert registry.events(limit=1)[0].actor in rows[0]


def test_the_log_outlives_versions(run: Any) -> None:
    run("rm", "mix@1")
    assert [event["action"] for event in run("log", "mix", "--json").json] == ["remove", "add"]


def test_nothing_in_the_log(run: Any, tmp_path: Path) -> None:
    Registry(tmp_path / "empty").close()
    empty = run("log", home=tmp_path / "empty")
    assert (empty.code, empty.out, empty.err) == (0, "", "the log is empty\n")
    run("log", "sst3").refused("unknown adapter 'sst3'", "did you mean sst2?")
    run("log", "sst2@9", "--json").refused("sst2@9")


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--limit", "0"], "--limit", 2),
        (["sst2", "cola"], "cola", 2),
        (["SST2"], "not valid", 1),
        (["sst2@canary"], "sst2@canary", 1),
        (["run:0123"], "not valid", 1),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, code: int, run: Any) -> None:
    run("log", *arguments).refused(said, code=code)


def test_the_actor_need_not_be_text(mine: Path, execute: Any) -> None:
    """Names of users come from the environment."""
    environment = {**os.environ, "LOGNAME": "\x1b[31meve\udcff", "POINTSMAN_HOME": str(mine)}
    assert execute("note", "sst2", "hello", env=environment).code == 0
    table = execute("log", "--limit", "1", env=environment)
    assert table.code == 0
    assert "\x1b" not in table.out
    assert "eve" in table.out
