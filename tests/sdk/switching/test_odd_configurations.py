"""Configurations that nobody here has written: each is refused by field, or runs; and the cache is as it was before."""

import copy
import json
import math
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.registry import Registry, Version
from pointsman.registry.errors import PointsmanError, SettingsError, WeightsError
from pointsman.sdk import Switcher, train
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.methods import METHODS, configure
from pointsman.sdk.methods.support import check_supported

from helpers import TEXTS, MakeVersion

EXAMPLES = int(os.environ.get("POINTSMAN_EXAMPLES", "60"))
SOURCES = ("seq_bn", "lora", "ia3", "prefix_tuning", "loreft", "compacter++", "unipelt")
ODD = [
    None, True, False, -1, 0, 1, 7, 10**9, 10**30, 2**63, 0.5, 1e-9, -1e9, math.nan, math.inf, "", "a", "all", "relu",
    [], {}, [0], [99], [-1], ["q"], [["q"]], {"default": 1e-9}, {"1": 16}, {"a": 1}, "0.5", [10**9], [True], "union",
]  # fmt: skip


def altered(registry: Registry, version: Version, name: str, change: Callable[[dict[str, Any]], None]) -> Version:
    """A version with changed configuration files and fields."""
    fields = changed(registry, version, change)
    return registry.add_version(name, **fields)


def changed(registry: Registry, version: Version, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """What ``add_version`` takes; ``change`` gets the files' JSON by name, and the fields as ``version``."""
    files = registry.read_files(version)
    parsed: dict[str, Any] = {file: json.loads(text) for file, text in files.items() if file.endswith(".json")}
    parsed["version"] = {
        "task": copy.deepcopy(version.task), "method": version.method, "config": copy.deepcopy(version.config),
        "max_length": version.max_length, "kind": version.kind,
    }  # fmt: skip
    change(parsed)
    fields = parsed.pop("version")
    contents = files | {file: json.dumps(value).encode() for file, value in parsed.items()}
    return {"files": contents, "base": version.base, "parameters": 1, **fields}


def both(**fields: Any) -> Callable[[dict[str, Any]], None]:
    """Change the adapter's configuration, in its file and in the version."""

    def change(parsed: dict[str, Any]) -> None:
        parsed["adapter_config.json"]["config"].update(fields)
        parsed["version"]["config"] = {**parsed["version"]["config"], **fields}

    return change


@pytest.fixture(scope="module")
def hidden(tiny_base: Path) -> Any:
    return load_base(str(tiny_base)).model.config


@pytest.mark.parametrize(
    ("method", "fields", "message"),
    [
        ("seq_bn", {"leave_out": [99]}, r"leave_out must be a list of layers from 0 to 1, .*; found \[99\]"),
        ("seq_bn", {"leave_out": [-1]}, "leave_out must be a list of layers from 0 to 1"),
        ("seq_bn", {"reduction_factor": 1e-9}, "reduction_factor must be .* at most 4096 features; found 1e-09"),
        ("seq_bn", {"reduction_factor": {"default": 1e-9}}, "reduction_factor must be .* at most 4096 features"),
        ("seq_bn", {"reduction_factor": {"0": 16}}, "for 'default', or for every layer from '0' to '1'"),
        ("seq_bn", {"reduction_factor": math.nan}, "reduction_factor must be a number above 0"),
        ("seq_bn", {"non_linearity": "nothing"}, "non_linearity must be an activation function: .*relu"),
        ("seq_bn", {"init_weights": "none"}, "init_weights must be 'bert', 'mam_adapter', 'houlsby'; found 'none'"),
        ("seq_bn", {"dropout": 1.0}, "dropout must be a number from 0 to below 1; found 1.0"),
        ("seq_bn", {"init_weights_seed": -1}, "init_weights_seed must be a whole number from 0 to 4294967295"),
        ("seq_bn_inv", {"inv_adapter": "odd"}, "inv_adapter must be null or 'nice'; found 'odd'"),
        ("seq_bn_inv", {"inv_adapter_reduction_factor": 1e-12}, "inv_adapter_reduction_factor must be null, or a"),
        ("compacter", {"phm_dim": 10**6}, "phm_dim must be a whole number from 1 to 64; found 1000000"),
        ("lora", {"r": 10**9}, "r must be a whole number from 1 to 4096; found 1000000000"),
        ("lora", {"alpha": math.inf}, "alpha must be a number"),
        ("lora", {"attn_matrices": ["q", "x"]}, "attn_matrices must be a list of 'q', 'k' and 'v'"),
        ("lora", {"composition_mode": "odd"}, "composition_mode must be 'add', 'scale'; found 'odd'"),
        ("loreft", {"r": 129}, "r must be a whole number from 1 to 128; found 129"),
        ("loreft", {"layers": [0, 2]}, "layers must be 'all', or a list of layers from 0 to 1"),
        ("prefix_tuning", {"prefix_length": 10**9}, "prefix_length must be a whole number from 1 to 4096"),
        ("prefix_tuning", {"bottleneck_size": 10**9}, "bottleneck_size must be a whole number from 1 to 4096"),
        ("prompt_tuning", {"prompt_length": 10**9}, "prompt_length must be a whole number from 1 to 4096"),
        ("prompt_tuning", {"prompt_init": "from_string"}, "prompt_init must be 'random_uniform'"),
        ("unipelt", {"lora.r": 10**9}, "r must be a whole number from 1 to 4096; found 1000000000"),
    ],
)  # fmt: skip
def test_a_field_out_of_range_is_refused_by_name_before_anything_is_built(
    method: str, fields: dict[str, Any], message: str, hidden: Any
) -> None:
    with pytest.raises(SettingsError, match=message):
        check_supported(hidden, configure(method, fields))


def test_every_method_has_rules_for_all_its_fields(hidden: Any) -> None:
    from pointsman.sdk.methods.fields import _OF_ARCHITECTURE, _RULES

    checked = 0
    for method in METHODS:
        config = configure(method)
        check_supported(hidden, config)
        for part in config.get("configs", [config]):
            fields = part.keys() - {"architecture", "dtype"}
            known = _RULES.keys() | {field for _, field in _OF_ARCHITECTURE}
            assert fields - known <= {"prompt_init_text"}
            checked += len(fields)
    assert checked > 300


def test_a_training_is_refused_before_it_loads_anything(registry: Registry, tiny_base: Path) -> None:
    with pytest.raises(SettingsError, match=r"leave_out must be a list of layers from 0 to 1"):
        train("sst2", base=str(tiny_base), registry=registry, data="sample", overrides={"leave_out": [99]}, max_steps=1)
    assert registry.runs().total == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parsed: parsed["head_config.json"]["config"].update(layers=10**9),
         "layers is 1000000000, and model_head.safetensors has 2$"),
        (lambda parsed: parsed["head_config.json"]["config"].update(layers=True), "layers must be a whole number"),
        (lambda parsed: parsed["head_config.json"]["config"].update(num_labels="2"), "num_labels must be a whole"),
        (lambda parsed: parsed["head_config.json"]["config"].update(activation_function=["relu"]),
         "activation_function is .'relu'., which is unknown"),
        (both(r=10**9), "adapter_config.json of odd@1 does not fit this base: r must be a whole number from 1 to 4096"),
        (both(r=7), "has|needs"),
        (lambda parsed: parsed["version"]["config"].update(r=7),
         "adapter_config.json of odd@1 differs from the version's configuration in r$"),
        (lambda parsed: parsed["version"].update(config={"architecture": "union", "configs": 5}),
         "configs must be a list of 1 to 16 configurations; found 5"),
        (lambda parsed: parsed["version"].update(config={"architecture": "union", "configs": [{}, {}]}),
         "has another number of parts"),
        (lambda parsed: parsed["version"].update(max_length=7), "max_length of odd@1 must be 8 to 64 .* found 7$"),
        (lambda parsed: parsed["version"].update(max_length=65), "max_length of odd@1 must be 8 to 64 .* found 65$"),
    ],
)  # fmt: skip
def test_a_version_that_cannot_run_is_refused_by_field_and_takes_no_slot_and_little_memory(
    change: Callable[[dict[str, Any]], None],
    message: str,
    make_version: MakeVersion,
    registry: Registry,
    tiny_base: Path,
) -> None:
    good = make_version("good", method="lora")
    altered(registry, good, "odd", change)
    with Switcher(str(tiny_base), registry=registry, capacity=2) as switcher:
        switcher.load("good")
        before = state(switcher)
        tracemalloc.start()
        for _ in range(3):
            with pytest.raises((SettingsError, WeightsError), match=message):
                switcher.load("odd")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000_000
        assert state(switcher) == before


