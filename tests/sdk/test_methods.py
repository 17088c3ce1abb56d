"""Methods and unions of them: how they are named, what their fields may be, what cannot be together."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pointsman.registry import Registry
from pointsman.registry.errors import MethodNotFoundError, SettingsError
from pointsman.sdk import Switcher
from pointsman.sdk.methods import FORMER_NAMES, LONGEST_NAME, METHODS, configure, find_method, part_names, parts_of
from pointsman.sdk.methods.fusion import DEFAULTS, configure_fusion

from helpers import TEXTS, MakeVersion, PlainAdapters

KINDS: tuple[tuple[str, ...], ...] = (
    (
        "seq_bn",
        "double_seq_bn",
        "par_bn",
        "scaled_par_bn",
        "seq_bn_inv",
        "double_seq_bn_inv",
        "compacter",
        "compacter++",
    ),
    ("prefix_tuning", "prefix_tuning_flat"),
    ("prompt_tuning",),
    ("lora", "ia3", "vera", "dora", "dvora"),
    ("loreft", "noreft", "direft"),
)
"""Every method that is no union itself, with those that change the same places."""

SINGLE = [name for kind in KINDS for name in kind]
NAMES = st.sampled_from([*SINGLE, *(former for former, now in FORMER_NAMES.items() if now in SINGLE)])


def now(name: str) -> str:
    return FORMER_NAMES.get(name, name)


def test_every_method_is_of_a_kind_or_a_union() -> None:
    assert sorted([*SINGLE, "mam", "unipelt"]) == sorted(METHODS)
    assert all(find_method(former).name == name for former, name in FORMER_NAMES.items())


@given(st.lists(NAMES, min_size=1, max_size=5, unique_by=now))
def test_a_union_is_read_as_it_is_written(names: list[str]) -> None:
    """Also where names have a plus of their own: compacter++, pfeiffer+inv."""
    written, meant = "+".join(names), [now(name) for name in names]
    if len("+".join(meant)) > LONGEST_NAME:
        with pytest.raises(SettingsError, match="at most 64 characters"):
            find_method(written)
        return
    method = find_method(written)
    assert method.name == "+".join(meant)
    assert find_method(method.name) == method
    assert part_names(written) == tuple(meant)
    assert all(METHODS[name].paper in method.paper for name in meant)


@given(st.text(alphabet="lorase_bn+", max_size=20))
def test_any_text_is_read_as_it_stands_or_refused(text: str) -> None:
    try:
        names = part_names(text)
    except MethodNotFoundError:
        return
    assert "+".join(names) == text
    assert set(names) <= set(METHODS)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("", "''"),
        ("+", "'+'"),
        ("lora+", "'lora+'"),
        ("+lora", "'+lora'"),
        ("lora++seq_bn", "'lora++seq_bn'"),
        ("lora+seqbn", "'seqbn'; did you mean seq_bn"),
        ("compacter++lora", "'compacter++lora'; did you mean compacter++"),
        ("pfeiffer+inverse", "'inverse'"),
        ("lora seq_bn", "'lora seq_bn'"),
    ],
)
def test_the_part_that_is_wrong_is_named(name: str, wrong: str) -> None:
    with pytest.raises(MethodNotFoundError) as caught:
        find_method(name)
    assert f"unknown method {wrong}" in str(caught.value)


def test_a_union_has_the_configurations_of_its_parts() -> None:
    tried = 0
    for one, other in combinations(SINGLE, 2):
        same_kind = any({one, other} <= set(kind) for kind in KINDS)
        both_share = one.startswith("compacter") and other in ("vera", "dvora")
        if same_kind or both_share:
            with pytest.raises(SettingsError, match="cannot be in one union"):
                configure(f"{one}+{other}")
        else:
            assert configure(f"{one}+{other}") == {
                "architecture": "union",
                "configs": [configure(one), configure(other)],
            }
            tried += 1
    assert tried == 125


def test_one_of_each_kind_fits_into_a_union() -> None:
    longest = "+".join(max(kind, key=len) for kind in KINDS)
    assert len(find_method(longest).name) == 63 < LONGEST_NAME
    assert len(parts_of(configure(longest))) == len(KINDS) == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lora+lora", "has lora twice"),
        ("lora+seq_bn+pfeiffer", "has seq_bn twice"),
        ("mam+lora", r"mam is a union itself: name its parts, prefix_tuning\+par_bn"),
        ("lora+ia3", "lora and ia3 cannot be in one union"),
        ("seq_bn+par_bn", "set mh_adapter and output_adapter"),
        ("compacter+vera", "parameters that all layers share"),
    ],
)
def test_unions_that_cannot_be_are_refused(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        configure(name)


def test_two_bottlenecks_can_be_at_different_places() -> None:
    union = configure("seq_bn+par_bn", {"seq_bn.mh_adapter": True, "seq_bn.output_adapter": False})
    assert [(part["mh_adapter"], part["output_adapter"]) for part in union["configs"]] == [(True, False), (False, True)]


def values(config: dict[str, Any], field: str) -> list[Any]:
    return [part.get(field) for part in parts_of(config)]


def test_a_field_is_set_in_every_part_that_has_it_or_in_the_one_that_is_named() -> None:
    union = "lora+seq_bn+noreft"
    assert values(configure(union, {"r": 4, "dropout": 0.3}), "r") == [4, None, 4]
    assert values(configure(union, {"dropout": 0.3}), "dropout") == [0.3, 0.3, 0.3]
    for overrides in ({"lora.r": 16, "r": 4}, {"r": 4, "lora.r": 16}):
        assert values(configure(union, overrides), "r") == [16, None, 4]
    assert values(configure("compacter+++lora", {"compacter++.phm_dim": 2}), "phm_dim") == [2, None]
    assert values(configure("pfeiffer+inv+lora", {"pfeiffer+inv.reduction_factor": 8}), "reduction_factor")[0] == 8
    assert configure("lora", {"lora.r": 2}) == configure("lora", {"r": 2})
    assert configure("pfeiffer", {"reduction_factor": 8})["reduction_factor"] == 8


def test_the_parts_of_the_librarys_own_unions_have_names_too() -> None:
    assert values(configure("mam", {"bottleneck_size": 100, "par_bn.reduction_factor": 4}), "reduction_factor") == [
        None,
        4,
    ]
    unipelt = configure("unipelt", {"lora.r": 2, "prefix_tuning.prefix_length": 5, "seq_bn.reduction_factor": 8})
    assert values(unipelt, "r") == [None, None, 2]
    assert values(unipelt, "prefix_length") == [5, None, None]
    assert values(unipelt, "reduction_factor") == [None, 8, None]
    # What a part is called is what it is.
    kinds = [part.get("architecture") for part in parts_of(unipelt)]
    assert kinds == [configure(name).get("architecture") for name in part_names("unipelt")]


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("seq_bn", {"reduction": 8}, "unknown field of seq_bn 'reduction'; did you mean reduction_factor"),
        ("seq_bn", {"reduction_factor": "many"}, "must be"),
        ("seq_bn", {"reduction_factor": 0}, "greater than 0"),
        ("seq_bn", {"ln_before": 1}, "bool"),
        ("seq_bn", {"architecture": "lora"}, "unknown field of seq_bn 'architecture'"),
        ("lora+seq_bn", {"configs": []}, r"unknown field of lora\+seq_bn 'configs'"),
        ("lora+seq_bn", {"lora.architecture": None}, "unknown field of lora"),
        ("lora+seq_bn", {"seq_bn.r": 1}, "unknown field of seq_bn 'r'"),
        ("lora+seq_bn", {"seqbn.r": 1}, r"unknown part of lora\+seq_bn 'seqbn'; did you mean seq_bn"),
        ("lora+seq_bn", {".r": 1}, "unknown part of"),
        ("lora+seq_bn", {"lora.": 1}, "unknown field of lora ''"),
        ("lora+seq_bn", {"lora.r": "x"}, "lora: r must be"),
        ("mam", {"lora.r": 1}, "unknown part of mam 'lora'; known: prefix_tuning, par_bn"),
    ],
)
def test_fields_that_cannot_be_are_refused(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        configure(name, overrides)


def test_direft_is_not_noreft(make_version: MakeVersion, registry: Registry, tiny_base: Path, tmp_path: Path) -> None:
    """What tells them apart is no field of the library's classes, and is lost in its own files."""
    assert configure("noreft")["subtract_projection"] is True
    assert configure("direft")["subtract_projection"] is False
    assert configure("direft", {"layers": [1]})["layers"] == [1]
    no, di = (make_version(method, method=method, seed=3) for method in ("noreft", "direft"))
    plain = PlainAdapters(tiny_base)
    with Switcher(str(tiny_base), registry=registry) as switcher:
        logits = {version.name: switcher.logits(version.ref, TEXTS) for version in (no, di)}
        layer = switcher._model.bert.encoder.layer[0].reft_layer.refts
        (unit,) = (refts.units[0] for name, refts in layer.items() if not refts.units[0].subtract_projection)
    for version in (no, di):
        expected = plain.logits(registry.export(version.ref, tmp_path / version.name), TEXTS)
        torch.testing.assert_close(logits[version.name], expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits["noreft"], logits["direft"], atol=1e-3)
    states = torch.randn(2, 3, 128)
    learned, projection = unit.learned_source, unit.projection.weight
    expected = states + (states @ learned.weight.T + learned.bias) @ projection  # Wu et al. 2024, DiReFT
    torch.testing.assert_close(unit(states), expected)


@pytest.mark.parametrize("name", ["lora", "seq_bn", "unipelt", "lora+seq_bn"])
def test_a_stored_configuration_of_another_release_is_completed(name: str) -> None:
    config = configure(name)
    stored = json.loads(json.dumps(config))
    for part in parts_of(stored):
        field = next(field for field in part if field != "architecture" and part[field] is not None)
        del part[field]  # type: ignore[attr-defined]
        part["invented_later"] = 7  # type: ignore[index]
    completed = configure(name, start=stored)
    assert [{**part, "invented_later": 7} for part in parts_of(config)] == list(parts_of(completed))
    assert configure(name, start=config) == config


def test_a_stored_fusion_of_another_release_is_completed() -> None:
    assert configure_fusion({"key": False}, start={"query": False, "new": 1}) == {
        **DEFAULTS,
        "key": False,
        "query": False,
        "new": 1,
    }
