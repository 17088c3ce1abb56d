"""registry show --tree: what a version was made from, and what was made from it."""

from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry


def branches(text: str) -> list[str]:
    """A tree's lines without what draws it."""
    return [line.lstrip("│├└─ ").rstrip() for line in text.splitlines()]


def test_what_it_was_made_from(run: Any, ready: Path) -> None:
    """Down to bases, runs and data; what was drawn before is only named."""
    result = run("show", "sst2@3", "--tree", home=ready)
    assert result.code == 0
    uids = [run("show", ref, "--json", home=ready).json["run"]["uid"] for ref in ("sst2@1", "sst2@2")]
    above, _, below = result.out.partition("\n\nwhat was made from it\n")
    assert branches(above) == [
        "made from",
        "sst2@3",
        f"base tiny, sha256 {'ab' * 6}",
        "average of sst2@1",
        f"base tiny, sha256 {'ab' * 6}",
        f"run {uids[0]}, seed 1",
        f"data: source sample, fingerprint {'ef' * 6}",
        "average of sst2@2",
        f"base tiny, sha256 {'ab' * 6}",
        f"run {uids[1]}, seed 2",
        f"data: source sample, fingerprint {'ef' * 6}",
        "init of sst2@1 (see above)",
    ]
    assert "│   ├── run" in above
    assert branches(below) == ["sst2@3", "mix@1"]


def test_what_was_made_from_it(run: Any, ready: Path) -> None:
    below = run("show", "sst2@1", "--tree", home=ready).out.partition("what was made from it\n")[2]
    assert branches(below) == ["sst2@1", "sst2@2", "sst2@3", "mix@1", "sst2@3 (see above)"]
    assert run("show", "mix", "--tree", home=ready).out.endswith("what was made from it\nnothing yet\n")


def test_the_graph_as_json(run: Any, ready: Path) -> None:
    digests = {version["ref"]: version["digest"] for version in run("list", "--all", "--json", home=ready).json}
    graph = run("show", "sst2@2", "--tree", "--json", home=ready).json

    def parent(ref: str, role: str) -> dict[str, Any]:
        return {"ref": ref, "digest": digests[ref], "role": role, "present": True}

    assert graph == {
        "ref": "sst2@2",
        "parents": {
            "sst2@2": [parent("sst2@1", "init")],
            "sst2@3": [parent("sst2@1", "average"), parent("sst2@2", "average")],
            "mix@1": [parent("sst2@3", "part"), parent("cola@1", "part")],
        },
        "children": {
            "sst2@1": ["sst2@2", "sst2@3"],
            "sst2@2": ["sst2@3"],
            "sst2@3": ["mix@1"],
            "cola@1": ["mix@1"],
        },
    }


def test_what_is_gone_is_named(run: Any, mine: Path) -> None:
    digest = run("show", "sst2@1", "--json").json["digest"]
    assert run("rm", "sst2@1", "--force").code == 0
    text = run("show", "sst2@2", "--tree").out
    assert f"└── init of sst2@1, not in this registry, digest {digest[:12]}" in text
    graph = run("show", "sst2@2", "--tree", "--json").json
    assert graph["parents"]["sst2@2"] == [{"ref": "sst2@1", "digest": digest, "role": "init", "present": False}]
    assert "sst2@1" not in graph["children"]


def test_a_long_line_of_descent(run: Any, home: Path, add_version: Any) -> None:
    """The text ends somewhere; the graph has all of it."""
    with Registry(home) as registry:
        for number in range(60):
            add_version(registry, files={"a": str(number).encode()}, parents=[("init", "sst2")] if number else [])
    above = run("show", "sst2", "--tree").out.partition("what was made from it")[0]
    assert "init of sst2@10" in above
    assert branches(above)[-2].endswith("(and so on)")
    below = run("show", "sst2@1", "--tree").out.partition("what was made from it")[2]
    assert branches(below)[-1] == "sst2@52 (and so on)"
    assert len(run("show", "sst2", "--tree", "--json").json["parents"]) == 59


def test_many_ways_to_the_same_end(run: Any, home: Path, add_version: Any) -> None:
    """Twenty versions, each of the two before it: millions of ways, and every version drawn once."""
    with Registry(home) as registry:
        for number in range(1, 31):
            parents = [("average", f"sst2@{before}") for before in (number - 1, number - 2) if before > 0]
            add_version(registry, files={"a": str(number).encode()}, parents=parents)
    for ref in ("sst2@30", "sst2@1"):
        result = run("show", ref, "--tree")
        assert result.code == 0
        assert len(result.lines) < 150


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--tree"], "REF", 2),
        (["sst2", "cola", "--tree"], "cola", 2),
        (["sst3", "--tree"], "known: cola, mix, sst2", 1),
        (["sst2@9", "--tree", "--json"], "sst2@9", 1),
        (["run:0123456789ab", "--tree"], "not valid", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(arguments: list[str], said: str, code: int, *, run: Any, ready: Path) -> None:
    result = run("show", *arguments, home=ready)
    result.refused(said, code=code)
    assert result.out == ""
