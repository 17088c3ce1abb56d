"""Fusions: the paper's formula, trained like anything else, stored strictly, and the same wherever they are put."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from adapters import ADAPTERFUSION_CONFIG_MAP, AdapterSetup
from torch.nn import functional
from transformers import TrainerCallback

from pointsman.registry import Base, Registry, RunStatus, Version
from pointsman.registry.errors import (
    BaseMismatchError,
    NotFoundError,
    SettingsError,
    VersionNotFoundError,
    WeightsError,
)
from pointsman.sdk import fuse, fusion_attention, resume, train_like
from pointsman.sdk.bases.load import LoadedBase, load_base
from pointsman.sdk.combining.attention import Place, attention
from pointsman.sdk.data.tokens import tokenise
from pointsman.sdk.engines.bert_training import supports_training
from pointsman.sdk.engines.fusion_layers import (
    add_fusion,
    extract_fusion,
    fuse_block,
    fusion_tensors,
    insert_fusion,
    regularisation,
    remove_fusion,
)
from pointsman.sdk.engines.slots import add_head, add_slot, extract_adapter, insert_adapter, remove_slot, slot_name
from pointsman.sdk.formats.native_fusion import FUSION_CONFIG, FUSION_WEIGHTS
from pointsman.sdk.methods import METHODS, configure
from pointsman.sdk.methods.fusion import DEFAULTS, configure_fusion, fuse_config
from pointsman.sdk.tasks import GLUE
from pointsman.sdk.training.fusion_members import find_members
from pointsman.sdk.training.objective import loss_of
from pointsman.sdk.training.optimiser import Optimiser
from pointsman.sdk.training.resolved import ResolvedSettings
from pointsman.sdk.training.settings import TrainSettings

from helpers import TEXTS, MakeVersion, scramble

SLOT = slot_name(0)
FUSABLE = ("seq_bn", "double_seq_bn", "compacter", "compacter++")
HIDDEN = 128
SETTINGS: dict[str, Any] = {
    "data": "sample",
    "epochs": 2,
    "max_train_rows": 48,
    "max_eval_rows": 20,
    "max_length": 16,
    "batch_size": 8,
    "learning_rate": 0.002,
}


def members_in(
    model: Any, names: Sequence[str], method: str = "seq_bn", overrides: Mapping[str, Any] | None = None
) -> None:
    """Adapters under these names, each with random weights of its own."""
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        add_slot(model, name, configure(method, overrides))
        add_head(model, name, labels=("no", "yes"))
        scramble(model, name)


def fusion_in(model: Any, slot: str, names: Sequence[str], **fields: Any) -> None:
    """A fusion with random weights."""
    add_fusion(model, slot, names, configure_fusion(fields))
    torch.manual_seed(9)
    with torch.no_grad():
        for tensor in fusion_tensors(model, slot).values():
            tensor.add_(torch.randn_like(tensor) * 0.1)


def logits_of(loaded: LoadedBase, setup: Any, head: str) -> torch.Tensor:
    inputs = loaded.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode(), AdapterSetup(setup):
        found: torch.Tensor = loaded.model.eval()(**inputs, head=head).logits
    return found


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("value_before_softmax", [True, False])
def test_a_place_computes_the_papers_formula(loaded: LoadedBase, value: bool, value_before_softmax: bool) -> None:
    """Pfeiffer et al. 2021, section 3.2: softmax over the members of query times key, times the values."""
    model, names = loaded.model, ["a", "b", "c"]
    members_in(model, names)
    fusion_in(model, SLOT, names, value=value, value_before_softmax=value_before_softmax)
    place = model.bert.encoder.layer[1].output
    seen: list[tuple[Any, ...]] = []
    place.register_forward_hook(lambda _, inputs, output: seen.append((*inputs, output)))
    logits_of(loaded, fuse_block(SLOT, names), "a")
    ((wide, before, output),) = seen

    def norm(hidden: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(hidden, (HIDDEN,), place.LayerNorm.weight, place.LayerNorm.bias, 1e-12)

    with torch.inference_mode():
        fed = wide @ place.dense.weight.T + place.dense.bias
        hidden = norm(fed + before)
        outputs = []
        for name in names:
            adapter = place.adapters[name]
            narrow = (hidden @ adapter.adapter_down[0].weight.T + adapter.adapter_down[0].bias).clamp(min=0)
            outputs.append(narrow @ adapter.adapter_up.weight.T + adapter.adapter_up.bias)
        z = torch.stack(outputs, dim=2)  # (rows, tokens, members, hidden)
        layer = place.adapter_fusion_layer[SLOT]
        query = hidden @ layer.query.weight.T + layer.query.bias
        key = z @ layer.key.weight.T + layer.key.bias
        listening = torch.einsum("rth,rtnh->rtn", query, key).softmax(dim=-1)
        fused = torch.einsum("rtn,rtnh->rth", listening, z @ layer.value.weight.T if value else z)
        torch.testing.assert_close(output, norm(fused + fed + before), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(listening, torch.full_like(listening, 1 / 3), atol=0.1)


def test_the_default_is_the_librarys_dynamic_fusion() -> None:
    assert ADAPTERFUSION_CONFIG_MAP["dynamic"].to_dict() == DEFAULTS


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "albert", "electra", "deberta-v2",
                                          "xlm-roberta", "modernbert"])  # fmt: skip
def test_a_fusion_of_equals_is_each_of_them(bases: dict[str, Path], architecture: str) -> None:
    """However the attention falls, as long as values are taken as they are."""
    assert len(bases) == 8
    loaded = load_base(str(bases[architecture]))
    for method in FUSABLE:
        gap = _gap_to_one_of_two_equals(loaded, method)
        assert gap < 1e-4, method


@pytest.mark.parametrize(
    ("method", "overrides"),
    [("par_bn", {}), ("scaled_par_bn", {}), ("seq_bn", {"use_gating": True}), ("seq_bn", {"ln_after": True})],
)
def test_what_is_refused_would_be_fused_wrongly(
    loaded: LoadedBase, method: str, overrides: dict[str, Any], registry: Registry
) -> None:
    assert _gap_to_one_of_two_equals(loaded, method, overrides) > 0.01
    for name in ("a", "b"):
        recorded(registry, name, method=method, config=configure(method, overrides))
    with pytest.raises(
        SettingsError, match=r"a@1 .* methods that can be fused: seq_bn, double_seq_bn, compacter, compacter\+"
    ):
        find_members(registry, ["a", "b"])


def _gap_to_one_of_two_equals(loaded: LoadedBase, method: str, overrides: Mapping[str, Any] | None = None) -> float:
    model, one, other = loaded.model, slot_name(1), slot_name(2)
    members_in(model, [one], method, overrides)
    files = extract_adapter(model, one, name="same", base="tiny")
    insert_adapter(model, other, files)
    fusion_in(model, SLOT, [one, other])
    with torch.no_grad():
        for key, tensor in fusion_tensors(model, SLOT).items():
            if key.endswith(".value.weight"):
                tensor.copy_(torch.eye(HIDDEN))
    alone, fused = logits_of(loaded, one, one), logits_of(loaded, fuse_block(SLOT, [one, other]), one)
    remove_fusion(model, SLOT)
    for slot in (one, other):
        remove_slot(model, slot)
    return float((alone - fused).abs().max())


BASE = Base(fingerprint="ab" * 32, name="nowhere", model_type="bert", hidden_size=8, layers=2, parameters=1, size=4)


def recorded(registry: Registry, name: str, **changes: Any) -> Version:
    """A version that no model was trained for."""
    fields: dict[str, Any] = {
        "files": {"adapter.safetensors": name.encode()},
        "task": GLUE["sst2"].to_dict(),
        "method": "seq_bn",
        "config": configure("seq_bn"),
        "base": BASE,
        "max_length": 32,
        "parameters": 1,
    }
    return registry.add_version(name, **fields | changes)


@pytest.mark.parametrize(
    ("members", "error", "said"),
    [
        ("first", SettingsError, "at least two members; found first@1"),
        ("", SettingsError, "at least two members; found none"),
        ("first first@1", SettingsError, "first@1 is a member twice"),
        ("first first@7", VersionNotFoundError, "first@7"),
        ("first lora", SettingsError, r"lora@1 \(lora\) is not a bottleneck adapter"),
        ("first fused", SettingsError, r"fused@1 \(fuse\) is not a bottleneck adapter"),
        ("first par", SettingsError, "count the block's input twice"),
        ("first inv", SettingsError, "also changes the embeddings"),
        ("first double", SettingsError, r"they differ in mh_adapter, original_ln_before"),
        ("first half", SettingsError, "they differ in leave_out"),
        ("first far", BaseMismatchError, "first@1 and far@1 cannot be fused: .* different bases, '.*' .* and '.*'"),
    ],
)
def test_members_that_cannot_be_fused_are_refused_before_a_base_is_loaded(
    registry: Registry, members: str, error: type[Exception], said: str
) -> None:
    recorded(registry, "first")
    recorded(registry, "lora", method="lora", config=configure("lora"))
    recorded(registry, "fused", method="fuse", config=fuse_config(["first@1", "lora@1"]))
    recorded(registry, "par", method="par_bn", config=configure("par_bn"))
    recorded(registry, "inv", method="seq_bn_inv", config=configure("seq_bn_inv"))
    recorded(registry, "double", method="double_seq_bn", config=configure("double_seq_bn"))
    recorded(registry, "half", config=configure("seq_bn", {"leave_out": [0]}))
    recorded(registry, "far", base=replace(BASE, fingerprint="cd" * 32))
    with pytest.raises(error, match=said):
        fuse("made", members.split(), "rte", registry=registry, **SETTINGS)
    assert list(registry.runs()) == []


def test_bottlenecks_may_differ_in_what_is_inside_them(registry: Registry) -> None:
    inside = {"reduction_factor": 4, "non_linearity": "gelu", "scaling": 2.0, "leave_out": [1, 0], "ln_before": True}
    recorded(registry, "a", config=configure("seq_bn", {"leave_out": [0, 1]}))
    recorded(registry, "b", config=configure("seq_bn", inside))
    recorded(registry, "c", config=configure("compacter++", {"leave_out": [0, 1]}))
    assert [member.ref for member in find_members(registry, ["a", "b", "c@latest"])] == ["a@1", "b@1", "c@1"]
    fitting = []
    for name in METHODS:
        for copy in ("1", "2"):
            recorded(registry, f"{name.replace('+', 'x')}-{copy}", method=name, config=configure(name))
        try:
            find_members(registry, [f"{name.replace('+', 'x')}-{copy}" for copy in ("1", "2")])
        except SettingsError:
            continue
        fitting.append(name)
    assert tuple(fitting) == FUSABLE


@pytest.mark.parametrize("members", ["a,b", None, 5, {"a": 0.5, "b": 0.5}])
def test_members_are_a_list(members: Any, registry: Registry) -> None:
    with pytest.raises(SettingsError, match=r"a list of refs, as .*; found"):
        fuse("made", members, "rte", registry=registry)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"task": None}, "task must be a name, .*; found None"),
        ({"overrides": ["value"]}, r"overrides must be values by field, .*; found \['value'\]"),
        ({"overrides": {5: True}}, "unknown field of the fusion layer '5'"),
        ({"data": 5}, "data must be a path; found 5"),
        ({"text": None}, "text and label must name columns; found None"),
        ({"label": 5}, "text and label must name columns; found .* and 5"),
    ],
    ids=repr,
)
def test_what_is_of_the_wrong_type_is_refused(asked: dict[str, Any], said: str, registry: Registry) -> None:
    recorded(registry, "a")
    recorded(registry, "b")
    with pytest.raises(SettingsError, match=said):
        fuse("made", iter(["a", "b"]), registry=registry, **{"task": "rte", **asked})
    assert list(registry.runs()) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"valeu": True}, "did you mean value"),
        ({"query": 1}, "query of the fusion layer must be true or false; found 1"),
        ({"dropout_prob": 1}, "below 1"),
        ({"dropout_prob": True}, "below 1"),
        ({"temperature": True}, "no score could be repeated"),
        ({"residual_before": True}, "also add the residual to the keys"),
        ({"key": False, "query": False, "value": False}, "the fusion layer would have nothing to learn"),
    ],
)
def test_fields_of_the_fusion_layer_that_cannot_work(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        configure_fusion(fields)


def test_dropout_of_nothing_is_nothing_and_not_the_bases(loaded: LoadedBase) -> None:
    """The library takes 0 for "the base's"."""
    members_in(loaded.model, ["a", "b"])
    for slot, given, due in (("slot1", 0.0, 0.0), ("slot2", 0.5, 0.5), ("slot3", None, 0.1)):
        add_fusion(loaded.model, slot, ["a", "b"], configure_fusion({"dropout_prob": given}))
        layer = loaded.model.bert.encoder.layer[0].output.adapter_fusion_layer[slot]
        assert (layer.dropout.p, layer.training) == (due, False)


def test_files_name_places_and_nothing_of_the_model(loaded: LoadedBase) -> None:
    """Other fusions whose names begin alike are no part of them."""
    names = ["a", "b", "c"]
    members_in(loaded.model, names, "double_seq_bn", {"leave_out": [0]})
    for slot in ("a,b", "a,b,c", "a"):
        fusion_in(loaded.model, slot, names)
    files = extract_fusion(loaded.model, "a,b", name="mine", base="tiny", members=["x@1", "y@2", "z@3"])
    places = ("bert.encoder.layer.1.attention.output", "bert.encoder.layer.1.output")
    parts = ("key.bias", "key.weight", "query.bias", "query.weight", "value.weight")
    tensors = safetensors.torch.load(files[FUSION_WEIGHTS])
    assert sorted(tensors) == [f"{place}.adapter_fusion_layer.{part}" for place in places for part in parts]
    config = json.loads(files[FUSION_CONFIG])
    assert config["config"] == DEFAULTS
    assert (config["name"], config["adapter_names"]) == ("mine", ["x@1", "y@2", "z@3"])


def test_a_stored_fusion_is_the_same_under_any_names(loaded: LoadedBase, tiny_base: Path) -> None:
    names = ["a", "b"]
    members_in(loaded.model, names)
    fusion_in(loaded.model, SLOT, names)
    files = extract_fusion(loaded.model, SLOT, name="mine", base="tiny", members=names)
    expected = logits_of(loaded, fuse_block(SLOT, names), "a")
    other = load_base(str(tiny_base))
    for name, lane in (("a", "lane2"), ("b", "lane1")):
        insert_adapter(other.model, lane, extract_adapter(loaded.model, name, name=name, base="tiny"))
    before, parameters = _state(other.model), set(other.model.state_dict())
    insert_fusion(other.model, "slot9", ["lane2", "lane1"], files)
    insert_fusion(other.model, "slot99", ["lane1", "lane2"], files)
    assert torch.equal(logits_of(other, fuse_block("slot9", ["lane2", "lane1"]), "lane2"), expected)
    with pytest.raises(WeightsError, match="already holds a fusion"):
        insert_fusion(other.model, "slot9", ["lane1", "lane2"], files)
    remove_fusion(other.model, "slot99")
    remove_fusion(other.model, "slot99")
    assert torch.equal(logits_of(other, fuse_block("slot9", ["lane2", "lane1"]), "lane2"), expected)
    remove_fusion(other.model, "slot9")
    assert (_state(other.model), set(other.model.state_dict())) == (before, parameters)


def _state(model: Any) -> dict[str, Any]:
    return json.loads(json.dumps(model.adapters_config.to_dict(), sort_keys=True))  # type: ignore[no-any-return]


def damaged(files: dict[str, bytes], kind: str) -> dict[str, bytes]:
    tensors, config = safetensors.torch.load(files[FUSION_WEIGHTS]), json.loads(files[FUSION_CONFIG])
    first = min(tensors)
    match kind:
        case "truncated":
            return {**files, FUSION_WEIGHTS: files[FUSION_WEIGHTS][:-10]}
        case "missing file":
            return {FUSION_CONFIG: files[FUSION_CONFIG]}
        case "missing configuration":
            return {FUSION_WEIGHTS: files[FUSION_WEIGHTS]}
        case "configuration that is no JSON":
            return {**files, FUSION_CONFIG: b"{"}
        case "configuration without a field":
            del config["config"]["value"]
        case "configuration of another kind":
            config["config"]["value"] = "yes"
        case "configuration of another layer":
            config["config"]["value"] = False
        case "missing tensor":
            del tensors[first]
        case "unexpected tensor":
            tensors["bert.extra"] = torch.zeros(3)
        case "another shape":
            tensors[first] = torch.zeros(HIDDEN + 1)
        case "another type":
            tensors[first] = tensors[first].half()
    return {FUSION_CONFIG: json.dumps(config).encode(), FUSION_WEIGHTS: safetensors.torch.save(tensors)}


@pytest.mark.parametrize(
    "kind",
    [
        "truncated",
        "missing file",
        "missing configuration",
        "configuration that is no JSON",
        "configuration without a field",
        "configuration of another kind",
        "configuration of another layer",
        "missing tensor",
        "unexpected tensor",
        "another shape",
        "another type",
    ],
)
def test_whatever_does_not_fit_is_refused_and_leaves_no_trace(loaded: LoadedBase, kind: str) -> None:
    names = ["a", "b"]
    members_in(loaded.model, names)
    fusion_in(loaded.model, SLOT, names)
    files = extract_fusion(loaded.model, SLOT, name="mine", base="tiny", members=names)
    remove_fusion(loaded.model, SLOT)
    before, parameters = _state(loaded.model), set(loaded.model.state_dict())
    with pytest.raises(WeightsError):
        insert_fusion(loaded.model, SLOT, names, damaged(files, kind))
    assert (_state(loaded.model), set(loaded.model.state_dict())) == (before, parameters)
    insert_fusion(loaded.model, SLOT, names, files)


def test_members_that_are_not_where_they_should_be(loaded: LoadedBase) -> None:
    members_in(loaded.model, ["a"])
    members_in(loaded.model, ["b"], overrides={"leave_out": [1]})
    before = _state(loaded.model)
    with pytest.raises(WeightsError, match=r"only 1 of the 2 members of the fusion are at .*layer\.1\.output"):
        add_fusion(loaded.model, SLOT, ["a", "b"], DEFAULTS)
    with pytest.raises(WeightsError, match="the model holds no member of the fusion"):
        add_fusion(loaded.model, SLOT, ["c", "d"], DEFAULTS)
    assert _state(loaded.model) == before


def test_value_matrices_are_held_near_the_identity_and_do_not_decay(
    loaded: LoadedBase, resolved: Callable[..., ResolvedSettings]
) -> None:
    model, names = loaded.model, ["a", "b"]
    members_in(model, names)
    fusion_in(model, SLOT, names)
    penalty = regularisation(model, SLOT)
    assert penalty is not None
    values = [layer.output.adapter_fusion_layer[SLOT].value.weight for layer in model.bert.encoder.layer]
    distances = [value - torch.eye(HIDDEN) for value in values]
    assert penalty().item() == pytest.approx(0.01 * sum(d.square().sum().item() for d in distances), rel=1e-5)
    penalty().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(values[0].grad, 0.02 * distances[0].detach())
    outputs, labels = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    whole = loss_of(GLUE["sst2"], None, penalty=penalty)(outputs, labels) / 6
    torch.testing.assert_close(whole, functional.cross_entropy(outputs, labels) + penalty())
    for fields in ({"regularization": False}, {"value": False}):
        remove_fusion(model, SLOT)
        fusion_in(model, SLOT, names, **fields)
        assert regularisation(model, SLOT) is None

    remove_fusion(model, SLOT)
    fusion_in(model, SLOT, names)
    trained = [(key, parameter) for key, parameter in model.named_parameters() if ".adapter_fusion_layer." in key]
    before = {key: parameter.detach().clone() for key, parameter in trained}
    assert len(trained) == 10
    # Without gradients: what changes has decayed.
    Optimiser(trained, resolved(TrainSettings(weight_decay=0.1))).step(0.5)
    for key, parameter in trained:
        decays = key.endswith((".query.weight", ".key.weight"))
        torch.testing.assert_close(parameter.detach(), before[key] * (0.95 if decays else 1.0))


def test_the_learning_rate_is_the_papers(resolved: Callable[..., ResolvedSettings]) -> None:
    assert resolved(TrainSettings(), method="fuse", rows=100).learning_rate == 5e-5


def test_the_written_out_encoder_is_not_for_fusions(loaded: LoadedBase) -> None:
    assert supports_training(loaded.model.config, configure("seq_bn"), loaded.model.device)
    assert not supports_training(loaded.model.config, fuse_config(["a@1", "b@1"]), loaded.model.device)


def _contents(version: Version) -> list[tuple[str, str]]:
    return [(file.name, file.sha256) for file in version.files]


@pytest.fixture
def members(make_version: MakeVersion) -> list[str]:
    """Three bottlenecks of three tasks and two methods."""
    make_version("films", GLUE["sst2"], seed=0)
    make_version("films", GLUE["sst2"], seed=1)
    make_version("nli", GLUE["mnli"], method="compacter++", seed=2)
    make_version("like", GLUE["stsb"], seed=3)
    return ["films", "nli@1", "like@latest"]


def test_a_fusion_is_trained_and_registered_like_anything_else(registry: Registry, members: list[str]) -> None:
    class Watch(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **about: Any) -> None:
            self.before = {key: tensor.clone() for key, tensor in about["model"].state_dict().items()}

        def on_train_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
            after = about["model"].state_dict()
            self.changed = {key for key, tensor in after.items() if not torch.equal(tensor, self.before[key])}

    watch = Watch()
    version = fuse("fused", members, "rte", registry=registry, callbacks=[watch], **SETTINGS)
    assert (version.ref, version.method, version.task["name"]) == ("fused@1", "fuse", "rte")
    refs = ["films@2", "nli@1", "like@1"]
    assert version.config == {"composition": {"fuse": refs}, "fusion": DEFAULTS}
    assert [(parent.role, parent.ref) for parent in registry.lineage("fused").parents["fused@1"]] == [
        ("member", ref) for ref in refs
    ]
    assert [file.name for file in version.files] == [
        "fusion.safetensors", "fusion_config.json", "head_config.json", "model_head.safetensors",
    ]  # fmt: skip
    trained = {key for key in watch.before if ".adapter_fusion_layer." in key or key.startswith("heads.")}
    assert watch.changed == trained
    assert len(trained) == 2 * 5 + 4
    assert version.parameters == sum(watch.before[key].numel() for key in trained)
    run = registry.run(str(version.run))
    assert (run.status, run.method, run.settings["config"]) == (RunStatus.FINISHED, "fuse", version.config)
    assert [point.step for point in registry.history("fused", "train/loss")] == list(range(1, 13))
    assert version.metrics["eval/accuracy"] == version.score


def test_it_is_repeated_to_the_last_bit_and_with_changes(registry: Registry, members: list[str]) -> None:
    first = fuse("fused", members, "rte", registry=registry, **SETTINGS)
    assert _contents(train_like("fused@1", registry=registry)) == _contents(first)
    other = train_like("fused@1", registry=registry, overrides={"value": False}, name="other", max_steps=2)
    assert other.config["fusion"] == {**DEFAULTS, "value": False}
    assert other.config["composition"] == first.config["composition"]
    assert first.parameters - other.parameters == 2 * HIDDEN * HIDDEN
    with pytest.raises(SettingsError, match="did you mean value"):
        train_like("fused@1", registry=registry, overrides={"valeu": False})
    plain = train_like("fused@1", registry=registry, method="seq_bn", name="plain", max_steps=2)
    assert (plain.method, plain.parents, plain.config) == ("seq_bn", (), configure("seq_bn"))


def test_on_another_base_than_the_members_it_is_refused(
    registry: Registry, members: list[str], other_base: Path
) -> None:
    with pytest.raises(BaseMismatchError, match="the members were trained on another base"):
        fuse("fused", members, "rte", base=str(other_base), registry=registry, **SETTINGS)
    assert list(registry.runs()) == []


KILLED = """
import os, signal, sys
import torch
from pointsman.registry import Registry
from pointsman.sdk import fuse

