"""Versions are scored again to the same numbers, and ax on mnli's adapter."""

from pathlib import Path

import pytest

from pointsman.registry import Registry
from pointsman.registry.errors import DataError, SettingsError
from pointsman.sdk import Switcher, evaluate, train
from pointsman.sdk.tasks import GLUE

from helpers import MakeVersion


def test_a_version_scores_again_what_it_scored(registry: Registry, tiny_base: Path) -> None:
    version = train("stsb", base=str(tiny_base), data="sample", registry=registry, epochs=1, max_train_rows=64,
                    max_eval_rows=50, max_length=32)  # fmt: skip
    with Registry(registry.home) as again, Switcher(str(tiny_base), registry=again) as switcher:
        metrics = evaluate(switcher, "stsb", data="sample", max_rows=50)
    assert {f"eval/{key}": value for key, value in metrics.items()} == pytest.approx(dict(version.metrics), abs=1e-6)


def test_ax_is_scored_on_mnlis_adapter(make_version: MakeVersion, registry: Registry, tiny_base: Path) -> None:
    make_version("mnli", GLUE["mnli"])
    make_version("rte", GLUE["rte"])
    with Switcher(str(tiny_base), registry=registry) as switcher:
        assert set(evaluate(switcher, "mnli", task="ax", data="sample")) == {"matthews_correlation", "loss"}
        assert set(evaluate(switcher, "mnli", data="sample", split="validation_mismatched")) == {"accuracy", "loss"}
        with pytest.raises(SettingsError, match="adapter of mnli"):
            evaluate(switcher, "rte", task="ax", data="sample")


def test_hidden_labels_are_said_to_be_hidden(
    make_version: MakeVersion, registry: Registry, tiny_base: Path, tmp_path: Path
) -> None:
    make_version("sst2", GLUE["sst2"])
    folder = tmp_path / "SST-2"
    folder.mkdir()
    (folder / "test.tsv").write_text("index\tsentence\n0\ta fine film\n", encoding="utf-8")
    with Switcher(str(tiny_base), registry=registry) as switcher, pytest.raises(DataError, match="no labels"):
        evaluate(switcher, "sst2", data=tmp_path, split="test")