def state(switcher: Switcher) -> Any:
    """What is in the cache and in the model: versions, slots in use, names."""
    racks = switcher._adapters.placement.racks
    used = {rack.names[0]: rack.used for rack in racks if rack.used}
    names = set(switcher._model.adapters_config.adapters) - {
        name for rack in racks if not rack.used for name in rack.names
    }
    return switcher.loaded, used, names, sum(adapter.size for adapter in switcher._adapters.loaded)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[tuple[Registry, Switcher]]:
    """A registry and a Switcher on it, for all examples."""
    with (
        Registry(tmp_path_factory.mktemp("odd") / "home") as registry,
        Switcher(str(tiny_base), registry=registry, capacity=3) as switcher,
    ):
        yield registry, switcher


@pytest.fixture
def sources(stage: tuple[Registry, Switcher], make_version: MakeVersion, registry: Registry) -> dict[str, Version]:
    """A version of each of some methods, in that registry."""
    there = stage[0]
    made = {}
    for method in SOURCES:
        name = method.rstrip("+")
        if not there.versions(name=name).total:
            version = make_version(name, method=method)
            about = {field: getattr(version, field) for field in ("task", "method", "config", "base", "max_length")}
            there.add_version(name, files=registry.read_files(version), parameters=1, **about)
        made[method] = there.version(name)
    return made


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_a_random_configuration_runs_or_is_refused_and_leaves_the_cache_as_it_was(
    stage: tuple[Registry, Switcher], sources: dict[str, Version], data: st.DataObject
) -> None:
    registry, switcher = stage
    source = sources[data.draw(st.sampled_from(SOURCES))]

    def change(parsed: dict[str, Any]) -> None:
        for _ in range(data.draw(st.integers(1, 2))):
            odd = copy.deepcopy(data.draw(st.sampled_from(ODD)))
            where = data.draw(st.sampled_from(["both", "both", "version", "head_config.json", "adapter_config.json"]))
            if where == "both":
                path = data.draw(st.sampled_from([*places(parsed["adapter_config.json"]["config"])]))
                put(parsed["adapter_config.json"]["config"], path, odd)
                parsed["version"]["config"] = copy.deepcopy(parsed["adapter_config.json"]["config"])
            else:
                put(parsed[where], data.draw(st.sampled_from([*places(parsed[where])])), odd)

    try:
        fields = changed(registry, source, change)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return  # the second change did not find what the first one took away
    try:
        version = registry.add_version("odd", **fields)
    except PointsmanError:
        return
    before = state(switcher)
    try:
        answers = switcher.predict(version.ref, TEXTS)
        assert len(answers) == len(TEXTS)
    except PointsmanError:
        pass
    else:
        switcher.unload(version.ref)
    for ref in set(switcher.loaded) - set(before[0]):
        switcher.unload(ref)
    assert state(switcher) == before
