"""A base is what its weights and configuration are, whatever it is called and wherever it lies."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pointsman.registry.errors import BaseNotFoundError, UnusableBaseError
from pointsman.sdk.bases.find import find_base
from pointsman.sdk.bases.load import load_base


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
    assert (Path(find_base("minilm")) / "model.safetensors").exists()
    assert load_base("minilm").record.parameters == 22_713_216


def test_bases_that_cannot_be_used_are_refused(tiny_base: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseNotFoundError, match="no such/base"):
        load_base("no such/base")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseNotFoundError, match=r"no config\.json"):
        load_base(str(tmp_path / "empty"))

    file = copy / "model.safetensors"
    weights = load_file(file)
    for key in [key for key in weights if ".layer.1." in key]:
        del weights[key]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(UnusableBaseError, match="incomplete: its checkpoint lacks 16 weights"):
        load_base(str(copy))

    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UnusableBaseError, match="cannot be loaded"):
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


def test_a_device_that_is_not_there_is_refused(tiny_base: Path) -> None:
    for device in ("gpu", "cuda:99"):
        with pytest.raises(UnusableBaseError, match="'cpu' always works"):
            load_base(str(tiny_base), device=device)
