"""registry rm: versions go, numbers and histories stay."""

from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry


def refs(run: Any) -> list[str]:
    return [version["ref"] for version in run("list", "--all", "--json").json]


@pytest.mark.usefixtures("mine")
def test_what_nothing_needs_goes(run: Any) -> None:
    result = run("rm", "mix@1")
    assert (result.code, result.out, result.err) == (0, "", "mix@1 removed\n")
    assert refs(run) == ["cola@1", "sst2@1", "sst2@2", "sst2@3"]
    run("show", "mix").refused("known: cola, sst2")
    assert run("verify").code == 0


@pytest.mark.usefixtures("mine")
def test_several_from_child_to_parent(run: Any) -> None:
    run("alias", "sst2@staging", "--remove")
    result = run("rm", "mix@1", "sst2@3", "cola@1")
    assert result.err == "mix@1 removed\nsst2@3 removed\ncola@1 removed\n"
    assert refs(run) == ["sst2@1", "sst2@2"]


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("sst2@1", ["sst2@2, sst2@3 were made from it"]),
        ("sst2@2", ["sst2@3 was made from it", "the alias sst2@production points to it"]),
        ("sst2@production", ["sst2@2 is in use"]),
        ("cola@1", ["mix@1 was made from it"]),
    ],
)
@pytest.mark.usefixtures("mine")
def test_what_is_in_use_is_kept_unless_forced(ref: str, said: list[str], run: Any) -> None:
    before = refs(run)
    run("rm", ref).refused(*said, "force")
    assert refs(run) == before
    assert run("rm", ref, "--force").code == 0
    assert len(refs(run)) == len(before) - 1
    assert run("verify").code == 0


@pytest.mark.usefixtures("mine")
def test_what_is_forced_out_is_still_named(run: Any) -> None:
    digest = run("show", "sst2@1", "--json").json["digest"]
    uid = run("show", "sst2@1", "--json").json["run"]["uid"]
    run("rm", "sst2@1", "--force")
    assert run("show", "sst2@2", "--json").json["parents"] == ["sst2@1"]
    assert f"init of sst2@1, not in this registry, digest {digest[:12]}" in run("show", "sst2@2", "--tree").out
    assert run("list", "--where", "parent = sst2@1", "--json").json[0]["ref"] == "sst2@2"
    assert len(run("history", f"run:{uid}", "--metric", "train/loss", "--json").json) == 50
    assert next(item for item in run("runs", "--json").json if item["uid"] == uid)["version"] is None


@pytest.mark.usefixtures("mine")
def test_aliases_of_what_is_forced_out_go(run: Any) -> None:
    run("rm", "sst2@production", "--force")
    assert refs(run) == ["cola@1", "mix@1", "sst2@1", "sst2@3"]
    run("show", "sst2@production").refused("known: sst2@1, sst2@3, sst2@staging")


def test_a_number_is_never_given_again(run: Any, mine: Path, add_version: Any) -> None:
    run("rm", "mix@1")
    with Registry(mine) as registry:
        assert add_version(registry, "mix").ref == "mix@2"


@pytest.mark.usefixtures("mine")
def test_what_was_removed_before_an_error_is_told(run: Any) -> None:
    result = run("rm", "mix@1", "sst2@9", "sst2@3")
    assert result.code == 1
    removed, error, advice = result.err.splitlines()
    assert removed == "mix@1 removed"
    assert error.startswith("error: unknown version 'sst2@9'")
    assert advice == "try: registry list sst2"
    assert refs(run) == ["cola@1", "sst2@1", "sst2@2", "sst2@3"]


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ([], "REF", 2),
        (["sst2@1", "--recursive"], "--recursive", 2),
        (["sst2"], "as in sst2@3", 1),
        (["sst2@latest"], "as in sst2@3", 1),
        (["sst2@best", "--force"], "as in sst2@2", 1),
        (["sst2@9"], "sst2@9", 1),
        (["sst2@canary"], "sst2@canary", 1),
        (["sst3@1"], "known: cola, mix, sst2", 1),
        (["sst2@"], "not valid", 1),
        (["run:0123456789ab"], "not valid", 1),
        (["*"], "not valid", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("mine")
def test_wrong_usage_removes_nothing(arguments: list[str], said: str, code: int, run: Any) -> None:
    run("rm", *arguments).refused(said, code=code)
    assert len(refs(run)) == 5
