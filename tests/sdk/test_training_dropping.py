"""AdapterDrop in training: the lowest layers have no adapter, or any number of them is skipped in turn."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from pointsman.cli.train_options import settings_of
from pointsman.registry import Registry, Version
from pointsman.registry.errors import SettingsError
from pointsman.sdk import Switcher, TrainSettings, train, train_like
from pointsman.sdk.methods import parts_of
from pointsman.sdk.training.settings import layers_to_drop

from helpers import TEXTS

SMALL: dict[str, Any] = {
    "data": "sample",
    "epochs": 1,
    "max_train_rows": 96,
    "max_eval_rows": 16,
    "max_length": 32,
    "batch_size": 16,
}


def tensors_of(registry: Registry, version: Version) -> dict[str, torch.Tensor]:
    return load(registry.read_file(version, "adapter.safetensors"))


def by_layer(registry: Registry, version: Version, layer: int) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in tensors_of(registry, version).items() if f".layer.{layer}." in key}


@pytest.fixture
def learn(registry: Registry, tiny_base: Path) -> Any:
    return functools.partial(train, "sst2", base=str(tiny_base), registry=registry, **SMALL)


def test_a_number_leaves_the_lowest_layers_out_for_good(learn: Any, registry: Registry, tiny_base: Path) -> None:
    """Bit for bit what the method's own field comes to."""
    version, same = learn(drop_layers=1), learn(overrides={"leave_out": [0]})
    assert version.config == same.config
    assert version.config["leave_out"] == [0]
    mine, its = tensors_of(registry, version), tensors_of(registry, same)
    assert mine.keys() == its.keys() == by_layer(registry, version, 1).keys()
    assert all(torch.equal(mine[key], its[key]) for key in mine)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        whole = switcher.logits(version.ref, TEXTS)
        assert torch.equal(switcher.logits(version.ref, TEXTS, drop_layers=1), whole)
        assert not torch.allclose(switcher.logits(version.ref, TEXTS, drop_layers=2), whole)


@pytest.mark.parametrize("method", ["lora+seq_bn", "unipelt", "lora+prompt_tuning", "seq_bn_inv"])
def test_every_part_of_a_union_that_is_in_layers_leaves_them_out(method: str, learn: Any, registry: Registry) -> None:
    version = learn(method=method, drop_layers=1)
    parts = parts_of(version.config)
    assert [part["leave_out"] for part in parts if "leave_out" in part] == [[0]] * sum("leave_out" in p for p in parts)
    assert not by_layer(registry, version, 0)
    assert by_layer(registry, version, 1)


def test_reft_says_the_layers_that_it_is_in(learn: Any, registry: Registry) -> None:
    version = learn(method="loreft", drop_layers=1)
    assert version.config["layers"] == [1]
    assert not by_layer(registry, version, 0)
    assert by_layer(registry, version, 1)


def test_a_range_skips_as_many_as_it_says(learn: Any, registry: Registry) -> None:
    """What is always skipped keeps the weights it began with; what is so at times learns."""
    untouched, upper, both, again = (learn(drop_layers=span) for span in ("2-2", "1-1", "0-2", "0-2"))
    for version in (untouched, upper, both):
        assert version.config["leave_out"] == []
        assert tensors_of(registry, version).keys() == tensors_of(registry, untouched).keys()

    def changed(version: Version, layer: int) -> bool:
        before, after = by_layer(registry, untouched, layer), by_layer(registry, version, layer)
        return any(not torch.equal(before[key], after[key]) for key in before)

    assert [changed(upper, 0), changed(upper, 1)] == [False, True]
    assert [changed(both, 0), changed(both, 1)] == [True, True]
    first, second = tensors_of(registry, both), tensors_of(registry, again)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_remembers_it_and_another_can_be_like_it_but_for_it(learn: Any, registry: Registry) -> None:
    version = learn(drop_layers=1)
    assert registry.run(version.run).settings["drop_layers"] == 1
    same = train_like(version.ref, registry=registry)
    assert same.config == version.config
    whole = train_like(version.ref, registry=registry, drop_layers=0)
    assert whole.config["leave_out"] == []
    spanned = train_like(version.ref, registry=registry, drop_layers="0-1")
    assert registry.run(str(spanned.run)).settings["drop_layers"] == "0-1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_layers": 2}, "under 2, the layers of the base; found 2"),
        ({"drop_layers": "0-3"}, "within 0-2, all layers of the base; found 0-3"),
        ({"drop_layers": 1, "overrides": {"leave_out": [1]}}, r"leave_out=\[1\] is set as well"),
        ({"drop_layers": 1, "method": "lora+seq_bn", "overrides": {"lora.leave_out": [1]}}, "give one of them"),
        ({"drop_layers": 1, "method": "prompt_tuning"}, "no adapters in layers"),
        ({"drop_layers": "0-1", "method": "prompt_tuning"}, "no adapters in layers"),
    ],
)
def test_what_cannot_be_dropped_is_refused_before_anything_is_loaded(
    options: dict[str, Any], message: str, learn: Any, registry: Registry
) -> None:
    with pytest.raises(SettingsError, match=message):
        learn(**options)
    assert list(registry.runs()) == []


def test_layers_that_share_an_adapter_can_only_be_skipped(registry: Registry, bases: dict[str, Path]) -> None:
    with pytest.raises(SettingsError, match="share their adapters; train with a range of drop_layers, as 0-1"):
        train("sst2", base=str(bases["albert"]), registry=registry, drop_layers=1, **SMALL)
    version = train("sst2", base=str(bases["albert"]), registry=registry, drop_layers="0-1", **SMALL)
    with Switcher(str(bases["albert"]), registry=registry) as switcher:
        whole = switcher.logits(version.ref, TEXTS)
        assert not torch.allclose(switcher.logits(version.ref, TEXTS, drop_layers=1), whole)


@given(st.integers(0, 99), st.integers(0, 99))
def test_numbers_and_ranges_are_read_as_written(low: int, high: int) -> None:
    assert layers_to_drop(low) == layers_to_drop(str(low)) == low
    if low <= high:
        assert layers_to_drop(f"{low}-{high}") == range(low, high + 1)
    else:
        with pytest.raises(SettingsError, match="as 0-5"):
            layers_to_drop(f"{low}-{high}")


@pytest.mark.parametrize("wrong", [-1, 1.0, True, None, "", "a", "1-", "-1", "1-2-3", "1 - 2", "٣", "9" * 10])
def test_anything_else_is_no_number_of_layers(wrong: object) -> None:
    with pytest.raises(SettingsError, match="drop_layers must be a number of layers, as 3, or a range"):
        TrainSettings.of({"drop_layers": wrong})


def test_the_command_line_takes_both_forms() -> None:
    assert TrainSettings.of(settings_of({"drop_layers": "3"})).drop_layers == 3
    assert TrainSettings.of(settings_of({"drop_layers": "0-5"})).drop_layers == "0-5"
    assert TrainSettings.of(TrainSettings(drop_layers="0-5").to_dict()) == TrainSettings(drop_layers="0-5")