torch.set_num_threads(1)
def report(progress):
    if progress.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
fuse("fused", ["films", "like"], "rte", registry=Registry(sys.argv[1]), report=report, **eval(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_and_resumed_it_ends_as_if_it_had_not_been(registry: Registry, members: list[str]) -> None:
    options = {**SETTINGS, "checkpoint_every": 5}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(registry.home), repr(options)], check=False, env=ONE_THREAD
    )
    assert killed.returncode == -9
    (run,) = registry.runs()
    assert run.status is RunStatus.INTERRUPTED
    resumed = resume(run.uid, registry=registry)
    assert resumed.run == run.uid
    assert resumed.parents == ("films@2", "like@1")
    whole = fuse("fused", ["films", "like"], "rte", registry=registry, **options)
    assert _contents(resumed) == _contents(whole)
    assert resumed.metrics == whole.metrics
    steps = [point.step for point in registry.history(f"run:{run.uid}", "train/loss")]
    assert steps == list(range(1, 13))


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}

# The members lie under other names there, in another order, and beside another fusion over them.
FRESH = """
import json, sys
import torch
from pointsman.registry import Registry
from pointsman.sdk.engines import slots as weights
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.data import load_task_data
from pointsman.sdk.engines.scoring import measure
from pointsman.sdk.engines.fusion_layers import add_fusion, fuse_block, insert_fusion
from pointsman.sdk.engines.single import adapter_outputs
from pointsman.sdk.data.tokens import tokenise

torch.set_num_threads(1)
registry, version = Registry(sys.argv[1]), Registry(sys.argv[1]).version("fused")
files = lambda found: registry.read_files(found)
loaded = load_base(version.base.name)
model, names = loaded.model, {}
for ref in reversed(version.config["composition"]["fuse"]):
    names[ref] = f"lane{len(names)}"
    weights.fill_slot(model, names[ref], weights.read_adapter(files(registry.version(ref))))
lanes = [names[ref] for ref in version.config["composition"]["fuse"]]
add_fusion(model, "here", lanes[:2], version.config["fusion"])
insert_fusion(model, "here-too", lanes, files(version))
head = weights.read_head(files(version))
model.add_prediction_head_from_config("head", dict(head.config), set_active=False)
model.heads["head"].load_state_dict(head.tensors)
task = load_task_data("rte", "sample").task
split = load_task_data("rte", "sample").splits["validation"].head(20)
rows = tokenise(loaded.tokenizer, split.texts(), max_length=version.max_length)
found = adapter_outputs(model.eval(), "head", rows, setup=fuse_block("here-too", lanes), batch_rows=32)
print(json.dumps({f"eval/{key}": value for key, value in measure(task, found, split).items()}))
"""


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_score(registry: Registry, members: list[str]) -> None:
    version = fuse("fused", members, "rte", registry=registry, **SETTINGS)
    command = [sys.executable, "-c", FRESH, str(registry.home)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=ONE_THREAD).stdout
    found = json.loads(said)
    assert found["eval/accuracy"] == version.score
    assert found == pytest.approx(dict(version.metrics), abs=1e-6)  # attention is computed otherwise in training


