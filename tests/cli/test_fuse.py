"""registry fuse and registry attention: what they print, refuse and leave in the registry."""

from pathlib import Path
from typing import Any

import pytest

from pointsman.registry import Registry

SAMPLE = (
    *("--data", "sample", "--max-train-rows", "64", "--max-eval-rows", "32", "--epochs", "1"),
    *("--max-length", "32", "--batch-size", "32"),
)


def test_a_fusion_is_trained_shown_and_repeated(run: Any, own: Path) -> None:
    result = run("fuse", "fused", "--of", "sst2@1, mrpc,stsb", "--task", "rte", *SAMPLE, "--set", "dropout_prob=0.2")
    assert result.code == 0, result.err
    assert result.err.startswith("importing the libraries …\nstep 1/2")
    said = dict(line.split("  ", 1) for line in result.lines if "  " in line)
    assert said["registered"].strip() == "fused@1"
    assert result.lines[-1] == 'next: registry predict fused "one text" "another"'
    shown = run("show", "fused", "--json").json
    assert shown["method"] == "fuse"
    assert shown["config"]["composition"] == {"fuse": ["sst2@1", "mrpc@1", "stsb@1"]}
    assert shown["config"]["fusion"]["dropout_prob"] == 0.2
    assert shown["parents"] == ["sst2@1", "mrpc@1", "stsb@1"]
    assert shown["run"]["settings"]["learning_rate"] == 5e-5
    again = run("train", "--like", "fused")
    assert again.lines[-1] == "the weights are those of fused@1, bit for bit"
    longer = run("train", "--like", "fused@1", "--set", "value=false", "--seed", "1")
    assert longer.lines[-1].startswith("the weights are not those of fused@1; different: config: ")
    run("rm", "mrpc@1").refused("fused@1")


def test_json_is_one_object_and_nothing_else(run: Any, own: Path) -> None:
    made = run("fuse", "mine", "--of", "sst2@1,mrpc@1", "--task", "sst2", *SAMPLE, "--lr", "0.001", "--json").json
    assert (made["ref"], made["parents"], made["task"]["name"]) == ("mine@1", ["sst2@1", "mrpc@1"], "sst2")
    assert made["seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--of", "sst2", "--task", "rte"), ("at least two members; found sst2@2",)),
        (("--of", "sst2@1,sst2@2", "--task", "rte"), ("sst2@2 (compacter) cannot be fused", "mh_adapter")),
        (("--of", "sst2@1,mrcp", "--task", "rte"), ("did you mean mrpc",)),
        (("--of", "sst2@1,mrpc", "--task", "rte", "--set", "valeu=1"), ("did you mean value",)),
        (("--of", "sst2@1,mrpc", "--task", "wat"), ("wat",)),
        (("--of", "sst2@1,mrpc", "--task", "rte", "--base", "/no/such"), ("/no/such",)),
    ],
)
def test_what_cannot_be_fused_is_refused(
    run: Any, trained: Path, arguments: tuple[str, ...], said: tuple[str, ...]
) -> None:
    run("fuse", "fused", *arguments, *SAMPLE, home=trained).refused(*said)
    with Registry(trained) as registry:
        assert not [version for version in registry.versions() if version.name == "fused"]


def test_what_is_missing_is_wrong_usage(run: Any, trained: Path) -> None:
    assert run("fuse", "fused", "--of", "sst2@1,mrpc", home=trained).code == 2
    assert run("fuse", "fused", "--task", "rte", home=trained).code == 2
    assert run("attention", "fused", home=trained).code == 2


@pytest.fixture
def fused(run: Any, own: Path) -> None:
    assert run("fuse", "fused", "--of", "sst2@1,mrpc", "--task", "rte", *SAMPLE).code == 0


@pytest.mark.usefixtures("fused")
def test_attention_is_a_table_for_each_text(run: Any) -> None:
    result = run("attention", "fused", "a good film", "no\nfilm", "one", "two")
    assert result.code == 0, result.err
    assert result.lines[0] == "a good film | no\\nfilm"
    assert result.lines[1].split() == ["layer", "sst2@1", "mrpc@1"]
    first, second, mean = (line.split() for line in result.lines[3:6])
    assert (first[:2], second[:2], mean[0]) == (["0", "output_adapter"], ["1", "output_adapter"], "mean")
    for cells in (first[2:], second[2:], mean[1:]):
        one, one_bar, other, other_bar = cells
        assert float(one) + float(other) == pytest.approx(1, abs=0.011)
        for value, bar in ((one, one_bar), (other, other_bar)):
            assert set(bar) == {"█"}
            assert len(bar) == pytest.approx(12 * float(value), abs=0.6)
    assert result.lines[6:8] == ["", "one | two"]
    found = run("attention", "fused", "a good film", "no\nfilm", "one", "two", "--json").json
    assert [item["text"] for item in found] == [["a good film", "no\nfilm"], ["one", "two"]]
    for item in found:
        assert [(place["layer"], place["location"]) for place in item["places"]] == [
            (0, "output_adapter"), (1, "output_adapter"),
        ]  # fmt: skip
        assert all(sum(place["members"].values()) == pytest.approx(1) for place in item["places"])
    assert found[0]["places"][0]["members"]["sst2@1"] == pytest.approx(float(first[2]), abs=0.006)


@pytest.mark.usefixtures("fused")
def test_attention_of_what_has_none(run: Any) -> None:
    run("attention", "fused", "only one").refused("give two texts for each; found 1 texts", code=2)
    run("attention", "sst2", "a film").refused("sst2@2 is no fusion (compacter)")
    run("attention", "fusde", "a", "b").refused("did you mean fused")
    run("attention", "fused", "a", b"\xff".decode(errors="surrogateescape")).refused("not valid Unicode")
