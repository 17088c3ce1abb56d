"""The frozen table of the methods' default configurations."""

import json
import subprocess
import sys

import pytest

from pointsman.registry.errors import MethodNotFoundError
from pointsman.sdk.methods import METHODS, configure, part_names
from pointsman.sdk.methods.defaults import default_config, flat_config, library_defaults


def test_the_table_is_the_librarys() -> None:
    """Where this fails after an upgrade: python -m pointsman.sdk.methods.defaults > sdk/methods/defaults.json."""
    library = library_defaults()
    assert len(library) == len(METHODS) == 21
    assert {name: default_config(name) for name in METHODS} == library


@pytest.mark.parametrize("name", [*METHODS, "lora+seq_bn", "compacter+++prefix_tuning", "pfeiffer"])
def test_it_is_what_configure_starts_from(name: str) -> None:
    assert default_config(name) == configure(name)


def test_a_caller_may_change_what_it_gets() -> None:
    default_config("mam")["configs"][0]["prefix_length"] = 1
    assert default_config("mam")["configs"][0]["prefix_length"] == 30


@pytest.mark.parametrize("name", ["lora", "mam", "lora+seq_bn", "compacter+++lora"])
def test_a_flat_name_sets_its_field(name: str) -> None:
    flat = flat_config(name, configure(name))
    assert len(flat) == sum(len(part) for part in configure(name).get("configs", [configure(name)]))
    if len(part_names(name)) == 1:
        assert flat == configure(name)
    for field, value in flat.items():
        if isinstance(value, float):
            changed = configure(name, {field: value + 1})
            assert [key for key, now in flat_config(name, changed).items() if now != flat[key]] == [field]


@pytest.mark.parametrize("config", [{"architecture": "union"}, {"architecture": "union", "configs": []}])
def test_a_union_of_other_parts_stays_as_it_is(config: dict[str, object]) -> None:
    assert flat_config("mam", config) == config


def test_an_unknown_method() -> None:
    with pytest.raises(MethodNotFoundError, match=r"unknown method 'lore'; did you mean .*lora"):
        default_config("lore")


def test_it_imports_no_library() -> None:
    code = (
        "import sys; from pointsman.sdk.methods.defaults import default_config; default_config('lora');"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "pointsman.sdk.methods.defaults" in loaded
    assert not {"torch", "adapters", "transformers"} & set(loaded)


def test_the_module_prints_the_table() -> None:
    command = [sys.executable, "-m", "pointsman.sdk.methods.defaults"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert json.loads(printed) == {name: default_config(name) for name in METHODS}