def test_the_attention_of_an_input_is_the_mean_over_its_own_tokens(loaded: LoadedBase) -> None:
    model, names = loaded.model, ["a", "b", "c"]
    members_in(model, names, "double_seq_bn")
    fusion_in(model, SLOT, names)
    block = fuse_block(SLOT, names)
    places, found = attention(model.eval(), block, tokenise(loaded.tokenizer, [(t,) for t in TEXTS], max_length=32))
    assert places == tuple(Place(layer, where) for layer in (0, 1) for where in ("mh_adapter", "output_adapter"))
    assert found.shape == (len(TEXTS), 4, 3)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(len(TEXTS), 4))
    for row, text in zip(found, TEXTS, strict=True):
        with torch.inference_mode(), AdapterSetup(block):
            inputs = loaded.tokenizer(text, return_tensors="pt")
            given = model(**inputs, output_adapter_fusion_attentions=True).adapter_fusion_attentions[SLOT]
        for place, means in zip(places, row, strict=True):
            alone = torch.from_numpy(given[place.layer][place.location])
            assert alone.shape == (1, inputs["input_ids"].shape[1], 3)
            torch.testing.assert_close(means, alone[0].mean(dim=0), atol=1e-5, rtol=1e-4)
    assert found.std(dim=0).max() > 0.01  # it depends on the text


