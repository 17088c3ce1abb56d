"""A base is what its weights and configuration are, whatever it is called and wherever it lies."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pointsman.registry import Registry
from pointsman.registry.errors import BaseMismatchError, BaseNotFoundError, UnusableBaseError
from pointsman.sdk import Switcher
from pointsman.sdk.bases.architecture import FIELDS, architecture
from pointsman.sdk.bases.find import find_base
from pointsman.sdk.bases.fingerprint import describe
from pointsman.sdk.bases.former import NOT_ENCODED
from pointsman.sdk.bases.load import load_base
from pointsman.sdk.data.tokens import tokenise
from pointsman.sdk.engines.single import adapter_outputs
from pointsman.sdk.engines.slots import add_head, add_slot, slot_name
from pointsman.sdk.methods import configure

from architectures import ARCHITECTURES, make_base
from helpers import TEXTS, MakeVersion, scramble


@pytest.fixture
def copy(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "copy"))


def fingerprint(directory: Path) -> str:
    return load_base(str(directory)).record.fingerprint


def change(directory: Path, **fields: object) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **fields}))


def test_the_fingerprint_is_of_content(tiny_base: Path, other_base: Path, copy: Path) -> None:
    first = fingerprint(tiny_base)
    assert fingerprint(copy) == first
    assert fingerprint(other_base) != first
    change(copy, transformers_version="4.0.0", architectures=["BertForMaskedLM"], id2label={"0": "a", "1": "b"})
    assert fingerprint(copy) == first
    change(copy, hidden_act="relu")
    assert fingerprint(copy) != first


def test_one_changed_bit_is_another_base(tiny_base: Path, copy: Path) -> None:
    file = copy / "model.safetensors"
    weights = load_file(file)
    key = "encoder.layer.1.output.dense.weight"
    weights[key].view(torch.int32)[0, 0] ^= 1
    save_file(weights, file, metadata={"format": "pt"})
    assert fingerprint(copy) != fingerprint(tiny_base)


def test_a_checkpoint_with_a_head_is_the_same_base(tiny_base: Path, copy: Path) -> None:
    """As bert-base-uncased is: with its language model head, every weight under a prefix, and without a pooler."""
    from transformers import BertForMaskedLM, BertModel

    model = BertForMaskedLM.from_pretrained(tiny_base)
    model.save_pretrained(copy)
    loaded = load_base(str(copy))
    assert list(loaded.model.heads) == []
    reference = BertModel.from_pretrained(tiny_base, add_pooling_layer=False)
    inputs = loaded.tokenizer(["a film"], return_tensors="pt")
    with torch.inference_mode():
        ours = loaded.model.base_model(**inputs).last_hidden_state
        assert torch.equal(ours, reference.eval()(**inputs).last_hidden_state)
    assert fingerprint(copy) == loaded.record.fingerprint  # the pooler that it lacks is random, and no part of it


def test_how_attention_is_computed_is_no_part_of_a_base(tiny_base: Path) -> None:
    fused, written_out = load_base(str(tiny_base)), load_base(str(tiny_base), attention="eager")
    assert written_out.record == fused.record
    inputs = fused.tokenizer(["a film", "a much longer film than that"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(
            written_out.model.base_model(**inputs).last_hidden_state[0, :4],
            fused.model.base_model(**inputs).last_hidden_state[0, :4],
            atol=1e-5,
            rtol=0,
        )


def test_what_the_registry_keeps(tiny_base: Path) -> None:
    from transformers import BertModel

    loaded = load_base(str(tiny_base))
    assert loaded.record.parameters == sum(p.numel() for p in BertModel.from_pretrained(tiny_base).parameters())
    assert loaded.record.size == 4 * loaded.record.parameters
    assert (loaded.record.model_type, loaded.record.layers, loaded.record.hidden_size) == ("bert", 2, 128)
    assert loaded.record.name == str(tiny_base)
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_minilm_is_found_in_its_package() -> None:
    assert (find_base("minilm").files.directory / "model.safetensors").exists()
    assert load_base("minilm").record.parameters == 22_713_216


def test_bases_that_cannot_be_used_are_refused(tiny_base: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseNotFoundError, match="no such/base"):
        load_base("no such/base")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseNotFoundError, match=r"config\.json not found"):
        load_base(str(tmp_path / "empty"))

    file = copy / "model.safetensors"
    weights = load_file(file)
    for key in [key for key in weights if ".layer.1." in key]:
        del weights[key]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(UnusableBaseError, match="incomplete: its checkpoint lacks 16 weights"):
        load_base(str(copy))

    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UnusableBaseError, match=r"'model\.safetensors' is damaged"):
        load_base(str(copy))

    file.unlink()
    with pytest.raises(UnusableBaseError, match="safetensors"):
        load_base(str(copy))
    torch.save(weights, copy / "pytorch_model.bin")
    with pytest.raises(UnusableBaseError, match="safetensors"):
        load_base(str(copy))

    change(copy, model_type="mamba", architectures=["MambaModel"])
    with pytest.raises(UnusableBaseError, match="mamba"):
        load_base(str(copy))
    change(copy, model_type="nonsense")
    with pytest.raises(UnusableBaseError, match="nonsense"):
        load_base(str(copy))
    (copy / "config.json").write_text("{")
    with pytest.raises(UnusableBaseError, match="JSON"):
        load_base(str(copy))


def test_a_base_that_shares_weights_has_adapters_of_its_own(bases: dict[str, Path]) -> None:
    """Its patches work on its own modules: with an adapter it computes what the first model computes with it."""
    checked = 0
    for path in bases.values():
        base = load_base(str(path))
        other = base.sharing()
        weights = dict(base.model.named_parameters())
        assert {name: id(weight) for name, weight in other.model.named_parameters()} == {
            name: id(weight) for name, weight in weights.items()
        }
        inputs = base.tokenizer(TEXTS, padding=True, return_tensors="pt")
        with torch.inference_mode():
            plain = base.model.base_model(**inputs).last_hidden_state
            outputs = []
            for model in (other.model, base.model):
                torch.manual_seed(0)
                add_slot(model, slot_name(0), configure("seq_bn"))
                add_head(model, slot_name(0), labels=("a", "b"))
                scramble(model, slot_name(0))
                outputs.append(
                    adapter_outputs(
                        model, slot_name(0), tokenise(base.tokenizer, [(text,) for text in TEXTS], max_length=16)
                    )
                )
                if model is other.model:
                    assert torch.equal(base.model.base_model(**inputs).last_hidden_state, plain)
        assert torch.equal(*outputs)
        checked += 1
    assert checked == len(ARCHITECTURES)


def test_a_device_that_is_not_there_is_refused(tiny_base: Path) -> None:
    for device in ("gpu", "cuda:99"):
        with pytest.raises(UnusableBaseError, match="'cpu' always works"):
            load_base(str(tiny_base), device=device)


def fingerprint_of_earlier_releases(model: Any, absent: Collection[str] = ()) -> str:
    """As the first release computed it, with transformers 4.57.6."""
    prefix = f"{model.base_model_prefix}."
    config = model.config.to_diff_dict()
    identity = {key: value for key, value in config.items() if key not in NOT_ENCODED}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode())
    for key, tensor in sorted(model.base_model.named_parameters()):
        if key not in absent and prefix + key not in absent:
            digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@pytest.mark.parametrize("changes", [{}, {"hidden_dropout_prob": 0.25, "is_decoder": True, "pad_token_id": 2, "x": 1}])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_former_fingerprint_is_that_of_earlier_releases(
    name: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = []

    def watched(model: Any, *, absent: Collection[str], **arguments: Any) -> Any:
        expected.append(fingerprint_of_earlier_releases(model, absent))
        return describe(model, absent=absent, **arguments)

    monkeypatch.setattr("pointsman.sdk.bases.load.describe", watched)
    make_base(tmp_path / name, name)
    change(tmp_path / name, **changes)
    record = load_base(str(tmp_path / name)).record
    assert [record.former_fingerprint] == expected
    assert record.fingerprint != record.former_fingerprint


def test_an_architecture_without_a_table_has_both_fingerprints_too() -> None:
    from adapters import AutoAdapterModel
    from transformers import DebertaConfig

    def tiny(**fields: Any) -> Any:
        torch.manual_seed(0)
        sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        return AutoAdapterModel.from_config(DebertaConfig(**sizes, intermediate_size=8, **fields))

    model = tiny()
    record = describe(model, name="tiny")
    assert record.model_type not in FIELDS
    assert record.former_fingerprint == fingerprint_of_earlier_releases(model)
    assert describe(tiny(num_labels=5, top_k=3), name="tiny").fingerprint == record.fingerprint
    for field in ({"relative_attention": True}, {"is_decoder": True}, {"pad_token_id": 3}, {"hidden_act": "relu"}):
        model.config.update(field)
        assert describe(model, name="tiny").fingerprint != record.fingerprint
        model.config = tiny().config


def test_defaults_of_the_library_are_no_part_of_a_fingerprint(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertConfig

    record = load_base(str(tiny_base)).record
    # What a later release may do: subtract other defaults, drop fields, and give every base new ones.
    as_today = BertConfig.to_dict

    def as_tomorrow(self: BertConfig) -> dict[str, Any]:
        gone = {"position_embedding_type", "use_cache", "is_decoder", "top_k"}
        return {**{key: value for key, value in as_today(self).items() if key not in gone}, "experts": 0}

    monkeypatch.setattr(BertConfig, "to_diff_dict", lambda self: {"model_type": "bert"})
    assert load_base(str(tiny_base)).record == record
    monkeypatch.setattr(BertConfig, "to_dict", as_tomorrow)
    assert load_base(str(tiny_base)).record == record


def test_the_tables_say_what_the_library_takes_where_a_field_is_missing() -> None:
    from transformers import CONFIG_MAPPING

    assert FIELDS.keys() == ARCHITECTURES.keys()
    compared = 0
    for name, fields in FIELDS.items():
        values = CONFIG_MAPPING[name]().to_dict()
        compared += len(fields.keys() & values.keys())
        assert {key: values[key] for key in fields if key in values} == {
            key: fields[key] for key in fields if key in values
        }
        assert architecture(name, {}) == architecture(name, values) == dict(fields)
        # Every one of them counts, and no other does.
        for field, value in fields.items():
            other = 7 if isinstance(value, int | float) else "another"
            assert architecture(name, {field: other}) != architecture(name, {field: value}) == dict(fields)
        assert architecture(name, {"initializer_range": 7, "use_cache": "no", "num_labels": 9}) == dict(fields)
    assert compared >= 90


def test_sizes_that_follow_from_others_are_the_same_left_out_and_written() -> None:
    sizes = {"hidden_size": 96, "num_attention_heads": 3}
    written = architecture("deberta-v2", {**sizes, "embedding_size": 96, "attention_head_size": 32})
    assert architecture("deberta-v2", sizes) == written
    assert architecture("deberta-v2", {**sizes, "attention_head_size": 16}) != written


def test_zero_is_zero_as_an_integer_too() -> None:
    assert json.dumps(architecture("albert", {"hidden_dropout_prob": 0})) == json.dumps(architecture("albert", {}))


def test_rope_as_transformers_5_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import ModernBertConfig

    make_base(tmp_path / "base", "modernbert")
    change(tmp_path / "base", global_rope_theta=12_000.0, local_rope_theta=300.0)
    record = load_base(str(tmp_path / "base")).record
    as_today = ModernBertConfig.to_dict

    def as_tomorrow(self: ModernBertConfig) -> dict[str, Any]:
        values = as_today(self)
        kinds = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}
        rope = {kind: {"rope_type": "default", "rope_theta": values.pop(name)} for kind, name in kinds.items()}
        return {**values, "rope_parameters": rope, "layer_types": ["full_attention"] * 2}

    monkeypatch.setattr(ModernBertConfig, "to_dict", as_tomorrow)
    assert load_base(str(tmp_path / "base")).record == record


def test_a_version_registered_under_the_former_fingerprint_goes_on_loading(
    registry: Registry, make_version: MakeVersion, tiny_base: Path, other_base: Path
) -> None:
    version = make_version("new")
    former = dataclasses.replace(
        version.base, fingerprint=load_base(str(tiny_base)).record.former_fingerprint, former_fingerprint=None
    )
    old = registry.add_version(
        "old",
        files=registry.read_files(version),
        task=version.task,
        method=version.method,
        config=version.config,
        base=former,
        max_length=version.max_length,
        parameters=1,
    )
    assert registry.version("old").base.fingerprint != registry.version("new").base.fingerprint
    assert registry.version("old").base.former_fingerprint is None
    with Switcher(str(tiny_base), registry=registry) as switcher:
        assert switcher.predict("old", TEXTS) == switcher.predict("new", TEXTS)
        assert len(switcher.predict("average(old, new)", TEXTS)) == len(TEXTS)
    with Switcher(str(other_base), registry=registry) as switcher, pytest.raises(BaseMismatchError, match=old.ref):
        switcher.predict("old", TEXTS)