def test_the_attention_of_a_registered_fusion(registry: Registry, members: list[str], other_base: Path) -> None:
    version = fuse("fused", members, "rte", registry=registry, **SETTINGS)
    pairs = [("a good film", "a bad film that is dull"), ("no", "yes")]
    found = fusion_attention("fused", pairs, registry=registry)
    assert found.members == ("films@2", "nli@1", "like@1")
    assert found.places == (Place(0, "output_adapter"), Place(1, "output_adapter"))
    assert found.weights.shape == (2, 2, 3)
    swapped = fusion_attention(version.ref, pairs[::-1], registry=registry)
    torch.testing.assert_close(found.weights, swapped.weights.flip(0))
    with pytest.raises(SettingsError, match="'rte' takes pairs"):
        fusion_attention("fused", ["a good film"], registry=registry)
    with pytest.raises(SettingsError, match="nothing to attend to"):
        fusion_attention("fused", [], registry=registry)
    with pytest.raises(SettingsError, match=r"films@2 is no fusion \(seq_bn\)"):
        fusion_attention("films", ["a good film"], registry=registry)
    with pytest.raises(BaseMismatchError, match="fused@1 was trained on"):
        fusion_attention("fused", pairs, base=str(other_base), registry=registry)
    registry.remove("nli@1", force=True)
    with pytest.raises(NotFoundError, match="nli"):
        fusion_attention("fused", pairs, registry=registry)
